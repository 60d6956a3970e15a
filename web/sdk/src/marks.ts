// How far this device has marked each conversation.
import type { ID } from "./protocol.ts";

/** How long before the end of a connection a mark must have been written to be taken for kept, in ms. */
export const MARK_AGAIN = 5_000;
/** The envelope id of every mark, by which refusals are known. */
export const MARK_ID = "mark";

export interface Mark {
  conversation: ID;
  status: "delivered" | "read";
  seq: number;
}

/** Marks only go up. Whatever may not have arrived is pending again. */
export class Marks {
  private readonly marks = new Map<string, Mark & { written: number }>();
  private from = 0;

  /** Notes a mark; a lower one than before says nothing. */
  set(conversation: ID, status: Mark["status"], seq: number): void {
    const key = status + conversation;
    if (seq > (this.marks.get(key)?.seq ?? 0)) this.marks.set(key, { conversation, status, seq, written: 0 });
  }

  /** The marks to write now. */
  take(now: number): Mark[] {
    if (now < this.from) return [];
    const due = [...this.marks.values()].filter((m) => m.written === 0);
    for (const m of due) m.written = now;
    return due;
  }

  /** Has those written again that a gateway may have taken with it. */
  doubt(now: number): void {
    for (const m of this.marks.values()) if (now - m.written < MARK_AGAIN) m.written = 0;
  }

  /** A temporary refusal: again, from then on. */
  refused(now: number, pause: number): void {
    this.from = now + pause;
    this.doubt(now);
  }

  due(): number {
    for (const m of this.marks.values()) if (m.written === 0) return this.from;
    return Infinity;
  }
}
