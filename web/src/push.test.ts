import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Rest } from "../sdk/src/index.ts";
import { BOB, C, ME, settle, storage } from "../sdk/test/fake.ts";
import { open, show, type Host, type Kept, type Place, type Word } from "./notices.ts";
import { SUBSCRIBE_LIMIT, answer, isOn, read, renew, speakAsThePage, turnOff, turnOn } from "./push.ts";
import { speak } from "./words.ts";

// A browser of the tests' own, which holds one subscription.

const KEY = Buffer.from("the key of the server").toString("base64url");

class FakeSubscription {
  ended = false;
  readonly options: { applicationServerKey: ArrayBuffer };
  constructor(readonly endpoint: string, key: string) {
    this.options = { applicationServerKey: new Uint8Array(Buffer.from(key, "base64url")).buffer };
  }
  toJSON = () => ({ endpoint: this.endpoint, keys: { p256dh: "p", auth: "a" } });
  unsubscribe = async () => {
    browser.subscription = null;
    return (this.ended = true);
  };
}

interface Shown {
  tag: string;
  data: Kept;
  title: string;
  body: string;
  renotify: boolean;
  close(): void;
}

class FakeBrowser {
  permission = "granted";
  subscription: FakeSubscription | null = null;
  registered: string[] = [];
  shown: Shown[] = [];
  hear: ((e: object) => void) | undefined;
  made = 0;
  readonly registration = {
    scope: "https://chat.example.com/",
    getNotifications: async (filter?: { tag: string }) => this.shown.filter((n) => !filter || n.tag === filter.tag),
    showNotification: async (title: string, options: object) => {
      const n = { title, ...(options as Omit<Shown, "title" | "close">), close: () => void (this.shown = this.shown.filter((x) => x !== n)) };
      this.shown = [...this.shown.filter((x) => x.tag !== n.tag), n];
    },
    pushManager: {
      getSubscription: async () => this.subscription,
      subscribe: async ({ applicationServerKey }: { applicationServerKey: string }) =>
        (this.subscription = new FakeSubscription(`https://push.example.net/${++this.made}`, applicationServerKey)),
    },
  };
  readonly serviceWorker = {
    register: async (url: string) => void this.registered.push(url),
    ready: Promise.resolve(this.registration),
    getRegistration: async () => this.registration,
    addEventListener: (_: string, hear: (e: object) => void) => void (this.hear = hear),
    removeEventListener: () => void (this.hear = undefined),
    startMessages: () => {},
  };
}
let browser: FakeBrowser;

let calls: { method: string; path: string; body: unknown }[] = [];
let devices: object = {};
const rest = new Rest({
  base: "", token: async () => "token",
  fetch: (async (path: string, init: RequestInit) => {
    calls.push({ method: init.method!, path, body: init.body ? JSON.parse(String(init.body)) : undefined });
    return init.method === "GET" ? new Response(JSON.stringify(devices)) : new Response(null, { status: 204 });
  }) as typeof fetch,
});

beforeEach(() => {
  browser = new FakeBrowser();
  calls = [];
  devices = { devices: [], web_push_key: KEY };
  Object.assign(globalThis, {
    localStorage: storage(), PushManager: class {},
    Notification: { requestPermission: async () => browser.permission, get permission() { return browser.permission; } },
  });
  Object.defineProperty(globalThis, "navigator", { configurable: true, value: { serviceWorker: browser.serviceWorker } });
  speak("en");
});

const subscribed = (endpoint: string, more = {}) => ({ kind: "web_push", endpoint, keys: { p256dh: "p", auth: "a" }, ...more });

