// What the service worker does: it says that there is something to read while the page
// is closed, never what, since nothing of it is sent.
import type { ID } from "../sdk/src/index.ts";
import type { Language } from "./words.ts";

/** How long a window has to say whose it is, in ms: one that is frozen says nothing. */
const PATIENCE = 1_000;
/** The worker has these words of its own: those of the page are twenty times as long as all its code. */
const words: Record<Language, string> = { en: "New message", ru: "Новое сообщение" };

/** What a notification keeps. */
export interface Kept {
  conversation: ID | "";
  seq: number;
}

/** What the worker says to a window: whether it is theirs who are notified, and what to open. */
export type Word = { whose: true } | { open: ID };

interface Notice {
  conversation_id: ID;
  seq: number;
}

/** A window of the page. */
export interface Place {
  postMessage(word: Word, transfer?: Transferable[]): void;
  focus(): Promise<unknown>;
}

/** What a service worker stands on, as far as this one does. */
export interface Host {
  registration: {
    scope: string;
    getNotifications(filter: { tag: string }): Promise<{ data: unknown }[]>;
    showNotification(title: string, options: object): Promise<void>;
  };
  clients: {
    matchAll(which: { type: "window"; includeUncontrolled: true }): Promise<readonly Place[]>;
    openWindow(url: string): Promise<unknown>;
  };
}

/**
 * Shows one notification for each conversation, of its newest message. What comes twice,
 * or late, replaces it without a sound. What cannot be read is shown too: browsers take
 * a push that shows nothing for a spy.
 */
export async function show({ registration }: Host, language: Language, text: string): Promise<void> {
  const notice = read(text);
  const tag = notice?.conversation_id ?? "switchboard";
  const before = (await registration.getNotifications({ tag })).map((n) => (n.data as Kept).seq);
  const [seq, newest] = [notice?.seq ?? 0, Math.max(0, ...before)];
  const data: Kept = { conversation: notice?.conversation_id ?? "", seq: Math.max(seq, newest) };
  await registration.showNotification("Switchboard", { body: words[language], lang: language, tag, data, renotify: seq > newest });
}

/** Opens a conversation: in a window of who is notified, else in a new one. */
export async function open({ registration, clients }: Host, { conversation }: Kept): Promise<void> {
  const windows = await clients.matchAll({ type: "window", includeUncontrolled: true });
  const theirs = await Promise.all(windows.map(isTheirs));
  const one = windows.find((_, i) => theirs[i]); // the first is the one that was looked at last
  if (!one) {
    await clients.openWindow(registration.scope + (conversation && "#" + conversation));
    return;
  }
  if (conversation) one.postMessage({ open: conversation });
  await one.focus();
}

/** Asks a window: each may be somebody else's, and only the page knows whose. */
function isTheirs(one: Place): Promise<boolean> {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    const end = (theirs: boolean) => {
      clearTimeout(timer);
      port1.close();
      resolve(theirs);
    };
    const timer = setTimeout(end, PATIENCE, false);
    port1.onmessage = (e) => end(e.data === true);
    one.postMessage({ whose: true }, [port2]);
  });
}

function read(text: string): Notice | undefined {
  try {
    const n = JSON.parse(text) as Partial<Notice> | null;
    return typeof n?.conversation_id === "string" && typeof n.seq === "number" ? (n as Notice) : undefined;
  } catch {
    return undefined;
  }
}
