import assert from "node:assert/strict";
import { test } from "node:test";
import type { Conversation, Message } from "../sdk/src/index.ts";
import { BOB, C, CONNECTED, FakeSocket, ME, message, page, settle, storage } from "../sdk/test/fake.ts";
import { Session, progressOf } from "./session.ts";

// What the page stands on in a browser.
const sockets: FakeSocket[] = [];
Object.assign(globalThis, {
  localStorage: storage(), sessionStorage: storage(), document: { hidden: false },
  requestAnimationFrame: (call: () => void) => setImmediate(call),
  WebSocket: class extends FakeSocket {
    constructor(url: string) {
      super(url);
      sockets.push(this);
    }
  },
});

const conversation: Conversation = {
  id: C, type: "direct", name: "", members_count: 2, role: "member", head_seq: 3, read_seq: 2, unread: 1, updated_at: 1, last_message: message(3),
};
const member = (user_id: string, read_seq: number, delivered_seq: number) => ({ user_id, role: "member", joined_at: 1, read_seq, delivered_seq });

/** A session that is live, and the answers that a test may change. */
async function live(me = ME) {
  const answers: Record<string, unknown> = {
    "/gateway": { url: "ws://there" }, "/conversations?": { conversations: [conversation] }, "/sync": { events: [], heads: [], has_more: false },
    "/members": { members: [member(ME, 2, 3), member(BOB, 1, 1)], members_version: 1 }, "/presence": [{ user_id: BOB, status: "online" }],
    "/messages?limit": page(2, 3).body,
  };
  const calls: string[] = [];
  globalThis.fetch = (async (url: string) => {
    calls.push(url);
    const found = Object.keys(answers).find((part) => url.includes(part));
    return new Response(JSON.stringify(found ? await answers[found] : { code: "not_found" }), { status: found ? 200 : 404 });
  }) as typeof fetch;
  const s = new Session(me, "", async () => "token", "test");
  s.client.start();
  await settle();
  const socket = sockets.at(-1)!;
  socket.open();
  socket.push("connected", CONNECTED);
  await settle();
  assert.equal(s.state.is, "live");
  return { s, socket, answers, calls, chat: s.chats.get(C)!, seqs: () => s.chats.get(C)!.messages.map((m) => m.seq) };
}

/** Waits for what comes in the time of the real clock, which a session has; gives up after what is far too long. */
async function until(done: () => boolean): Promise<void> {
  for (let tries = 0; !done() && tries < 2000; tries++) await new Promise((next) => setTimeout(next, 5));
}

test("conversations are listed with what is unread, and the other one is known from what was said", async () => {
  const { s, socket, chat } = await live();
  assert.deepEqual(s.sorted().map((c) => [c.info.id, c.info.unread, c.peer]), [[C, 1, BOB]]);
  assert.equal(s.there(BOB)!.status, "online");
  socket.drop(1006);
  assert.equal(s.there(BOB), undefined, "nobody tells any more");
  assert.equal(chat.loaded, false);
  s.client.stop();
});

test("an open conversation shows its newest page, what comes live, and marks it read when it is seen", async () => {
  const { s, socket, chat, seqs } = await live();
  await s.show(C);
  assert.deepEqual(seqs(), [2, 3]);
  assert.equal(chat.newFrom, 3);
  socket.push("new_message", message(4));
  await settle();
  assert.deepEqual(seqs(), [2, 3, 4]);
  assert.equal(chat.info.unread, 2);
  s.seen(C);
  await settle();
  assert.equal(chat.info.unread, 0);
  assert.deepEqual(socket.wrote("mark_read"), [{ conversation_id: C, seq: 4 }]);
  assert.equal(socket.wrote("mark_delivered").at(-1)!.seq, 4);
  s.client.stop();
});

test("what is pushed while the page of history is on its way is there once", async () => {
  const { s, socket, answers, seqs } = await live();
  answers["/messages?limit"] = page(2, 3, 4).body;
  const showing = s.show(C);
  socket.push("new_message", message(4));
  socket.push("new_message", message(5));
  await showing;
  await settle();
  assert.deepEqual(seqs(), [2, 3, 4, 5]);
  s.client.stop();
});