test("who switches it on is asked, subscribes with the server's key, and is registered", async () => {
  await turnOn(ME, "a tab", rest);
  assert.deepEqual(calls.map((c) => [c.method, c.path, c.body]), [
    ["GET", "/api/v1/devices", undefined], ["PUT", "/api/v1/devices/a%20tab/push", subscribed("https://push.example.net/1")],
  ]);
  assert.deepEqual(browser.registered, ["sw.js?en"]);
  assert.equal(Buffer.from(browser.subscription!.options.applicationServerKey).toString(), "the key of the server");
  assert.deepEqual([isOn(ME), isOn(BOB)], [true, false]);
});

test("it stays off where the user refuses, and where the server sends none", async () => {
  browser.permission = "denied";
  await assert.rejects(turnOn(ME, "a tab", rest), /does not allow/);
  browser.permission = "granted";
  devices = { devices: [] };
  await assert.rejects(turnOn(ME, "a tab", rest), /sends no notifications/);
  assert.deepEqual([isOn(ME), browser.subscription, calls.map((c) => c.method)], [false, null, ["GET"]]);
});

test("a push service that does not answer is waited for no longer than that", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  browser.registration.pushManager.subscribe = () => new Promise(() => {});
  const turning = turnOn(ME, "a tab", rest);
  await settle();
  t.mock.timers.tick(SUBSCRIBE_LIMIT);
  await assert.rejects(turning, /push service/);
  assert.equal(isOn(ME), false);
});

test("whenever the page is opened it is registered again, under its first name, with what was muted", async () => {
  await turnOn(ME, "first tab", rest);
  const mute = { all: false, conversation_ids: [C] };
  devices = { devices: [{ device_id: "first tab", kind: "web_push", mute, updated_at: 1 }], web_push_key: KEY };
  calls = [];
  await renew(BOB, rest);
  assert.deepEqual(calls, [], "it is not bob's");
  await renew(ME, rest);
  assert.deepEqual(calls[1], { method: "PUT", path: "/api/v1/devices/first%20tab/push", body: subscribed("https://push.example.net/1", { mute }) });
});

test("a server with another key is subscribed to anew", async () => {
  await turnOn(ME, "a tab", rest);
  const old = browser.subscription!;
  devices = { devices: [], web_push_key: Buffer.from("another key").toString("base64url") };
  await renew(ME, rest);
  assert.deepEqual([old.ended, browser.subscription!.endpoint], [true, "https://push.example.net/2"]);
});

test("signing out ends the subscription and the registration, and takes away what is shown", async () => {
  await turnOn(ME, "a tab", rest);
  const old = browser.subscription!;
  await show(host(), "en", push(7));
  await turnOff(BOB, rest);
  assert.deepEqual([isOn(ME), browser.shown.length], [true, 1], "it is not bob's");
  calls = [];
  await turnOff(ME, rest);
  assert.deepEqual(calls.map((c) => [c.method, c.path]), [["DELETE", "/api/v1/devices/a%20tab/push"]]);
  assert.deepEqual([isOn(ME), old.ended, browser.shown], [false, true, []]);
});

test("who signs out while the page registers again is registered no more", async () => {
  await turnOn(ME, "a tab", rest);
  const renewing = renew(ME, rest);
  await turnOff(ME, rest);
  await renewing;
  assert.deepEqual([calls.at(-1)!.method, browser.subscription, isOn(ME)], ["DELETE", null, false]);
});

test("the service worker speaks the language of the page, once there is one", async () => {
  speak("ru");
  await speakAsThePage();
  assert.deepEqual(browser.registered, []);
  await turnOn(ME, "a tab", rest);
  speak("en");
  await speakAsThePage();
  assert.deepEqual(browser.registered, ["sw.js?ru", "sw.js?en"]);
});

test("the page's policy lets nothing become a script but the service worker", async () => {
  const made: string[] = [];
  let rules: { createScriptURL: (url: string) => string } | undefined;
  const trustedTypes = {
    createPolicy: (name: string, r: typeof rules) => {
      made.push(name);
      return (rules = r)!;
    },
  };
  Object.assign(globalThis, { trustedTypes });
  await turnOn(ME, "a tab", rest);
  await turnOn(ME, "a tab", rest);
  assert.deepEqual(made, ["worker"]);
  assert.throws(() => rules!.createScriptURL("https://elsewhere.example.com/sw.js?en"), /no worker of this page/);
  delete (globalThis as { trustedTypes?: object }).trustedTypes;
});

