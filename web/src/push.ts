// Being notified while the page is closed. A browser has one subscription, however many
// windows it has and whoever is in them: it is for the user who switched it on last.
import { StatusError, type ID, type Rest } from "../sdk/src/index.ts";
import type { Kept as Shown, Word } from "./notices.ts";
import { language, say } from "./words.ts";

const KEPT = "switchboard.push";
/** How long a browser has to subscribe, in ms: without a way to its push service Chromium tries for ever. */
export const SUBSCRIBE_LIMIT = 30_000;

/** Who is notified, and under which name of a device. */
interface Kept {
  user: ID;
  device: string;
}

/** Whether this browser has what it takes. */
export function possible(): boolean {
  return "serviceWorker" in navigator && "PushManager" in globalThis && "Notification" in globalThis;
}

/** Whether it is this user who is notified here. */
export function isOn(user: ID): boolean {
  return kept()?.user === user;
}

function kept(): Kept | undefined {
  try {
    return (JSON.parse(localStorage.getItem(KEPT) ?? "null") as Kept | null) ?? undefined;
  } catch {
    return undefined; // somebody else's, then
  }
}

function keep(who: Kept | undefined): void {
  if (who) localStorage.setItem(KEPT, JSON.stringify(who));
  else localStorage.removeItem(KEPT);
}

/** Asks the user, then subscribes and registers. Call it from a click: browsers want that to ask. */
export async function turnOn(user: ID, device: string, rest: Rest): Promise<void> {
  if ((await Notification.requestPermission()) !== "granted") throw new Error(say("pushDenied"));
  const before = kept();
  const who = before?.user === user ? before : { user, device };
  keep(who);
  try {
    await register(who, rest);
  } catch (e) {
    keep(before);
    throw e;
  }
}

/** Registers again what is on, as whenever the page is opened: push services and servers forget. */
export async function renew(user: ID, rest: Rest): Promise<void> {
  const before = kept();
  if (possible() && before?.user === user && Notification.permission === "granted") await register(before, rest);
}

async function register(who: Kept, rest: Rest): Promise<void> {
  const { web_push_key: key, devices } = await rest.devices();
  if (!key) throw new Error(say("noPush"));
  const { pushManager } = await worker();
  let subscription = await pushManager.getSubscription();
  if (subscription && !isOf(subscription, key)) { // the server has another key than it had
    await subscription.unsubscribe();
    subscription = null;
  }
  subscription ??= await inTime(pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key }));
  const { endpoint, keys } = subscription.toJSON() as { endpoint: string; keys: { p256dh: string; auth: string } };
  // Registering replaces all that was there, and what is muted is to stay so.
  const mute = devices.find((d) => d.device_id === who.device)?.mute;
  await rest.putPush(who.device, { kind: "web_push", endpoint, keys, ...(mute && { mute }) });
  if (!kept()) await end(who, rest); // switched off meanwhile, or signed out
}

function inTime(subscribing: Promise<PushSubscription>): Promise<PushSubscription> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(say("noPushService"))), SUBSCRIBE_LIMIT);
    subscribing.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** Ends it for this user. */
export async function turnOff(user: ID, rest: Rest): Promise<void> {
  const before = kept();
  if (before?.user !== user) return;
  keep(undefined);
  await end(before, rest);
}

/** Ends it on both sides at once: where the server cannot be told, it finds that the endpoint has ended. */
async function end(who: Kept, rest: Rest): Promise<void> {
  const here = async () => {
    const registration = await navigator.serviceWorker.getRegistration();
    for (const n of (await registration?.getNotifications()) ?? []) n.close();
    await (await registration?.pushManager.getSubscription())?.unsubscribe();
  };
  const there = rest.deletePush(who.device).catch((e: unknown) => {
    if (!(e instanceof StatusError && e.status === 404)) throw e;
  });
  await Promise.all([here(), there]);
}

/** Takes away what is shown of a conversation, up to where it was read. */
export async function read(user: ID, conversation: ID, seq: number): Promise<void> {
  if (!possible() || !isOn(user)) return;
  const registration = await navigator.serviceWorker.getRegistration();
  for (const n of (await registration?.getNotifications({ tag: conversation })) ?? []) {
    if ((n.data as Shown).seq <= seq) n.close();
  }
}

/** Has the service worker speak the language of the page. */
export async function speakAsThePage(): Promise<void> {
  if (possible() && kept()) await worker();
}

/** Answers the service worker, which looks for the window of who is notified. Returns what ends that. */
export function answer(user: ID, open: (conversation: ID) => void): () => void {
  if (!possible()) return () => {};
  const hear = ({ data, ports }: MessageEvent<Word>) => {
    if ("whose" in data) ports[0]?.postMessage(isOn(user));
    else open(data.open);
  };
  navigator.serviceWorker.addEventListener("message", hear);
  navigator.serviceWorker.startMessages();
  return () => navigator.serviceWorker.removeEventListener("message", hear);
}

/** What a policy of Trusted Types makes; TypeScript does not know them yet. */
interface Types {
  createPolicy(name: string, rules: { createScriptURL: (url: string) => string }): { createScriptURL(url: string): string };
}
let policy: ReturnType<Types["createPolicy"]> | undefined;

/** The service worker, when it is at work. Its address is the only one that the page's policy lets become a script. */
async function worker(): Promise<ServiceWorkerRegistration> {
  policy ??= (globalThis as { trustedTypes?: Types }).trustedTypes?.createPolicy("worker", {
    createScriptURL: (url) => {
      if (!/^sw\.js\?(en|ru)$/.test(url)) throw new TypeError(`${url} is no worker of this page`);
      return url;
    },
  });
  const url = "sw.js?" + language();
  await navigator.serviceWorker.register(policy?.createScriptURL(url) ?? url);
  return navigator.serviceWorker.ready;
}

/** Whether a subscription is for a key, which is in base64url. */
function isOf(subscription: PushSubscription, key: string): boolean {
  const bytes = new Uint8Array(subscription.options.applicationServerKey ?? new ArrayBuffer(0));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "") === key.replaceAll("=", "");
}
