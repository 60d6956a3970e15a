// Web Push as far as a browser does it by itself: permission, service worker,
// notifications. Its push service is the vendor's and elsewhere, so a subscription is
// made up here, and what the service would bring comes by way of the debugger.
import { randomUUID } from "node:crypto";

/** Somebody allows notifications, and the page subscribes at a push service that there is not. */
export async function allow({ page, context }) {
  await context.grantPermissions(["notifications"], { origin: new URL(page.url()).origin });
  await page.evaluate((endpoint) => {
    let one = null;
    PushManager.prototype.getSubscription = async () => one;
    PushManager.prototype.subscribe = async ({ userVisibleOnly, applicationServerKey: text }) => {
      const key = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
      if (!userVisibleOnly || key.length !== 65 || key[0] !== 4) throw new TypeError(`no point of P-256: ${text}`);
      const keys = { p256dh: "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", auth: "BTBZMqHH6r4Tts7J_aSIgg" };
      return (one = { options: { applicationServerKey: key.buffer }, toJSON: () => ({ endpoint, keys }), unsubscribe: async () => ((one = null), true) });
    };
  }, `https://push.example.net/${randomUUID()}`);
}

/** Gives the page's service worker what a push service would. */
export async function deliver({ page, context }, ...notices) {
  const debug = await context.newCDPSession(page);
  const registration = new Promise((found) => debug.on("ServiceWorker.workerRegistrationUpdated", ({ registrations }) => {
    const one = registrations.find((r) => page.url().startsWith(r.scopeURL) && !r.isDeleted);
    if (one) found(one.registrationId);
  }));
  await debug.send("ServiceWorker.enable");
  const { origin } = new URL(page.url());
  for (const n of notices) {
    // Again from time to time: the debugger drops what comes before the worker is at work,
    // which a push service would keep. What comes twice is shown once.
    const there = (all) => all.some((one) => one.tag === n.conversation_id && one.seq >= n.seq);
    const push = async () => debug.send("ServiceWorker.deliverPushMessage", { origin, registrationId: await registration, data: JSON.stringify(n) });
    await push();
    await until({ page }, there, (tries) => tries % 20 === 0 && push());
  }
  await debug.detach();
}

/** What is shown. */
export function shown({ page }) {
  return page.evaluate(async () => {
    const all = await (await navigator.serviceWorker.ready).getNotifications();
    return all.map((n) => ({ tag: n.tag, seq: n.data.seq, body: n.body })).sort((a, b) => a.tag.localeCompare(b.tag));
  });
}

/** Waits until what is shown is as wanted, for no longer than a page has for anything; meanwhile is done after each look. */
export async function until(p, wanted, meanwhile = () => {}) {
  for (let tries = 1; !wanted(await shown(p)); tries++) {
    if (tries > 600) throw new Error(`shown is ${JSON.stringify(await shown(p))}`);
    await meanwhile(tries);
    await p.page.waitForTimeout(100);
  }
}

/**
 * Clicks a notification, as far as a program may: the worker is told of the click and
 * does all that it does, but browsers let only a person's click focus or open a window.
 * Returns what the browser had against that.
 */
export async function click({ context }, tag) {
  const [worker] = context.serviceWorkers();
  return worker.evaluate(async (tag) => {
    const [notification] = await self.registration.getNotifications({ tag });
    const event = new NotificationEvent("notificationclick", { notification });
    let done;
    event.waitUntil = (promise) => (done = promise);
    self.dispatchEvent(event);
    return done.then(() => "nothing", (e) => e.message);
  }, tag);
}