test("earlier pages come before, and a place in the middle goes on to the newest", async () => {
  const { s, socket, answers, chat, seqs } = await live();
  answers["/messages?limit"] = { ...(page(3).body as object), has_more: true };
  await s.show(C);
  answers["before_seq=3"] = page(1, 2).body;
  assert.equal(await s.before(C), true);
  assert.deepEqual(seqs(), [1, 2, 3]);
  assert.equal(await s.before(C), false);

  socket.push("new_message", message(4));
  await settle();
  chat.messages = [];
  answers["around_seq=1"] = page(1, 2).body;
  await s.show(C, 1);
  assert.deepEqual([seqs(), chat.tail], [[1, 2], false]);
  socket.push("new_message", message(5));
  await settle();
  assert.deepEqual(seqs(), [1, 2], "a hole would be shown as if there were none");
  answers["after_seq=2"] = page(3, 4, 5).body;
  await s.after(C);
  assert.deepEqual([seqs(), chat.tail], [[1, 2, 3, 4, 5], true]);
  s.client.stop();
});

test("ticks follow the watermarks, which never move back", async () => {
  const { s, socket, chat } = await live();
  await s.show(C);
  const ticks = () => progressOf(chat, ME, 3);
  assert.deepEqual(ticks(), { others: 1, delivered: 0, read: 0 });
  const status = { conversation_id: C, user_id: BOB, message_id: "", timestamp: 1 };
  socket.push("message_status", { ...status, status: "delivered", seq: 3 });
  await settle();
  assert.deepEqual(ticks(), { others: 1, delivered: 1, read: 0 });
  socket.push("message_status", { ...status, status: "read", seq: 3 });
  socket.push("message_status", { ...status, status: "read", seq: 1 });
  await settle();
  assert.deepEqual(ticks(), { others: 1, delivered: 1, read: 1 });
  s.client.stop();
});

test("what another device has read is read here, and writing reads all", async () => {
  const { s, socket, chat } = await live();
  socket.push("message_status", { conversation_id: C, user_id: ME, status: "read", seq: 3, message_id: "", timestamp: 1 });
  await settle();
  assert.equal(chat.info.unread, 0);
  socket.push("new_message", message(4));
  socket.push("new_message", message(5, C, { sender_id: ME }));
  await settle();
  assert.equal(chat.info.unread, 0);
  s.client.stop();
});

test("what is stored before it is pushed is shown when it comes, and counted once", async () => {
  const { s, socket, answers, chat, seqs } = await live();
  await s.show(C);
  socket.push("new_message", message(4));
  await settle();
  // Another device reads up to 3; by then 6 are stored, and two of them still on their way here.
  answers[`/conversations/${C}`] = { ...conversation, head_seq: 6, read_seq: 3, unread: 3, last_message: message(6) };
  socket.push("message_status", { conversation_id: C, user_id: ME, status: "read", seq: 3, message_id: "", timestamp: 1 });
  await settle();
  assert.equal(chat.info.unread, 3);
  socket.push("new_message", message(6));
  socket.push("new_message", message(5));
  await settle();
  assert.deepEqual(seqs(), [2, 3, 4, 5, 6]);
  assert.deepEqual([chat.info.unread, chat.info.last_message!.seq], [3, 6]);
  socket.push("new_message", message(7));
  await settle();
  assert.deepEqual([seqs().at(-1), chat.info.unread], [7, 4]);
  s.seen(C);
  assert.equal(chat.info.unread, 0);
  s.client.stop();
});

test("beginning a conversation again that is here already skips nothing", async () => {
  const { s, socket, answers, seqs } = await live();
  await s.show(C);
  s.begin({ ...conversation, head_seq: 5 });
  socket.push("new_message", message(4));
  await settle();
  assert.deepEqual(seqs(), [2, 3, 4]);
  answers["after_seq=4"] = page(5).body; // what nobody pushes is pulled
  await until(() => seqs().includes(5));
  assert.deepEqual(seqs(), [2, 3, 4, 5]);
  s.client.stop();
});

test("a message that comes while its conversation is asked for is counted once", async () => {
  const { s, socket, answers } = await live();
  const other: Conversation = { ...conversation, id: BOB, type: "group", name: "Friday", head_seq: 1, read_seq: 0, unread: 1, last_message: message(1, BOB) };
  Object.defineProperty(answers, `/conversations/${BOB}`, {
    enumerable: true,
    get: () => (s.client.at(BOB) < 2 ? (socket.push("new_message", message(2, BOB)), other) : { ...other, head_seq: 2, unread: 2 }),
  });
  socket.push("new_message", message(1, BOB));
  await settle();
  await settle();
  assert.deepEqual([s.chats.get(BOB)!.info.head_seq, s.chats.get(BOB)!.info.unread], [2, 2]);
  s.client.stop();
});

