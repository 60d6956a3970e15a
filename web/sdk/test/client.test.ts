import assert from "node:assert/strict";
import { test } from "node:test";
import { BACKOFF_FIRST, Client, PULL_MOST } from "../src/client.ts";
import { HEARTBEAT_LIMIT } from "../src/connection.ts";
import { HOLD_FOR } from "../src/order.ts";
import { KEY_LIFE, SEND_AGAIN, webStore } from "../src/outbox.ts";
import { BOB, C, CONNECTED, ME, Site, message, page, settle, storage } from "./fake.ts";

const D = "39701582-1926-51b6-b08b-e53c2dcdadce";

test("connect is the first frame, and live follows the sync", async () => {
  const s = new Site({ have: { [C]: 3 } });
  s.client.start();
  await settle();
  assert.equal(s.socket.url, "ws://there/api/v1/ws");
  s.socket.open();
  assert.deepEqual(s.socket.written[0]!.type, "connect");
  assert.equal(s.socket.wrote("connect")[0]!.token, "token");
  assert.equal(s.client.state.is, "connecting");
  await s.accept();
  assert.deepEqual(s.asked("/sync"), [{ have: { [C]: 3 } }]);
  assert.deepEqual(s.states.map((x) => x.is), ["connecting", "syncing", "live"]);
});

test("what is pushed during the sync is applied after it, once", async () => {
  const s = new Site({ have: { [C]: 3 } });
  let release = () => {};
  s.answer = (_method, path) => path !== "/api/v1/sync" ? {} : new Promise((done) => {
    release = () => done({ body: { events: [4, 5].map((n) => ({ type: "new_message", data: message(n) })), heads: [], has_more: false } });
  });
  await s.live();
  s.socket.push("new_message", message(5));
  s.socket.push("new_message", message(6));
  await settle();
  assert.deepEqual(s.seqs, []);
  release();
  await settle();
  assert.deepEqual(s.seqs, [4, 5, 6]);
});

test("sync goes on until there is no more, with what it has by then", async () => {
  const s = new Site({ have: { [C]: 0 } });
  const answers = [[1, 2], [3]];
  s.answer = (_method, path) => path !== "/api/v1/sync" ? {} : {
    body: { events: answers.shift()!.map((n) => ({ type: "new_message", data: message(n) })), heads: [], has_more: answers.length > 0 },
  };
  await s.live();
  assert.deepEqual(s.asked("/sync"), [{ have: { [C]: 0 } }, { have: { [C]: 2 } }]);
  assert.deepEqual(s.seqs, [1, 2, 3]);
});

test("a call that the old network swallowed does not keep the new connection waiting", async () => {
  const s = new Site({ have: { [C]: 1 } });
  await s.live();
  s.answer = (_method, path) => path.includes("/sync") || path.includes("/messages") ? new Promise(() => {}) : {};
  for (const what of ["behind", "new_message"]) {
    s.socket.push(what, what === "behind" ? { reason: "slow" } : message(9));
    await s.clock.pass(HOLD_FOR);
    s.socket.drop(1006);
    const swallowed = s.answer;
    s.answer = (_method, path) => path.includes("/messages") ? page(7, 8, 9) : {};
    await s.clock.pass(2 * BACKOFF_FIRST);
    await s.accept();
    assert.equal(s.client.state.is, "live", what);
    s.answer = swallowed;
  }
  assert.deepEqual(s.seqs, [7, 8, 9]);
});

test("a gap is held until it fills", async () => {
  const s = new Site({ have: { [C]: 1 } });
  await s.live();
  s.socket.push("new_message", message(3));
  await s.clock.pass(HOLD_FOR - 1);
  assert.deepEqual(s.seqs, []);
  s.socket.push("new_message", message(2));
  await s.clock.pass(HOLD_FOR);
  assert.deepEqual(s.seqs, [2, 3]);
  assert.deepEqual(s.asked("/messages"), []);
});

