// Client is one device: it stays connected, and makes of what comes one order.
import { Connection, systemClock, type Clock, type Ending, type Socket } from "./connection.ts";
import { MARK_ID, Marks } from "./marks.ts";
import { HOLD_FOR, Order } from "./order.ts";
import { Outbox, memoryStore, type Parcel, type Store } from "./outbox.ts";
import {
  eventMessage, type Connected, type ConversationUpdated, type ErrorData, type Frame, type ID, type Message, type MessageSent,
  type MessageStatus, type Presence, type Typing,
} from "./protocol.ts";
import { Rest, StatusError, bounded, passing } from "./rest.ts";
import { uuid7 } from "./uuid.ts";

/** Bounds the pause before connecting again, in ms; it is drawn below the bound, which doubles each time,
 * until a connection was of use for longer than that. */
export const BACKOFF_FIRST = 1_000;
/** Where the bound stops growing. */
export const BACKOFF_LAST = 30_000;
/** How many frames may wait while the client syncs; more ends the connection, and the next sync brings them. */
export const QUEUE = 4096;
/** The server's limits for content and for a frame, and what a frame has beside its data. */
export const CONTENT_BYTES = 8192;
const FRAME_BYTES = 16_384;
const FRAME_REST = 64;
/** How many events of one conversation are pulled one by one; a longer gap is jumped over. */
export const PULL_MOST = 500;

export type State =
  | { is: "stopped" }
  | { is: "connecting" }
  | { is: "syncing" }
  | { is: "live"; server: string }
  /** Not connected; again at that time (Unix ms). */
  | { is: "waiting"; until: number; why: string }
  /** The server says that coming back is of no use. */
  | { is: "refused"; code: number; why: string };

export interface Handlers {
  /** Each durable event of each conversation, once and in order of seq, one's own among them. */
  message(m: Message): void;
  /** Events up to `to` are there and were not pulled: a page of history has them. */
  jump?(conversation: ID, to: number): void;
  state?(s: State): void;
  /** After `connected` and after each sync: what is a hint may have been missed. */
  synced?(): void;
  status?(s: MessageStatus): void;
  typing?(t: Typing): void;
  presence?(p: Presence): void;
  /** The outbox has changed. */
  outbox?(): void;
  /** The socket's frames, for who wants to look. */
  seen?(direction: "in" | "out", text: string): void;
}

export interface Options {
  rest: Rest;
  handlers: Handlers;
  /** A stable name of this device, at most 64 bytes. A second connection of the same name ends the first. */
  device: string;
  /** Where unsent messages wait; left out = for as long as the page lives. */
  store?: Store;
  /** What an earlier life of this device has applied: Client.have() of then. */
  have?: Record<ID, number>;
  /** Runs after `connected` and before the first sync, until it has gone well once: the place to begin() conversations at their head.
   * After a failure of `rest` that may pass it runs again on the same connection; anything else that it throws ends that. */
  prepare?: (c: Client) => Promise<void>;
  name?: { name: string; version: string };
  socket?: (url: string) => Socket;
  clock?: Clock;
  random?: () => number;
}

/** What the server would close the connection for would be sent again on the next one, for ever. */
function tooLarge(p: Parcel): boolean {
  const bytes = (text: string) => new TextEncoder().encode(text).length;
  return bytes(p.content) > CONTENT_BYTES || bytes(JSON.stringify(p)) > FRAME_BYTES - FRAME_REST;
}

/** When the server said that trying again is of use, in ms; 0 = it did not. */
function toldBy(e: unknown): number {
  return e instanceof StatusError ? e.retryAfter : 0;
}

export class Client {
  readonly rest: Rest;
  private readonly on: Handlers;
  private readonly clock: Clock;
  private readonly random: () => number;
  private readonly order: Order;
  private readonly outbox: Outbox;
  private readonly marks = new Marks();

  private state_: State = { is: "stopped" };
  private user: ID = "";
  private prepared = false;
  private running = false;
  private life = 0; // of attempts to connect: what belongs to an older one is let go
  private over: Promise<never> = new Promise(() => {}); // fails when this life ends
  private endLife = (_why: Error) => {};
  private connection: Connection | undefined;
  private info: Connected | undefined;
  private began = Infinity; // when this connection began to be of use
  private bound = BACKOFF_FIRST;
  private fresh = false; // the last token was no longer good
  private stopTimer = () => {};

