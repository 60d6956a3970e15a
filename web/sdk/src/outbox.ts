// What was sent and not yet answered. It survives reloads through a Store.
import type { Connected, ID, MessageType } from "./protocol.ts";

/** How long a send may stay without an answer before it is repeated, in ms; each time that doubles. */
export const SEND_AGAIN = 5_000;
/** Where it stops doubling. */
export const SEND_AGAIN_LAST = 40_000;
/** For how long the server recognises a repeated client_message_id; an hour is left for the way. */
export const KEY_LIFE = (7 * 24 - 1) * 3_600_000;

/** What a connection may send where the server does not say. */
const SENDS_PER_SECOND = 20;
const SEND_BURST = 40;

/** One message to send. Together with conversation and sender its client_message_id is its key. */
export interface Parcel {
  client_message_id: ID;
  conversation_id: ID;
  content: string;
  type: Exclude<MessageType, "event">;
  media_url?: string;
  reply_to?: ID;
  /** Unix ms, by the clock of this device. The order of sending, after a reload too. */
  created: number;
  /** Why the server will not take it: it is not repeated until somebody says so. */
  failed?: { code: string; message: string };
}

/** Store keeps parcels where a reload does not reach. Each call must have taken effect when it returns. */
export interface Store {
  load(): Parcel[];
  put(p: Parcel): void;
  remove(id: ID): void;
}

/** A Store for as long as the page lives. */
export function memoryStore(): Store {
  const kept = new Map<ID, Parcel>();
  return {
    load: () => [...kept.values()],
    put: (p) => void kept.set(p.client_message_id, { ...p }),
    remove: (id) => void kept.delete(id),
  };
}

/**
 * A Store in localStorage or its like, below a prefix that names the user. Each
 * parcel has a key of its own: two tabs of one user do not write over each other, and
 * may both send the same one, which the server keeps once.
 */
export function webStore(storage: Storage, prefix: string): Store {
  return {
    load() {
      const found: Parcel[] = [];
      for (let i = 0; i < storage.length; i++) {
        const key = storage.key(i)!;
        if (!key.startsWith(prefix)) continue;
        try {
          found.push(JSON.parse(storage.getItem(key)!) as Parcel);
        } catch {
          // Not ours after all.
        }
      }
      return found;
    },
    put: (p) => storage.setItem(prefix + p.client_message_id, JSON.stringify(p)),
    remove: (id) => storage.removeItem(prefix + id),
  };
}

interface Waiting {
  parcel: Parcel;
  due: number;
  patience: number;
}

/**
 * Outbox says which parcel is to be written when: oldest first, and no faster than the
 * server takes them. It stays below the limits, since frames may bunch up on their way:
 * at half of the burst, and three quarters of the rate.
 */
export class Outbox {
  private readonly waiting = new Map<ID, Waiting>();
  private newest = 0;
  private heldUntil = 0;
  // A parcel moves `paced` on by `every`, and waits where that is more than `ahead` from now.
  private paced = 0;
  private every = 0;
  private ahead = 0;

  constructor(private readonly store: Store, now: number) {
    const kept = store.load().sort((a, b) => a.created - b.created);
    for (const parcel of kept) {
      this.waiting.set(parcel.client_message_id, { parcel, due: now, patience: SEND_AGAIN });
      this.newest = parcel.created;
    }
    this.restart(now);
  }

  /** The `created` of a parcel that is made now: after all others, also of the same millisecond. */
  next(now: number): number {
    return (this.newest = Math.max(now, this.newest + 1));
  }

  all(): Parcel[] {
    return [...this.waiting.values()].map((w) => w.parcel);
  }

  get(id: ID): Parcel | undefined {
    return this.waiting.get(id)?.parcel;
  }

  /** Keeps a parcel, then has it written. */
  add(parcel: Parcel, now: number): void {
    this.store.put(parcel);
    this.waiting.set(parcel.client_message_id, { parcel, due: now, patience: SEND_AGAIN });
  }

  /** Removes one that was answered or given up. */
  take(id: ID): Parcel | undefined {
    const w = this.waiting.get(id);
    if (!w) return undefined;
    this.waiting.delete(id);
    this.store.remove(id);
    return w.parcel;
  }

  /** Notes that the server will not take it. */
  fail(id: ID, code: string, message: string): Parcel | undefined {
    const w = this.waiting.get(id);
    if (!w) return undefined;
    w.parcel = { ...w.parcel, failed: { code, message } };
    this.store.put(w.parcel);
    return w.parcel;
  }

  /** Has a parcel that was refused for now written not before then, and no other either: it would overtake this one. */
  hold(id: ID, until: number): void {
    const w = this.waiting.get(id);
    if (w) w.due = until;
    this.heldUntil = Math.max(this.heldUntil, until);
    this.paced = Math.max(this.paced, this.heldUntil + this.ahead); // one then, and no burst
  }

  /**
   * Has everything written again: a new connection knows of nothing, and has limits of
   * its own. But not what no server may recognise any more, after a reload or a long sleep.
   */
  restart(now: number, limits: Connected["limits"] = {}): void {
    const burst = Math.max(Math.floor((limits.send_burst || SEND_BURST) / 2), 1);
    this.every = Math.ceil(1000 / (0.75 * (limits.sends_per_second || SENDS_PER_SECOND)));
    this.ahead = this.every * (burst - 1);
    this.paced = this.heldUntil = 0;
    for (const [id, w] of this.waiting) {
      Object.assign(w, { due: now, patience: SEND_AGAIN });
      if (w.parcel.failed || now - w.parcel.created <= KEY_LIFE) continue;
      this.fail(id, "expired", "nobody knows any more whether it arrived");
    }
  }

  /** The parcels to write now; each is due again later, in case no answer comes. */
  takeDue(now: number): Parcel[] {
    const due: Parcel[] = [];
    for (const w of this.waiting.values()) {
      if (now < this.open()) break;
      if (w.parcel.failed || w.due > now) continue;
      this.paced = Math.max(this.paced, now) + this.every;
      w.due = now + w.patience;
      w.patience = Math.min(2 * w.patience, SEND_AGAIN_LAST);
      due.push(w.parcel);
    }
    return due;
  }

  /** When the next one is due; Infinity = none. */
  due(): number {
    let at = Infinity;
    for (const w of this.waiting.values()) if (!w.parcel.failed) at = Math.min(at, w.due);
    return Math.max(at, this.open());
  }

  /** From when on one may be written. */
  private open(): number {
    return Math.max(this.heldUntil, this.paced - this.ahead);
  }
}