test("a gap that stays is pulled, and when that fails again, as late as the server asks", async () => {
  const s = new Site({ have: { [C]: 1 } });
  await s.live();
  let failing = true;
  s.answer = (_method, path) => !path.includes("/messages") ? {} : failing ? { status: 503, body: { retry_after_ms: 2000 } } : page(2, 3, 4);
  s.socket.push("new_message", message(3));
  await s.clock.pass(HOLD_FOR);
  assert.deepEqual(s.seqs, []);
  failing = false;
  await s.clock.pass(2000);
  assert.equal(s.asked("/messages").length, 1);
  await s.clock.pass(HOLD_FOR);
  assert.deepEqual(s.seqs, [2, 3, 4]);
  assert.match(s.calls.at(-1)!.path, /after_seq=1&/);
});

test("a gap that is not for us to see is stepped over", async () => {
  const s = new Site({ have: { [C]: 1 } });
  await s.live();
  s.answer = (_method, path) => path.includes("/messages") ? page(7, 8) : {};
  s.socket.push("new_message", message(8));
  await s.clock.pass(HOLD_FOR);
  assert.deepEqual(s.seqs, [7, 8]);
});

test("one's own joining begins a conversation, anything else of a new one is pulled from its beginning", async () => {
  const s = new Site();
  await s.live();
  s.answer = (_method, path) => path.includes("/messages") ? page(1, 2) : {};
  s.socket.push("conversation_updated", { conversation_id: D, seq: 9, change: "member_added", user_id: ME });
  s.socket.push("new_message", message(2));
  await s.clock.pass(HOLD_FOR);
  assert.deepEqual(s.applied.map((m) => [m.conversation_id, m.seq]), [[D, 9], [C, 1], [C, 2]]);
});

test("who has left still gets the removal and what came before it", async () => {
  const s = new Site({ have: { [C]: 1 } });
  await s.live();
  s.answer = (_method, path) => path.includes("/messages") ? { status: 404, body: { code: "not_member" } }
    : path.includes("/sync") ? { body: { events: [{ type: "new_message", data: message(2) }], has_more: false } } : {};
  s.socket.push("conversation_updated", { conversation_id: C, seq: 4, change: "member_removed", user_id: ME });
  await s.clock.pass(HOLD_FOR);
  assert.deepEqual(s.seqs, [2, 4]);
});

test("a removal is not applied over a gap whose sync was cut off", async () => {
  const s = new Site({ have: { [C]: 1 } });
  await s.live();
  let release = () => {};
  s.answer = (_method, path) => path.includes("/messages") ? { status: 404, body: { code: "not_member" } }
    : path.includes("/sync") ? new Promise((done) => {
      release = () => done({ body: { events: [{ type: "new_message", data: message(2) }], has_more: false } });
    }) : {};
  s.socket.push("conversation_updated", { conversation_id: C, seq: 4, change: "member_removed", user_id: ME });
  await s.clock.pass(HOLD_FOR);
  s.socket.drop(1006);
  release();
  await s.clock.pass(BACKOFF_FIRST);
  await s.accept();
  release();
  await s.clock.pass(2 * HOLD_FOR);
  release();
  await settle();
  assert.deepEqual(s.seqs, [2, 4]);
});

test("who is started again begins anew: nothing is left of the connection before", async () => {
  const s = new Site({ have: { [C]: 1 } });
  await s.live();
  s.client.markRead(C, 1);
  s.client.stop();
  assert.equal(s.client.connected, undefined);
  s.client.start();
  await settle();
  s.socket.open();
  s.client.send({ conversation_id: C, content: "hi" });
  assert.deepEqual(s.socket.written.map((f) => f.type), ["connect"]);
  await s.accept();
  assert.equal(s.socket.wrote("send_message").length, 1);
  assert.deepEqual(s.socket.wrote("mark_read"), [{ conversation_id: C, seq: 1 }]);
});

test("a head with the next message is applied, another pulls at once", async () => {
  const s = new Site({ have: { [C]: 1 } });
  await s.live();
  s.answer = (_method, path) => path.includes("/messages") ? page(3, 4) : {};
  s.socket.push("conversation_updated", { conversation_id: C, change: "head", head_seq: 2, message: message(2) });
  await settle();
  assert.deepEqual(s.seqs, [2]);
  s.socket.push("conversation_updated", { conversation_id: C, change: "head", head_seq: 4 });
  await s.clock.pass(1);
  assert.deepEqual(s.seqs, [2, 3, 4]);
});