test("who is removed sees it, and a conversation that is new appears", async () => {
  const { s, socket, answers, chat } = await live();
  const other: Conversation = { ...conversation, id: BOB, type: "group", name: "Friday", head_seq: 2 };
  delete (other as Partial<Conversation>).last_message;
  answers[`/conversations/${BOB}`] = other;
  socket.push("conversation_updated", { conversation_id: BOB, seq: 1, change: "created", name: "Friday" });
  socket.push("conversation_updated", { conversation_id: C, seq: 4, change: "member_removed", user_id: ME });
  await settle();
  assert.equal(chat.left, true);
  assert.deepEqual(s.sorted().map((c) => c.info.name), ["Friday"]);
  s.client.stop();
});

test("a gap that was jumped over begins the window anew", async () => {
  const of = await live();
  const { s, seqs } = of;
  await s.show(C);
  await jump(of);
  assert.deepEqual(seqs(), [2000, 2001]);
  s.client.stop();
});

/** Has the answer to what is asked for wait until the function is called that it returns. */
function held(answers: Record<string, unknown>, part: string, answer: unknown): () => void {
  let release = () => {};
  const waiting = new Promise((done) => (release = () => done(answer)));
  // The first of the answers that fits is given.
  const others = { ...answers };
  for (const key of Object.keys(answers)) delete answers[key];
  Object.assign(answers, { [part]: waiting }, others, { [part]: waiting });
  return release;
}

/** Has the server say that what lies before 2000 was jumped over. */
async function jump(of: Awaited<ReturnType<typeof live>>) {
  of.answers["/messages?limit"] = page(2000, 2001).body;
  of.answers["/sync"] = { events: [], heads: [{ conversation_id: C, head_seq: 2001 }], has_more: false };
  of.answers[`/conversations/${C}`] = { ...conversation, head_seq: 2001, unread: 500 };
  of.socket.push("behind", { reason: "slow" });
  await settle();
  await settle();
}

/** Waits for what was asked for before the jump: nothing of it is shown, and what comes live still is. */
async function nothingOf(late: Promise<unknown>, { s, socket, seqs }: Awaited<ReturnType<typeof live>>) {
  await late;
  await settle();
  assert.deepEqual(seqs(), [2000, 2001]);
  socket.push("new_message", message(2002));
  await settle();
  assert.deepEqual(seqs(), [2000, 2001, 2002]);
  s.client.stop();
}

test("a page from before the jump that comes after it is let go", async () => {
  const of = await live();
  const { s, answers, seqs } = of;
  answers["/messages?limit"] = { ...(page(2, 3).body as object), has_more: true };
  await s.show(C);
  const release = held(answers, "before_seq=2", page(1).body);
  const older = s.before(C);
  await jump(of);
  assert.deepEqual(seqs(), [2000, 2001]);
  release();
  await nothingOf(older, of);
});

test("the newest page from before the jump is not taken for that of after it", async () => {
  const of = await live();
  const { s, answers } = of;
  const release = held(answers, "/messages?limit", page(2, 3).body);
  const showing = s.show(C);
  await settle();
  delete answers["/messages?limit"];
  await jump(of);
  release();
  await nothingOf(showing, of);
});

test("a way to the newest that fails leaves no hole", async () => {
  const { s, socket, answers, chat, seqs } = await live();
  await s.show(C);
  socket.push("new_message", message(4));
  await settle();
  chat.messages = [];
  answers["around_seq=1"] = page(1, 2).body;
  await s.show(C, 1);
  assert.deepEqual([seqs(), chat.tail], [[1, 2], false]);
  delete answers["/messages?limit"];
  await s.newest(C).catch(() => {});
  socket.push("new_message", message(5));
  await settle();
  assert.deepEqual([seqs(), chat.tail], [[1, 2], false]);
  answers["/messages?limit"] = page(4, 5).body;
  await s.newest(C);
  assert.deepEqual([seqs(), chat.tail], [[4, 5], true]);
  s.client.stop();
});

test("a message whose URL has ended is asked for again", async () => {
  const { s, answers, chat } = await live();
  await s.show(C);
  const fresh: Message = { ...message(3), media_url: "/api/v1/media/x?sig=new" };
  answers["after_seq=2&limit=1"] = { messages: [fresh], first_seq: 3, last_seq: 3, has_more: false };
  await s.renew(chat.messages[1]!);
  assert.equal(chat.messages[1]!.media_url, fresh.media_url);
  s.client.stop();
});