  // What waits, and whether somebody is at it: frames and pulls take turns.
  private queue: Frame[] = [];
  private busy = false;
  private asked = { sync: Infinity, leave: Infinity, from: 0, bound: 0 }; // no sync before `from`: one failed for now
  private typingFrom = 0;
  private typingNext: { conversation_id: ID; is_typing: boolean } | undefined;

  constructor(private readonly options: Options) {
    this.rest = options.rest;
    this.on = options.handlers;
    this.clock = options.clock ?? systemClock;
    this.random = options.random ?? Math.random;
    this.order = new Order((m) => this.on.message(m), options.have);
    this.outbox = new Outbox(options.store ?? memoryStore(), this.clock.now());
  }

  get state(): State {
    return this.state_;
  }

  /** What the server of this connection said first; undefined while there is none. */
  get connected(): Connected | undefined {
    return this.info;
  }

  /** The newest applied seq of each conversation. */
  have(): Record<ID, number> {
    return this.order.have();
  }

  /** The newest applied seq of one. */
  at(id: ID): number {
    return this.order.at(id);
  }

  /** Takes a conversation as had up to its head, for a device that reads history page by page. */
  begin(id: ID, head: number): void {
    this.order.begin(id, head);
  }

  /** Notes that a conversation has come that far, by what an answer said: what is not pushed soon is pulled. */
  expect(id: ID, head: number): void {
    this.order.expect(id, head, this.clock.now());
    if (!this.busy) this.arm();
  }

  /** What was sent and not answered yet, oldest first. */
  unsent(): Parcel[] {
    return this.outbox.all();
  }

  start(): void {
    if (this.running) return;
    this.running = true;
    void this.connect();
  }

  stop(): void {
    this.running = false;
    this.turn();
    this.stopTimer();
    this.connection?.end({ code: 1000, reason: "" });
    this.detach();
    this.become({ is: "stopped" });
  }

  /** Tries at once: the network is back, or somebody is looking again. */
  wake(): void {
    if (!this.running) return;
    if (this.state_.is === "waiting") void this.connect();
    else this.connection?.ask();
  }

  /** Keeps a message and sends it until the server has answered, across connections and reloads. */
  send(m: Pick<Parcel, "conversation_id" | "content"> & Partial<Parcel>): Parcel {
    const now = this.clock.now();
    const parcel: Parcel = { type: "text", client_message_id: uuid7(now), created: this.outbox.next(now), ...m };
    this.outbox.add(parcel, now);
    this.typingNext = undefined;
    if (tooLarge(parcel)) this.outbox.fail(parcel.client_message_id, "too_large", "the message is larger than a frame may be");
    this.on.outbox?.();
    this.flush();
    return parcel;
  }

  /** Sends again, with the same id, what the server refused; what has expired gets a new id and is a new message. */
  retry(id: ID): void {
    const parcel = this.outbox.take(id);
    if (!parcel) return;
    const { failed, ...rest } = parcel;
    const now = this.clock.now();
    const again = failed?.code === "expired" || failed?.code === "idempotency_conflict";
    this.outbox.add(again ? { ...rest, client_message_id: uuid7(now), created: this.outbox.next(now) } : rest, now);
    this.on.outbox?.();
    this.flush();
  }

  /** Gives a message up. If it was written before, it may have arrived all the same. */
  discard(id: ID): void {
    this.outbox.take(id);
    this.on.outbox?.();
  }

  markRead(id: ID, seq: number): void {
    this.marks.set(id, "read", seq);
    this.flush();
  }

  markDelivered(id: ID, seq: number): void {
    this.marks.set(id, "delivered", seq);
    this.flush();
  }

  /** Call it at each key: what comes too soon waits until it may be written, and only the last of it is. */
  typing(id: ID, is: boolean): void {
    if (!this.connection || !this.info) return;
    this.typingNext = { conversation_id: id, is_typing: is };
    this.flush();
  }

  // Connecting

  /** Begins another life. */
  private turn(): number {
    this.endLife(new Error("the connection has ended"));
    this.over = new Promise((_, reject) => (this.endLife = reject));
    this.over.catch(() => {}); // most of the time nobody waits for it
    return ++this.life;
  }