test("of heads in a sync near ones are pulled, far and unknown ones jumped to", async () => {
  const jumps: [string, number][] = [];
  const s = new Site({ have: { [C]: 1, [D]: 1 } }, { jump: (id, to) => jumps.push([id, to]) });
  s.answer = (_method, path) => path.includes("/messages") ? page(2, 3) : !path.includes("/sync") ? {} : {
    body: { events: [], has_more: false, heads: [
      { conversation_id: C, head_seq: 3 }, { conversation_id: D, head_seq: PULL_MOST + 2 }, { conversation_id: BOB, head_seq: 7 },
    ] },
  };
  await s.live();
  assert.deepEqual(s.seqs, [2, 3]);
  assert.deepEqual(jumps, [[D, PULL_MOST + 2], [BOB, 7]]);
  s.socket.push("new_message", message(8, BOB));
  await settle();
  assert.equal(s.applied.at(-1)!.seq, 8);
});

test("prepare runs once, before the first sync", async () => {
  const s: Site = new Site({ prepare: async (c: Client) => c.begin(C, 17) });
  await s.live();
  assert.deepEqual(s.asked("/sync"), [{ have: { [C]: 17 } }]);
});

test("a sent message counts as its seq, and is ours", async () => {
  const s = new Site({ have: { [C]: 1 } });
  await s.live();
  const p = s.client.send({ conversation_id: C, content: "hello" });
  const wrote = s.socket.wrote("send_message");
  assert.deepEqual(wrote, [{ type: "text", client_message_id: p.client_message_id, conversation_id: C, content: "hello" }]);
  s.socket.push("message_sent", { client_message_id: p.client_message_id, conversation_id: C, message_id: "m2", seq: 2, timestamp: 5, duplicate: false });
  await settle();
  assert.deepEqual(s.applied, [{
    type: "text", client_message_id: p.client_message_id, conversation_id: C, content: "hello", message_id: "m2", seq: 2, sender_id: ME, timestamp: 5,
  }]);
  assert.deepEqual(s.client.unsent(), []);
});

test("without an answer it is sent again with the same id, later each time", async () => {
  const s = new Site();
  await s.live();
  const p = s.client.send({ conversation_id: C, content: "hello" });
  await s.clock.pass(SEND_AGAIN);
  assert.equal(s.socket.wrote("send_message").length, 2);
  await s.clock.pass(SEND_AGAIN);
  assert.equal(s.socket.wrote("send_message").length, 2);
  await s.clock.pass(SEND_AGAIN);
  assert.deepEqual(s.socket.wrote("send_message").map((m) => m.client_message_id), Array(3).fill(p.client_message_id));
});

test("unsent messages survive a reload and go out with the same id, oldest first", async () => {
  const kept = storage();
  const before = new Site({ store: webStore(kept, "out:") });
  const first = before.client.send({ conversation_id: C, content: "one" });
  await before.clock.pass(1);
  const second = before.client.send({ conversation_id: C, content: "two" });
  before.client.stop();

  const after = new Site({ store: webStore(kept, "out:") });
  await after.live();
  assert.deepEqual(after.socket.wrote("send_message").map((m) => m.client_message_id), [first.client_message_id, second.client_message_id]);
  after.socket.push("message_sent", { client_message_id: first.client_message_id, conversation_id: C, message_id: "m1", seq: 1, timestamp: 5, duplicate: true });
  await settle();
  assert.equal(kept.length, 1);
});

test("what was under way for longer than its key lives is not sent again by itself, though the page was there all the time", async () => {
  const s = new Site();
  await s.live();
  const old = s.client.send({ conversation_id: C, content: "stored, and the answer lost" });
  assert.equal(s.socket.wrote("send_message").length, 1);
  s.client.stop(); // as a lid that is closed does
  await s.clock.pass(KEY_LIFE + 1);
  await s.live();
  assert.deepEqual(s.socket.wrote("send_message"), []);
  assert.equal(s.client.unsent()[0]!.failed!.code, "expired");
  s.client.retry(old.client_message_id);
  const sent = s.socket.wrote("send_message");
  assert.equal(sent.length, 1);
  assert.notEqual(sent[0]!.client_message_id, old.client_message_id);
});

