// The gap rule: what makes of events that come twice, late or too early the one
// order that every member sees.
import type { ID, Message } from "./protocol.ts";

/** How long an event that came too early waits for those before it, in ms. */
export const HOLD_FOR = 700;

interface Hold {
  since: number;
  early: Map<number, Message>;
  /** Known to be there, without its event. */
  head: number;
}

/**
 * Order keeps the newest applied seq of each conversation and what came too early.
 * It pulls nothing itself: gaps() says of what it is time to.
 */
export class Order {
  private readonly last = new Map<ID, number>();
  private readonly held = new Map<ID, Hold>();

  constructor(private readonly apply: (m: Message) => void, have: Record<ID, number> = {}) {
    for (const [id, seq] of Object.entries(have)) this.last.set(id, seq);
  }

  have(): Record<ID, number> {
    return Object.fromEntries(this.last);
  }

  knows(id: ID): boolean {
    return this.last.has(id);
  }

  /** The newest applied seq; 0 where nothing has been. */
  at(id: ID): number {
    return this.last.get(id) ?? 0;
  }

  /** Takes everything up to a seq as had: history has it, page by page. */
  begin(id: ID, seq: number): void {
    if (seq >= this.at(id)) this.last.set(id, seq);
    this.release(id);
  }

  /** Has every later sync name a conversation: only of those that are named it tells what came before a removal. */
  acquaint(id: ID): void {
    if (!this.last.has(id)) this.last.set(id, 0);
  }

  /** Takes one live event; `begins` says that it is the first of its conversation that this user may see. */
  receive(m: Message, begins: boolean, now: number): void {
    const id = m.conversation_id;
    if (!this.last.has(id)) this.last.set(id, begins ? m.seq - 1 : 0);
    const last = this.at(id);
    if (m.seq <= last) return;
    if (m.seq > last + 1) {
      this.hold(id, now).early.set(m.seq, m);
      return;
    }
    this.accept(m);
    this.release(id);
  }

  /** Takes what history or sync brought, in order: what they leave out below it is not for this user to see. */
  fill(m: Message): void {
    if (m.seq > this.at(m.conversation_id)) this.accept(m);
    this.release(m.conversation_id);
  }

  /** Notes that a seq is there, without its event; `at once` where nothing else will push it. */
  expect(id: ID, seq: number, now: number, atOnce = false): void {
    this.acquaint(id);
    if (seq <= this.at(id)) return;
    const h = this.hold(id, now);
    h.head = Math.max(h.head, seq);
    if (atOnce) h.since = -Infinity;
  }

  /**
   * The conversations whose gap has been open for too long. One that was taken waits as long again and
   * comes after the others: who stops half-way, since it took long, begins with those that are left.
   */
  *gaps(now: number): Generator<ID> {
    for (const [id, h] of this.held) {
      if (now - h.since < HOLD_FOR) continue;
      h.since = now;
      this.held.delete(id);
      this.held.set(id, h);
      yield id;
    }
  }

  /** Has a gap that could not be filled wait longer, in ms. */
  postpone(id: ID, by: number): void {
    const h = this.held.get(id);
    if (h) h.since += by;
  }

  /** When gaps() will have something; Infinity = not unless something comes. */
  due(): number {
    let at = Infinity;
    for (const h of this.held.values()) at = Math.min(at, h.since + HOLD_FOR);
    return at;
  }

  /** Ends the gap of a conversation that this user has left: what was pushed was ours to see, the removal above all. */
  leave(id: ID): void {
    const h = this.held.get(id);
    this.held.delete(id);
    for (const seq of [...(h?.early.keys() ?? [])].sort((a, b) => a - b)) {
      const m = h!.early.get(seq)!;
      if (seq > this.at(id)) this.accept(m);
    }
  }

  private hold(id: ID, now: number): Hold {
    let h = this.held.get(id);
    if (!h) this.held.set(id, (h = { since: now, early: new Map(), head: 0 }));
    return h;
  }

  private release(id: ID): void {
    const h = this.held.get(id);
    if (!h) return;
    for (let m = h.early.get(this.at(id) + 1); m; m = h.early.get(m.seq + 1)) this.accept(m);
    for (const seq of [...h.early.keys()]) if (seq <= this.at(id)) h.early.delete(seq);
    if (h.early.size === 0 && h.head <= this.at(id)) this.held.delete(id);
  }

  private accept(m: Message): void {
    this.last.set(m.conversation_id, m.seq);
    this.apply(m);
  }
}