  /** Waits for an answer, but not beyond this life: a network that is gone may keep it for long. */
  private meanwhile<T>(answer: Promise<T>): Promise<T> {
    return Promise.race([answer, this.over]);
  }

  private become(s: State): void {
    this.state_ = s;
    this.on.state?.(s);
  }

  private async connect(): Promise<void> {
    const life = this.turn();
    this.stopTimer();
    this.detach();
    this.began = Infinity;
    this.become({ is: "connecting" });
    try {
      const url = await this.rest.gateway();
      const token = await this.rest.token(this.fresh);
      if (life !== this.life) return;
      const make = this.options.socket ?? ((u: string) => new WebSocket(u, "chat.v1.json") as unknown as Socket);
      this.connection = new Connection(make(url), this.clock, {
        connected: (c) => life === this.life && this.attach(c),
        frame: (f) => life === this.life && this.take(f),
        ended: (e) => life === this.life && this.ended(e),
        seen: (direction, text) => this.on.seen?.(direction, text),
      }, { token, device_id: this.options.device, client: this.options.name ?? { name: "web-sdk", version: "0.1.0" } });
    } catch (e) {
      if (life !== this.life) return;
      if (e instanceof StatusError && !e.temporary) this.refuse(e.status, e.message);
      else this.later(toldBy(e), String(e instanceof Error ? e.message : e));
    }
  }

  private detach(): void {
    if (!this.connection) return;
    this.connection = this.info = this.typingNext = undefined;
    this.marks.doubt(this.clock.now());
    const rest = this.queue;
    this.queue = [];
    for (const f of rest) this.notice(f);
  }

  /** Takes a frame of a connection that ended before it was handled: an answer is one all the same. */
  private notice(f: Frame): void {
    const answer = f.type === "message_sent" || f.type === "error";
    try {
      if (answer && this.prepared && this.running) this.frame(f);
    } catch {
      // One that cannot be handled would have ended a connection, which is over.
    }
    // What it brings the next sync brings too, but of a conversation that is left by then only if it is named.
    const id = (f.data as { conversation_id?: ID } | undefined)?.conversation_id;
    if (id && /^(new_message|conversation_updated|message_sent)$/.test(f.type)) this.order.acquaint(id);
  }

  private ended(e: Ending): void {
    const expired = e.code === 4501 && e.error?.code === "token_expired" && !this.fresh;
    this.detach();
    this.turn();
    if (expired || e.code === 4006) {
      this.fresh = true;
      void this.connect();
    } else if (e.code >= 4500 && e.code < 5000) {
      this.refuse(e.code, e.error?.message ?? e.reason);
    } else {
      const told = e.code === 4008 || e.code === 4005 ? bounded(e.error?.retry_after_ms) : 0;
      this.later(told, e.reason || `${e.code}`);
    }
  }

  private refuse(code: number, why: string): void {
    this.running = false;
    this.turn();
    this.become({ is: "refused", code, why });
  }

  private later(told: number, why: string): void {
    const now = this.clock.now();
    if (now - this.began > this.bound) this.bound = BACKOFF_FIRST;
    const pause = told + this.random() * this.bound;
    this.bound = Math.min(2 * this.bound, BACKOFF_LAST);
    this.turn();
    this.stopTimer = this.clock.after(pause, () => void this.connect());
    this.become({ is: "waiting", until: now + pause, why });
  }

  private attach(c: Connected): void {
    this.info = c;
    this.user = c.user_id;
    this.fresh = false;
    this.asked = { sync: 0, leave: Infinity, from: 0, bound: 0 };
    this.outbox.restart(this.clock.now(), c.limits);
    this.on.outbox?.();
    this.become({ is: "syncing" });
    this.flush();
    void this.work();
  }

  // Frames and what the time asks for, one after another

  private take(f: Frame): void {
    // The connection's own answers need not wait behind a sync.
    if (f.type === "heartbeat_ack") return;
    if (this.queue.push(f) > QUEUE) this.connection?.end({ code: 1006, reason: "more came than could be handled" });
    else void this.work();
  }

  private async work(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    try {
      while (this.connection && this.info) {
        const life = this.life;
        try {
          if (!(await this.step())) break;
        } catch (e) {
          if (life === this.life) this.connection?.end({ code: 1006, reason: String(e instanceof Error ? e.message : e) });
        }
      }
    } finally {
      this.busy = false;
    }
    this.arm();
  }