test("a temporary refusal is tried again when the server says so, another one when the user says so", async () => {
  const s = new Site();
  await s.live();
  const p = s.client.send({ conversation_id: C, content: "hello" });
  const error = { client_message_id: p.client_message_id, code: "rate_limited", message: "", temporary: true, retry_after_ms: 1000 };
  s.socket.push("error", error);
  await s.clock.pass(999);
  assert.equal(s.socket.wrote("send_message").length, 1);
  await s.clock.pass(1);
  assert.equal(s.socket.wrote("send_message").length, 2);
  s.socket.push("error", { ...error, code: "not_member", temporary: false });
  await s.clock.pass(20_000);
  assert.equal(s.socket.wrote("send_message").length, 2);
  assert.equal(s.client.unsent()[0]!.failed!.code, "not_member");
  s.client.retry(p.client_message_id);
  assert.equal(s.socket.wrote("send_message")[2]!.client_message_id, p.client_message_id);
  s.client.discard(p.client_message_id);
  assert.deepEqual(s.client.unsent(), []);
});

// As a server does it: so many at once, then so many a second, and no word about what is within them.
test("a backlog goes out on one connection in its order, within what the server takes", async () => {
  const kept = storage();
  const before = new Site({ store: webStore(kept, "out:") });
  const want = Array.from({ length: 100 }, (_, n) => before.client.send({ conversation_id: C, content: `${n}` }).content);
  before.client.stop();

  const s = new Site({ store: webStore(kept, "out:") });
  await s.live();
  const began = s.clock.now();
  let answered = 0;
  for (let credit = 40; answered < want.length; credit = Math.min(credit + 1, 40)) {
    const wrote = s.socket.wrote("send_message");
    credit -= wrote.length - answered;
    assert.ok(credit >= 0, `message ${wrote.length} is refused`);
    for (const m of wrote.slice(answered)) {
      s.socket.push("message_sent", { client_message_id: m.client_message_id, conversation_id: C, message_id: "m", seq: ++answered, timestamp: 5, duplicate: false });
    }
    if (want.length === 100 && answered > 50) want.push(s.client.send({ conversation_id: C, content: "new" }).content);
    await s.clock.pass(50);
  }
  await s.clock.pass(SEND_AGAIN);
  assert.ok(s.clock.now() - began < 20_000);
  assert.deepEqual(s.socket.wrote("send_message").map((m) => m.content), want);
  assert.equal(s.sockets.length, 1);
});

test("what is refused for now is not overtaken", async () => {
  const s = new Site();
  await s.live();
  const [first, second] = ["one", "two"].map((content) => s.client.send({ conversation_id: C, content }).client_message_id);
  for (const client_message_id of [first, second]) {
    s.socket.push("error", { client_message_id, code: "rate_limited", message: "", temporary: true, retry_after_ms: 1000 });
  }
  await settle();
  const third = s.client.send({ conversation_id: C, content: "three" }).client_message_id;
  await s.clock.pass(999);
  assert.equal(s.socket.wrote("send_message").length, 2);
  await s.clock.pass(1);
  assert.deepEqual(s.socket.wrote("send_message").slice(2).map((m) => m.client_message_id), [first], "no burst into a refusal");
  await s.clock.pass(1000);
  assert.deepEqual(s.socket.wrote("send_message").slice(2).map((m) => m.client_message_id), [first, second, third]);
});

test("the pace is that of the server's limits", async () => {
  const s = new Site();
  s.client.start();
  await settle();
  s.socket.open();
  s.socket.push("connected", { ...CONNECTED, limits: { sends_per_second: 4, send_burst: 2 } });
  for (let n = 0; n < 5; n++) s.client.send({ conversation_id: C, content: `${n}` });
  assert.equal(s.socket.wrote("send_message").length, 1);
  await s.clock.pass(1002);
  assert.equal(s.socket.wrote("send_message").length, 4);
});

