import assert from "node:assert/strict";
import { test } from "node:test";
import { Log, logPlace } from "./roads.ts";
import { members, preferred, role, say, speak, unread, type Word } from "./words.ts";
import type { Message } from "../sdk/src/index.ts";

test("the language is the first of the browser's that is spoken here", () => {
  assert.equal(preferred(["de", "ru-RU", "en"]), "ru");
  assert.equal(preferred(["en-GB", "ru"]), "en");
  assert.equal(preferred(["de"]), "en");
});

test("what is counted agrees with its number", () => {
  speak("ru");
  assert.deepEqual([1, 2, 5, 21].map(members), ["1 участник", "2 участника", "5 участников", "21 участник"]);
  assert.deepEqual([1, 2, 5, 21].map(unread), ["1 непрочитанное", "2 непрочитанных", "5 непрочитанных", "21 непрочитанное"]);
  speak("en");
  assert.deepEqual([1, 2].map(members), ["1 member", "2 members"]);
});

test("a role is said in the language of the page", () => {
  speak("ru");
  assert.deepEqual(["admin", "member", "owner", undefined].map(role), ["администратор", "участник", "owner", ""]);
  speak("en");
  assert.deepEqual(["admin", "member"].map(role), ["admin", "member"]);
});

test("both languages put the same things in the same texts", () => {
  for (const word of ["typingOne", "failed", "readBy", "refused", "partition", "changeRole"] as Word[]) {
    for (const l of ["en", "ru"] as const) {
      speak(l);
      const text = say(word, "first", "second");
      assert.ok(text.includes("first"), `${l} ${word}: ${text}`);
      assert.ok(!text.includes("{"), `${l} ${word}: ${text}`);
    }
  }
});

const own: Message = {
  message_id: "98fc0014-b5c6-11f1-8001-010000000007", conversation_id: "c", seq: 2, sender_id: "me", content: "", type: "text",
  timestamp: 1_790_000_000, client_message_id: "01a0c3f2-9b80-7000-8abc-def012345602",
};

test("a road has the hops in the order of the way, each from the clock that it is from", () => {
  const log = new Log();
  const see = (direction: "in" | "out", type: string, data: unknown, at: number) => log.see(direction, JSON.stringify({ type, data }), at);
  see("out", "send_message", own, 1);
  see("in", "message_sent", own, 5);
  see("in", "message_status", { conversation_id: "c", user_id: "bob", status: "delivered", seq: 1 }, 6);
  see("in", "message_status", { conversation_id: "c", user_id: "bob", status: "delivered", seq: 2 }, 7);
  see("in", "message_status", { conversation_id: "c", user_id: "bob", status: "read", seq: 3 }, 8);
  see("in", "message_status", { conversation_id: "c", user_id: "bob", status: "read", seq: 4 }, 9);
  see("in", "message_status", { conversation_id: "d", user_id: "bob", status: "read", seq: 9 }, 9);
  assert.deepEqual(log.road(own).map((h) => [h.what, h.clock]), [
    ["Created", "here"], ["Written", "here"], ["Taken", "server"], ["Sent", "here"], ["Delivered", "here"], ["Read", "here"],
  ]);
  assert.deepEqual(log.road(own).slice(4).map((h) => h.at), [7, 8]);
  const { client_message_id: _, ...read } = own;
  assert.deepEqual(log.road({ ...read, seq: 5 }).map((h) => h.what), ["Taken", "History"]);
});

test("no token is kept for the inspector", () => {
  const log = new Log();
  log.see("out", JSON.stringify({ type: "connect", data: { token: "secret", device_id: "d" } }), 1);
  assert.ok(!JSON.stringify(log.frames).includes("secret"));
});

test("an id says where in the log its message is", () => {
  assert.deepEqual(logPlace(own.message_id), { partition: 7, generation: 1 });
  assert.equal(logPlace(""), undefined);
});
