// The service worker. Its address says in which language it speaks: sw.js?ru.
import { open, show, type Host, type Kept } from "./notices.ts";

/** As far as it is used here: TypeScript knows either pages or workers. */
interface Life extends Event {
  waitUntil(done: Promise<unknown>): void;
}
interface Push extends Life {
  data: { text(): string } | null;
}
interface Click extends Life {
  notification: Notification;
}
const worker = globalThis as unknown as Host & {
  location: Location;
  skipWaiting(): Promise<void>;
  addEventListener<E extends Event>(type: string, call: (e: E) => void): void;
};

const language = worker.location.search === "?ru" ? "ru" : "en";

worker.addEventListener<Life>("install", (e) => e.waitUntil(worker.skipWaiting()));
worker.addEventListener<Push>("push", (e) => e.waitUntil(show(worker, language, e.data?.text() ?? "")));
worker.addEventListener<Click>("notificationclick", (e) => {
  e.notification.close();
  e.waitUntil(open(worker, e.notification.data as Kept));
});