test("what no frame holds is never written", async () => {
  const s = new Site();
  await s.live();
  s.client.send({ conversation_id: C, content: "я".repeat(5000) });
  await s.clock.pass(SEND_AGAIN);
  assert.equal(s.socket.wrote("send_message").length, 0);
  assert.equal(s.client.unsent()[0]!.failed!.code, "too_large");
});

test("a lost connection is made again, with pauses that double, and syncs again", async () => {
  const s = new Site({ have: { [C]: 1 } });
  await s.live();
  s.socket.drop(1006);
  assert.equal(s.client.state.is, "waiting");
  await s.clock.pass(BACKOFF_FIRST - 1);
  assert.equal(s.sockets.length, 1);
  await s.clock.pass(1);
  assert.equal(s.sockets.length, 2);
  s.socket.drop(1006);
  await s.clock.pass(2 * BACKOFF_FIRST - 1);
  assert.equal(s.sockets.length, 2);
  await s.clock.pass(1);
  await s.accept();
  assert.equal(s.client.state.is, "live");
  assert.equal(s.asked("/sync").length, 2);
});

test("the pause is short again after a connection of use, and over at once for who wakes it", async () => {
  const s = new Site();
  await s.live();
  for (let sockets = 2; sockets < 10; sockets++) {
    await s.clock.pass(2 * BACKOFF_FIRST + 1);
    s.socket.drop(4001);
    await s.clock.pass(BACKOFF_FIRST);
    assert.equal(s.sockets.length, sockets);
    await s.accept();
  }
  s.socket.drop(1006);
  s.client.wake();
  await settle();
  assert.equal(s.sockets.length, 10);
});

test("codes from 4500 on end it", async () => {
  const s = new Site();
  await s.live();
  s.socket.drop(4504, "another connection of this device");
  await s.clock.pass(100_000);
  assert.deepEqual(s.client.state, { is: "refused", code: 4504, why: "another connection of this device" });
  assert.equal(s.sockets.length, 1);
});

test("an expired token is replaced once", async () => {
  const s = new Site();
  s.client.start();
  for (const want of ["token", "fresh"]) {
    await settle();
    s.socket.open();
    assert.equal(s.socket.wrote("connect")[0]!.token, want);
    s.socket.push("error", { code: "token_expired", message: "", temporary: false });
    s.socket.drop(4501, "auth_failed");
  }
  await s.clock.pass(100_000);
  assert.equal(s.sockets.length, 2);
  assert.equal(s.client.state.is, "refused");
});

test("a token that is about to end is replaced in time", async () => {
  const s = new Site();
  await s.live();
  s.socket.push("token_expiring", { expires_at: 0 });
  await settle();
  assert.deepEqual(s.socket.wrote("refresh_token"), [{ token: "fresh" }]);
});

test("a silent line is asked for a sign of life, and given up without one", async () => {
  const s = new Site();
  await s.live();
  await s.clock.pass(30_000);
  assert.equal(s.socket.wrote("heartbeat").length, 1);
  s.socket.push("heartbeat_ack", { time: 0 });
  await s.clock.pass(30_000);
  assert.equal(s.socket.wrote("heartbeat").length, 2);
  await s.clock.pass(HEARTBEAT_LIMIT);
  assert.equal(s.client.state.is, "waiting");
});

test("behind syncs when it says, reconnect goes elsewhere when it says", async () => {
  const s = new Site();
  await s.live();
  s.socket.push("behind", { reason: "slow", after_ms: 250 });
  await s.clock.pass(249);
  assert.equal(s.asked("/sync").length, 1);
  await s.clock.pass(1);
  assert.equal(s.asked("/sync").length, 2);
  s.socket.push("reconnect", { after_ms: 100, jitter_ms: 400, reason: "drain" });
  await s.clock.pass(499);
  assert.equal(s.sockets.length, 1);
  await s.clock.pass(1);
  assert.equal(s.sockets.length, 2);
});

