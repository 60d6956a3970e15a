// A device that is connected and cannot sync, since the nodes behind are gone or busy.
import assert from "node:assert/strict";
import { test } from "node:test";
import { BACKOFF_FIRST, BACKOFF_LAST, type Client, type Handlers, type Options } from "../src/client.ts";
import { HOLD_FOR } from "../src/order.ts";
import { C, ME, Site, message, page, settle, type Answer } from "./fake.ts";

const D = "39701582-1926-51b6-b08b-e53c2dcdadce";
const E = "b7a8d41c-3f0e-5c52-9d1b-0c8a54f1c9e7";

const failures: Record<string, () => Answer> = {
  refused: () => ({ status: 503 }),
  unreachable: () => {
    throw new TypeError("fetch failed");
  },
  "timed out": () => {
    throw new DOMException("The operation was aborted due to timeout", "TimeoutError");
  },
  unreadable: () => ({ text: "<h1>Please sign in to this network</h1>" }),
};

test("a sync after connecting that fails for now keeps the connection, and what is sent is answered on it", async () => {
  for (const [name, fail] of Object.entries(failures)) {
    const s = new Site({ have: { [C]: 1 } });
    s.answer = (_method, path) => /sync|messages/.test(path) ? fail() : {};
    await s.live();
    const p = s.client.send({ conversation_id: C, content: "hello" });
    s.socket.push("message_sent", { client_message_id: p.client_message_id, conversation_id: C, message_id: "m2", seq: 2, timestamp: 5 });
    await settle();
    assert.deepEqual([s.client.unsent(), s.seqs], [[], [2]], name);
    s.socket.push("new_message", message(5));
    for (let n = 0; n < 24; n++) {
      await s.clock.pass(25_000);
      s.socket.push("heartbeat_ack", {});
    }
    const syncs = s.asked("/sync").length;
    assert.ok(syncs >= 20 && syncs <= 30, `${name}: ${syncs} syncs in ten minutes`);
    assert.equal(s.client.state.is, "syncing", name);
    s.answer = (_method, path) => path.includes("/sync") ? { body: { events: [3, 4].map((n) => ({ type: "new_message", data: message(n) })), has_more: false } } : fail();
    await s.clock.pass(BACKOFF_LAST);
    assert.deepEqual([s.seqs, s.client.state.is, s.sockets.length], [[2, 3, 4, 5], "live", 1], name);
  }
});

test("before prepare has gone well nothing is applied, and after it in order", async () => {
  let fails = true;
  const s: Site = new Site({
    prepare: async (c: Client) => {
      await c.rest.conversations();
      c.begin(C, 17);
    },
  });
  s.answer = (_method, path) => !path.includes("/conversations") ? {} : fails ? failures["unreachable"]!() : { body: { conversations: [] } };
  await s.live();
  s.socket.push("new_message", message(18));
  await s.clock.pass(BACKOFF_FIRST - 1);
  assert.deepEqual(s.seqs, []);
  fails = false;
  await s.clock.pass(1);
  assert.deepEqual([s.seqs, s.client.state.is, s.sockets.length], [[18], "live", 1]);
});

test("what the page itself throws ends the connection and says why", async () => {
  const broken = () => {
    throw new TypeError("chat is undefined");
  };
  const cases: Record<string, [Partial<Options>, Partial<Handlers>]> = {
    prepare: [{ prepare: async () => broken() }, {}],
    message: [{ have: { [C]: 1 } }, { message: broken }],
    jump: [{ have: { [C]: 1 } }, { jump: broken }],
  };
  for (const [name, [options, handlers]] of Object.entries(cases)) {
    const s = new Site(options, handlers);
    const body = { events: [{ type: "new_message", data: message(2) }], heads: [{ conversation_id: D, head_seq: 7 }], has_more: false };
    s.answer = (_method, path) => path.includes("/sync") ? { body } : {};
    await s.live();
    assert.deepEqual(s.client.state, { is: "waiting", until: s.clock.now() + BACKOFF_FIRST, why: "chat is undefined" }, name);
    assert.equal(s.socket.readyState, 3, name);
    s.client.stop();
  }
});