  /** Does one thing; false = there is nothing to do now. */
  private async step(): Promise<boolean> {
    const now = this.clock.now();
    if (now >= this.asked.leave) {
      this.leave();
      return false;
    }
    if (now >= this.asked.sync) {
      await this.resume();
      return true;
    }
    // Before `prepare` has gone well, everything is held back. A sync that failed for now holds nothing back.
    const f = this.prepared ? this.queue.shift() : undefined;
    if (f) {
      this.frame(f);
      return true;
    }
    if (this.state_.is !== "live") return false; // Gaps are the sync's.
    let pulled = false;
    for (const id of this.order.gaps(now)) {
      pulled = true;
      await this.pull(id);
      if (this.clock.now() - now > HOLD_FOR) break; // Frames wait meanwhile: they come first, then the others.
    }
    return pulled && this.queue.length > 0;
  }

  /** Has step() called when the next thing is due. */
  private arm(): void {
    const connection = this.connection;
    if (!connection || !this.info) return;
    this.stopTimer();
    const live = this.state_.is === "live";
    const at = Math.min(
      this.outbox.due(), this.marks.due(), this.typingNext ? this.typingFrom : Infinity, this.asked.sync, this.asked.leave, live ? this.order.due() : Infinity,
    );
    if (at === Infinity) return;
    this.stopTimer = this.clock.after(Math.max(at - this.clock.now(), 0), () => {
      this.flush();
      void this.work();
    });
  }

  /** Writes what is due and needs no answer to go on. */
  private flush(): void {
    const now = this.clock.now();
    if (!this.connection || !this.info) return;
    for (const p of this.outbox.takeDue(now)) {
      const { created: _created, failed: _failed, ...data } = p;
      this.connection.write("send_message", data);
    }
    for (const m of this.marks.take(now)) {
      this.connection.write("mark_" + m.status, { conversation_id: m.conversation, seq: m.seq }, MARK_ID);
    }
    if (this.typingNext && now >= this.typingFrom) {
      this.typingFrom = now + (this.info.limits?.typing_interval_ms ?? 3000);
      this.connection.write("typing", this.typingNext);
      this.typingNext = undefined;
    }
    if (!this.busy) this.arm();
  }

  private frame(f: Frame): void {
    const now = this.clock.now();
    switch (f.type) {
      case "new_message":
        this.receive(f.data as Message, now);
        break;
      case "conversation_updated":
        this.updated(f.data as ConversationUpdated, now);
        break;
      case "message_sent":
        this.sent(f.data as MessageSent, now);
        break;
      case "error":
        this.refused(f.data as ErrorData, f.id, now);
        break;
      case "behind":
        this.asked.sync = Math.min(this.asked.sync, Math.max(now + bounded((f.data as { after_ms?: number }).after_ms), this.asked.from));
        break;
      case "reconnect": {
        const { after_ms = 0, jitter_ms = 0 } = f.data as { after_ms?: number; jitter_ms?: number };
        this.asked.leave = now + bounded(after_ms) + this.random() * bounded(jitter_ms);
        break;
      }
      case "token_expiring":
        void this.refresh();
        break;
      case "message_status":
        this.on.status?.(f.data as MessageStatus);
        break;
      case "typing":
        this.on.typing?.(f.data as Typing);
        break;
      case "presence_update":
        this.on.presence?.(f.data as Presence);
        break;
    }
  }

  private receive(m: Message, now: number): void {
    // While a sync is still to come, one's own joining may not have been the first one either.
    const begins = this.asked.sync === Infinity && m.event?.change === "member_added" && m.event.user_id === this.user;
    this.order.receive(m, begins, now);
  }

  private updated(u: ConversationUpdated, now: number): void {
    if (u.change !== "head") {
      if (u.seq) this.receive(eventMessage(u), now);
      return;
    }
    const next = this.order.at(u.conversation_id) + 1;
    if (u.message && u.message.seq === next) this.receive(u.message, now);
    else this.order.expect(u.conversation_id, u.head_seq ?? 0, now, true);
  }