test("a sync that is refused for now is made later on the same connection", async () => {
  const s = new Site();
  let refusals = 1;
  s.answer = (_method, path) => path.includes("/sync") && refusals-- > 0 ? { status: 503, body: { retry_after_ms: 2000 } } : {};
  await s.live();
  assert.equal(s.client.state.is, "syncing");
  await s.clock.pass(2000 + BACKOFF_FIRST);
  assert.equal(s.client.state.is, "live");
  assert.equal(s.sockets.length, 1);
});

test("a sync that was refused is made no sooner since the server says behind once more", async () => {
  const s = new Site();
  await s.live();
  const syncs = () => s.asked("/sync").length;
  s.answer = (_method, path) => path.includes("/sync") ? { status: 503, body: { code: "unavailable", retry_after_ms: 5000 } } : {};
  s.socket.push("behind", { reason: "slow" });
  await settle();
  s.socket.push("behind", { reason: "slow" });
  await s.clock.pass(4999);
  assert.equal(syncs(), 2);
  s.answer = () => ({});
  await s.clock.pass(1 + BACKOFF_FIRST);
  assert.equal(syncs(), 3);
});

test("a refused sync for what came before a removal does not end the connection", async () => {
  const s = new Site({ have: { [C]: 1 } });
  await s.live();
  let refused = true;
  s.answer = (_method, path) => path.includes("/messages") ? { status: 404, body: { code: "not_member" } }
    : !path.includes("/sync") ? {}
    : refused ? { status: 503, body: { code: "unavailable", retry_after_ms: 2000 } }
    : { body: { events: [{ type: "new_message", data: message(2) }], has_more: false } };
  s.socket.push("conversation_updated", { conversation_id: C, seq: 4, change: "member_removed", user_id: ME });
  await s.clock.pass(HOLD_FOR);
  refused = false;
  await s.clock.pass(2000 + HOLD_FOR);
  assert.deepEqual(s.seqs, [2, 4]);
  assert.equal(s.sockets.length, 1);
});

test("marks only go up, and are written again after a connection that may have taken them with it", async () => {
  const s = new Site();
  await s.live();
  s.client.markRead(C, 5);
  s.client.markRead(C, 4);
  s.client.markDelivered(C, 6);
  assert.deepEqual(s.socket.wrote("mark_read"), [{ conversation_id: C, seq: 5 }]);
  s.socket.drop(1006);
  await s.clock.pass(BACKOFF_FIRST);
  await s.accept();
  assert.deepEqual(s.socket.wrote("mark_read"), [{ conversation_id: C, seq: 5 }]);
  assert.deepEqual(s.socket.wrote("mark_delivered"), [{ conversation_id: C, seq: 6 }]);
  await s.clock.pass(10_000);
  s.socket.drop(1006);
  await s.clock.pass(2 * BACKOFF_FIRST);
  await s.accept();
  assert.deepEqual(s.socket.wrote("mark_read"), []);
});

test("typing is written once in its interval, the last word at its end, and not after the message", async () => {
  const s = new Site();
  await s.live();
  for (const is of [true, true, false]) s.client.typing(C, is);
  assert.deepEqual(s.socket.wrote("typing").map((t) => t.is_typing), [true]);
  await s.clock.pass(3000);
  assert.deepEqual(s.socket.wrote("typing").map((t) => t.is_typing), [true, false]);
  s.client.typing(C, true);
  s.client.send({ conversation_id: C, content: "hello" });
  await s.clock.pass(3000);
  assert.equal(s.socket.wrote("typing").length, 2);
});

test("a call that came too soon waits, and one with an old token gets a new one", async () => {
  const s = new Site();
  const answers = [{ status: 429, body: { retry_after_ms: 50 } }, { status: 401, body: { code: "token_expired" } }, { body: { id: C } }];
  s.answer = () => answers.shift()!;
  assert.equal((await s.client.rest.conversation(C)).id, C);
  assert.deepEqual(s.calls.map((c) => c.token), ["Bearer token", "Bearer token", "Bearer fresh"]);
});
