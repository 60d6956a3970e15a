import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { Order } from "../src/order.ts";
import { KEY_LIFE, Outbox, memoryStore } from "../src/outbox.ts";
import { eventMessage, type ConversationUpdated, type Frame, type Message } from "../src/protocol.ts";
import { timeOf, uuid5, uuid7 } from "../src/uuid.ts";
import { C, Site, message, settle } from "./fake.ts";

declare const TESTDATA: string;

test("ids of version 7 carry their time, those of version 1 that of the server", () => {
  const id = uuid7(1_790_000_000_123);
  assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(timeOf(id), 1_790_000_000_123);
  assert.notEqual(uuid7(5), uuid7(5));
  // From the table in docs/formats.md: 1790000000000002 µs.
  assert.equal(timeOf("98fc0014-b5c6-11f1-8001-010000000007"), 1_790_000_000_000);
  assert.equal(timeOf("98fc03e8-b5c6-11f1-8001-010000000007"), 1_790_000_000_000.1);
  assert.equal(timeOf("17c43426-d780-5e57-b88e-bcc975610551"), undefined);
  assert.equal(timeOf("nothing"), undefined);
});

test("people of demonstrations have the ids that every other client gives them", async () => {
  const people = "6b1f8e0a-5d0c-4c3e-9a57-21d4f083b603";
  assert.equal(await uuid5(people, new TextEncoder().encode("alice")), "62e48500-8080-59a0-8071-a85950223b90");
});

// Whatever comes in whatever order, with repeats: each event is applied once, in order.
test("order is the same for every shuffle", () => {
  let seed = 1;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  for (let round = 0; round < 200; round++) {
    const got: number[] = [];
    const order = new Order((m) => got.push(m.seq), { [C]: 0 });
    const seqs = Array.from({ length: 12 }, (_, i) => i + 1);
    const came = [...seqs, ...seqs].map((s) => ({ s, key: random() })).sort((a, b) => a.key - b.key);
    for (const { s } of came) order.receive(message(s), false, 0);
    assert.deepEqual(got, seqs);
    assert.equal(order.due(), Infinity);
  }
});

test("what nobody recognises any more is not sent by itself", () => {
  const store = memoryStore();
  store.put({ client_message_id: "a", conversation_id: C, content: "old", type: "text", created: 0 });
  const outbox = new Outbox(store, KEY_LIFE + 1);
  assert.deepEqual(outbox.takeDue(KEY_LIFE + 1), []);
  assert.equal(outbox.all()[0]!.failed!.code, "expired");
  assert.equal(outbox.due(), Infinity);
});

// The frames of docs/protocol.md, byte for byte.
const golden = (name: string) => readFileSync(`${TESTDATA}/${name}`, "utf8");

test("every frame of the documentation is taken, none ends the connection", async () => {
  const seen: string[] = [];
  const s = new Site({ have: { [C]: 1 } }, {
    status: (m) => seen.push(m.status), typing: (m) => seen.push(`typing ${m.is_typing}`), presence: (m) => seen.push(m.status),
  });
  await s.live();
  const names = readdirSync(TESTDATA).filter((n) => n.startsWith("server_") && n !== "server_reconnect.json");
  assert.ok(names.length > 15);
  for (const name of names) s.socket.onmessage!({ data: golden(name) });
  await settle();
  assert.equal(s.client.state.is, "live");
  assert.deepEqual(seen, ["read", "offline", "typing true"]);
  assert.equal(s.applied.find((m) => m.conversation_id === C)!.content, "Hello, “Bob” \\ привет 👋\nA second line & a <tag>.");
});

test("what is written looks like the documentation", async () => {
  const s = new Site();
  await s.live();
  const want = JSON.parse(golden("client_send_message.json")) as Frame;
  const d = want.data as Message;
  s.client.send({ conversation_id: d.conversation_id, content: d.content, client_message_id: d.client_message_id! });
  assert.deepEqual(s.socket.wrote("send_message")[0], d);
  s.client.markDelivered(C, 3);
  assert.deepEqual(s.socket.wrote("mark_delivered")[0], (JSON.parse(golden("client_mark_delivered.json")) as Frame).data);
  s.client.typing(C, true);
  assert.deepEqual(s.socket.wrote("typing")[0], (JSON.parse(golden("client_typing.json")) as Frame).data);
});

test("a change that is pushed has the form that it has in history", () => {
  const f = JSON.parse(golden("server_conversation_updated_member_added.json")) as Frame;
  const { message_id: _id, sender_id: _sender, timestamp: _time, ...got } = eventMessage(f.data as ConversationUpdated);
  const { message_id: _, sender_id: __, timestamp: ___, ...want } = JSON.parse(golden("rest_event.json")) as Message;
  assert.deepEqual(got, want);
});