test("one's own joining before the first sync is not taken for the beginning", async () => {
  const s = new Site();
  s.answer = (_method, path) => path.includes("/sync") ? { status: 503 } : {};
  await s.live();
  s.socket.push("conversation_updated", { conversation_id: C, seq: 10, change: "member_added", user_id: ME });
  await s.clock.pass(HOLD_FOR);
  assert.deepEqual(s.seqs, []);
  s.answer = (_method, path) => path.includes("/sync") ? { body: { heads: [{ conversation_id: C, head_seq: 10 }], has_more: false } }
    : path.includes("/messages") ? page(3, 4, 10) : {};
  await s.clock.pass(BACKOFF_FIRST);
  assert.deepEqual(s.asked("/sync").at(-1), { have: { [C]: 0 } });
  assert.deepEqual([s.seqs, s.sockets.length], [[3, 4, 10], 1]);
});

test("what a connection answered before it ended, during a sync, is answered", async () => {
  const s = new Site({ have: { [C]: 1 } });
  s.answer = (_method, path) => path.includes("/sync") ? new Promise(() => {}) : {};
  await s.live();
  const [kept, refused] = ["kept", "refused"].map((content) => s.client.send({ conversation_id: C, content }).client_message_id);
  s.socket.push("error", { client_message_id: refused, code: "not_member", message: "no", temporary: false });
  s.socket.push("message_sent", { client_message_id: kept, conversation_id: C, message_id: "m2", seq: 2, timestamp: 5 });
  s.socket.drop(1006);
  assert.deepEqual(s.client.unsent().map((p) => [p.client_message_id, p.failed?.code]), [[refused, "not_member"]]);
  assert.deepEqual(s.seqs, [2]);
});

test("gaps that nobody fills keep no answer waiting for one after another", async () => {
  const s = new Site({ have: { [C]: 1, [D]: 1 } });
  await s.live();
  const asked: ((e: Error) => void)[] = [];
  s.answer = (_method, path) => path.includes("/messages") ? new Promise((_, fail) => asked.push(fail)) : {};
  for (const conversation of [C, D]) s.socket.push("new_message", message(5, conversation));
  await s.clock.pass(HOLD_FOR);
  const p = s.client.send({ conversation_id: C, content: "hello" });
  s.socket.push("message_sent", { client_message_id: p.client_message_id, conversation_id: C, message_id: "m2", seq: 2, timestamp: 5 });
  await s.clock.pass(20_000);
  assert.deepEqual([asked.length, s.seqs], [1, []]);
  asked[0]!(new TypeError("nobody answered"));
  await settle();
  assert.deepEqual(s.seqs, [2]);
  assert.ok(s.calls.at(-1)!.path.includes(D), "then it is the other's turn");
});

test("gaps that are asked for slowly and stay keep no other from being asked for", async () => {
  const slow: Record<string, (done: (a: Answer) => void, fail: (e: Error) => void) => void> = {
    "nobody answers": (_, fail) => fail(new TypeError("fetch failed")),
    "nothing is there": (done) => done({ body: { messages: [], first_seq: 0, last_seq: 0, has_more: false } }),
  };
  for (const [name, end] of Object.entries(slow)) {
    const s: Site = new Site({ have: { [C]: 1, [D]: 1, [E]: 1 } });
    await s.live();
    s.answer = (_method, path) => {
      if (path.includes(E)) return { body: { messages: [2, 3].map((n) => message(n, E)), first_seq: 2, last_seq: 3, has_more: false } };
      return path.includes("/messages") ? new Promise((done, fail) => s.clock.after(20_000, () => end(done, fail))) : {};
    };
    for (const conversation of [C, D, E]) s.socket.push("new_message", message(3, conversation));
    for (let n = 0; n < 9; n++) {
      await s.clock.pass(20_000);
      s.socket.push("heartbeat_ack", {});
    }
    assert.deepEqual(s.applied.map((m) => [m.conversation_id, m.seq]), [[E, 2], [E, 3]], name);
    const [c, d] = [C, D].map((id) => s.calls.filter((call) => call.path.includes(id)).length);
    assert.ok(c! >= 4 && d! >= 4, `${name}: ${c} and ${d} times`);
    assert.equal(s.sockets.length, 1, name);
  }
});