// What the service worker does

const push = (seq: number, conversation = C) => JSON.stringify({ type: "message", conversation_id: conversation, seq, kind: "text" });

/** A worker in this browser, with some windows, each of which says whose it is, or nothing. */
function host(...windows: ("theirs" | "another's" | "frozen")[]): Host & { opened: string[]; told: string[] } {
  const [opened, told]: string[][] = [[], []];
  const places = windows.map((is, i): Place => ({
    postMessage: (word: Word, transfer?: Transferable[]) => {
      if ("open" in word) told!.push(`${i}: open ${word.open}`);
      else if (is !== "frozen") (transfer![0] as MessagePort).postMessage(is === "theirs");
    },
    focus: async () => told!.push(`${i}: focus`),
  }));
  return {
    registration: browser.registration, opened: opened!, told: told!,
    clients: { matchAll: async () => places, openWindow: async (url) => opened!.push(url) },
  };
}

test("one notification for each conversation, which sounds for what is new alone", async () => {
  const h = host();
  for (const text of [push(3), push(3), push(5), push(4), push(1, BOB)]) await show(h, "ru", text);
  assert.deepEqual(browser.shown.map((n) => [n.tag, n.data, n.body, n.renotify]), [
    [C, { conversation: C, seq: 5 }, "Новое сообщение", false],
    [BOB, { conversation: BOB, seq: 1 }, "Новое сообщение", true],
  ]);
  assert.ok(!JSON.stringify(browser.shown).includes("text"), "nothing of the content");
});

test("a push that cannot be read is shown all the same, and opens the page", async () => {
  for (const text of ["", "null", "[]", '{"conversation_id":7}']) {
    await show(host(), "en", text);
    assert.deepEqual(browser.shown.map((n) => [n.tag, n.body]), [["switchboard", "New message"]]);
  }
  const h = host();
  await open(h, browser.shown[0]!.data);
  assert.deepEqual(h.opened, ["https://chat.example.com/"]);
});

test("a click goes to the window of who is notified, which opens the conversation", async () => {
  const h = host("another's", "frozen", "theirs", "theirs");
  await open(h, { conversation: C, seq: 1 });
  assert.deepEqual([h.told, h.opened], [[`2: open ${C}`, "2: focus"], []]);
});

test("where no window is theirs a click opens one, at the conversation", async () => {
  const h = host("another's");
  await open(h, { conversation: C, seq: 1 });
  assert.deepEqual([h.told, h.opened], [[], [`https://chat.example.com/#${C}`]]);
});

test("a page says whether it is theirs, and opens what it is told to", async () => {
  await turnOn(ME, "a tab", rest);
  const said: unknown[] = [];
  const opened: string[] = [];
  for (const user of [ME, BOB]) {
    const stop = answer(user, (id) => opened.push(id));
    browser.hear!({ data: { whose: true }, ports: [{ postMessage: (x: unknown) => said.push(x) }] });
    browser.hear!({ data: { open: C }, ports: [] });
    stop();
    assert.equal(browser.hear, undefined);
  }
  assert.deepEqual([said, opened], [[true, false], [C, C]]);
});

test("what is read is shown no more", async () => {
  await turnOn(ME, "a tab", rest);
  await show(host(), "en", push(5));
  await show(host(), "en", push(9, BOB));
  for (const [user, seq] of [[ME, 4], [BOB, 9]] as const) await read(user, C, seq);
  assert.equal(browser.shown.length, 2);
  await read(ME, C, 5);
  await settle();
  assert.deepEqual(browser.shown.map((n) => n.tag), [BOB]);
});