  /** message_sent counts as the message's own place in the order: no new_message comes for it here. */
  private sent(s: MessageSent, now: number): void {
    const p = this.outbox.take(s.client_message_id);
    if (!p) {
      this.order.expect(s.conversation_id, s.seq, now);
      return;
    }
    const { created: _created, failed: _failed, ...data } = p;
    this.receive({ ...data, message_id: s.message_id, seq: s.seq, sender_id: this.user, timestamp: s.timestamp }, now);
    this.on.outbox?.();
  }

  private refused(e: ErrorData, id: string | undefined, now: number): void {
    if (!e.client_message_id) {
      if (id === MARK_ID && e.temporary) this.marks.refused(now, bounded(e.retry_after_ms));
      return;
    }
    if (e.temporary) this.outbox.hold(e.client_message_id, now + bounded(e.retry_after_ms));
    else if (this.outbox.fail(e.client_message_id, e.code, e.message)) this.on.outbox?.();
  }

  private async refresh(): Promise<void> {
    try {
      const token = await this.rest.token(true);
      this.connection?.write("refresh_token", { token });
    } catch {
      // Then 4006 follows, and with it a new connection.
    }
  }

  /** Connects elsewhere, as the server asked, at the moment that was drawn. */
  private leave(): void {
    const connection = this.connection;
    this.turn();
    connection?.end({ code: 1000, reason: "" });
    void this.connect();
  }

  // What was missed

  private async resume(): Promise<void> {
    const life = this.life;
    try {
      if (!this.prepared) await this.options.prepare?.(this);
      this.prepared = true;
      await this.sync();
    } catch (e) {
      if (life !== this.life) return;
      if (!passing(e)) throw e;
      // The connection is none the worse for it, answers to what was sent come on it, and another would load a server
      // that has too much to do.
      this.asked.bound = Math.min(Math.max(2 * this.asked.bound, BACKOFF_FIRST), BACKOFF_LAST);
      this.asked.from = this.asked.sync = this.clock.now() + toldBy(e) + this.random() * this.asked.bound;
      return;
    }
    if (life !== this.life) return;
    this.asked.sync = Infinity;
    this.asked.from = this.asked.bound = 0;
    this.began = Math.min(this.began, this.clock.now());
    if (this.state_.is === "syncing") this.become({ is: "live", server: this.info?.server ?? "" });
    this.on.synced?.();
  }

  private async sync(): Promise<void> {
    const life = this.life;
    for (let more = true; more; ) {
      const answer = await this.meanwhile(this.rest.sync(this.order.have()));
      if (life !== this.life) return;
      for (const f of answer.events ?? []) {
        this.order.fill(f.type === "conversation_updated" ? eventMessage(f.data as ConversationUpdated) : (f.data as Message));
      }
      for (const h of answer.heads ?? []) {
        const known = this.order.knows(h.conversation_id);
        if (known && h.head_seq - this.order.at(h.conversation_id) <= PULL_MOST) await this.fill(h.conversation_id);
        else this.jump(h.conversation_id, h.head_seq);
        if (life !== this.life) return;
      }
      more = answer.has_more;
    }
  }

  private jump(id: ID, head: number): void {
    if (head <= this.order.at(id)) return;
    this.order.begin(id, head);
    this.on.jump?.(id, head);
  }

  /** Fills one gap that has been open for too long. One that cannot be filled now waits as long again, and as long as it is told. */
  private async pull(id: ID): Promise<void> {
    const began = this.clock.now();
    try {
      await this.fill(id).catch((e: unknown) => this.part(id, e));
    } catch (e) {
      this.order.postpone(id, this.clock.now() - began + toldBy(e));
    }
  }

  /** Where a conversation is left, history is closed, but sync still has what came before the removal. */
  private async part(id: ID, e: unknown): Promise<void> {
    if (!(e instanceof StatusError && e.status === 404)) throw e;
    const life = this.life;
    await this.sync();
    // A sync that was cut off has not brought it: then the gap stays, for the next connection's.
    if (life === this.life) this.order.leave(id);
  }

  private async fill(id: ID): Promise<void> {
    const life = this.life;
    for (let more = true; more; ) {
      const page = await this.meanwhile(this.rest.history(id, `after_seq=${this.order.at(id)}&limit=200`));
      if (life !== this.life) return;
      for (const m of page.messages) this.order.fill(m);
      more = page.has_more && page.messages.length > 0;
    }
  }
}