test("a conversation that the page was opened for is shown when it is known, and what is read of it is told", async () => {
  const { s, socket, answers } = await live();
  const read: [string, number][] = [];
  s.onRead = (id, seq) => read.push([id, seq]);
  s.openWhenKnown(BOB);
  assert.equal(s.open, undefined);
  answers[`/conversations/${BOB}`] = { ...conversation, id: BOB, type: "group", name: "Friday", head_seq: 1, last_message: message(1, BOB) };
  socket.push("new_message", message(1, BOB));
  await settle();
  assert.equal(s.open, BOB);
  s.openWhenKnown(C);
  await settle();
  assert.equal(s.open, C);
  s.seen(C);
  assert.deepEqual(read, [[C, 3]]);
  s.client.stop();
});

test("who signs in next in a tab finds neither the drafts nor the acquaintances of who was there", async () => {
  const alice = await live();
  alice.s.keepDraft(C, "not for bob");
  assert.deepEqual([alice.s.draft(C), alice.chat.peer], ["not for bob", BOB]);
  alice.s.client.stop();
  const bob = await live(BOB);
  assert.deepEqual([bob.s.draft(C), bob.chat.peer], ["", ME], "the other one is alice, whom the members name");
  bob.s.client.stop();
});

/** An upload as a browser has it, which goes on when the test says so. */
class FakeRequest {
  static readonly all: FakeRequest[] = [];
  readonly upload: { onprogress?: (e: object) => void } = {};
  onload = () => {};
  onerror = () => {};
  onabort = () => {};
  status = 0;
  responseText = "";
  sent: FormData | undefined;
  open() {}
  setRequestHeader() {}
  getResponseHeader = () => null;
  send(form: FormData) {
    this.sent = form;
    FakeRequest.all.push(this);
  }
  abort() {
    this.onabort();
  }
  answer(status: number, body: object) {
    Object.assign(this, { status, responseText: JSON.stringify(body) });
    this.onload();
  }
}
Object.assign(globalThis, { XMLHttpRequest: FakeRequest });

test("a file whose upload fails is kept and goes up when it is tried again, as one message", async () => {
  const { s, socket, chat } = await live();
  const file = new File(["what was said"], "minutes.txt", { type: "text/plain" });
  const attaching = s.attach(C, file, "");
  await settle();
  const [upload] = chat.uploads;
  const first = FakeRequest.all.at(-1)!;
  first.upload.onprogress?.({ lengthComputable: true, loaded: 1, total: 4 });
  assert.deepEqual([upload!.name, upload!.part, upload!.preview], ["minutes.txt", 0.25, ""]);
  upload!.again();
  assert.equal(FakeRequest.all.at(-1), first, "it is under way");
  first.onerror();
  await attaching;
  assert.match(upload!.failed, /cut off/);

  upload!.again();
  await settle();
  const second = FakeRequest.all.at(-1)!;
  assert.deepEqual([second === first, upload!.failed, upload!.part], [false, "", 0]);
  assert.equal(await (second.sent!.get("file") as File).text(), "what was said");
  second.answer(201, { media_url: "/api/v1/media/x", type: "text/plain" });
  await settle();
  assert.deepEqual(socket.wrote("send_message").map((m) => [m["type"], m["content"], m["media_url"], m["client_message_id"]]), [
    ["file", "minutes.txt", "/api/v1/media/x", upload!.id],
  ]);
  assert.equal(chat.uploads.length, 0);
  s.client.discard(upload!.id); // what nobody answered would be there for the next test
  s.client.stop();
});

test("an upload that is ended sends nothing, and one that failed goes when it is discarded", async () => {
  const { s, socket, chat } = await live();
  for (const fail of [false, true]) {
    const attaching = s.attach(C, new File(["x"], "x.txt"), "");
    await settle();
    const request = FakeRequest.all.at(-1)!;
    if (fail) request.answer(404, { code: "not_found" });
    else chat.uploads[0]!.end();
    await attaching;
    if (fail) assert.equal(chat.uploads[0]!.failed, "this server takes no files");
    chat.uploads[0]?.end();
    assert.equal(chat.uploads.length, 0);
  }
  assert.deepEqual(socket.wrote("send_message"), []);
  s.client.stop();
});
