// What the inspector shows: the frames of the socket, and of each message the moments
// that this device knows of.
import { timeOf, type Frame, type ID, type Message, type MessageSent, type MessageStatus } from "../sdk/src/index.ts";

export const FRAMES = 400;
export const ROADS = 2000;

export interface Seen {
  n: number;
  at: number; // Unix ms
  direction: "in" | "out";
  type: string;
  text: string;
}

export interface Hop {
  at: number; // Unix ms
  what: "Created" | "Written" | "Taken" | "Sent" | "Received" | "History" | "Delivered" | "Read";
  clock: "here" | "server";
  who?: ID;
}

/** Log keeps the newest frames, and the hops that they tell of. */
export class Log {
  frames: Seen[] = [];
  paused = false;
  private n = 0;
  private readonly hops = new Map<string, Hop[]>(); // by client_message_id, and by conversation and seq
  private readonly marks: { conversation: ID; seq: number; hop: Hop }[] = [];

  see(direction: Seen["direction"], text: string, at: number): void {
    let frame: Frame;
    try {
      frame = JSON.parse(text) as Frame;
    } catch {
      return;
    }
    if (!this.paused) {
      // Tokens are nobody's to read over a shoulder.
      const shown = text.replace(/("token":")[^"]+/, "$1…");
      this.frames.push({ n: ++this.n, at, direction, type: frame.type, text: shown });
      if (this.frames.length > FRAMES) this.frames.splice(0, this.frames.length - FRAMES);
    }
    this.follow(frame, at);
  }

  private follow(f: Frame, at: number): void {
    if (f.type === "send_message") {
      this.add((f.data as Message).client_message_id ?? "", { at, what: "Written", clock: "here" });
    } else if (f.type === "message_sent") {
      this.add((f.data as MessageSent).client_message_id, { at, what: "Sent", clock: "here" });
    } else if (f.type === "new_message") {
      const m = f.data as Message;
      this.add(place(m.conversation_id, m.seq), { at, what: "Received", clock: "here" });
    } else if (f.type === "message_status") {
      const s = f.data as MessageStatus;
      const what = s.status === "read" ? "Read" : "Delivered";
      this.marks.push({ conversation: s.conversation_id, seq: s.seq, hop: { at, what, clock: "here", who: s.user_id } });
      if (this.marks.length > ROADS) this.marks.shift();
    }
  }

  private add(key: string, hop: Hop): void {
    const hops = this.hops.get(key);
    if (hops) hops.push(hop);
    else this.hops.set(key, [hop]);
    if (this.hops.size > ROADS) this.hops.delete(this.hops.keys().next().value!);
  }

  /** The road of one message, the sender's end first. */
  road(m: Message): Hop[] {
    const road: Hop[] = [];
    const created = m.client_message_id && timeOf(m.client_message_id);
    if (created) road.push({ at: created, what: "Created", clock: "here" });
    const own = this.hops.get(m.client_message_id ?? "") ?? [];
    road.push(...own.filter((h) => h.what === "Written"));
    const taken = timeOf(m.message_id);
    if (taken) road.push({ at: taken, what: "Taken", clock: "server" });
    road.push(...own.filter((h) => h.what === "Sent"), ...(this.hops.get(place(m.conversation_id, m.seq)) ?? []));
    const first = new Set<string>();
    for (const { conversation, seq, hop } of this.marks) {
      const key = hop.what + hop.who;
      if (conversation !== m.conversation_id || seq < m.seq || first.has(key)) continue;
      first.add(key);
      road.push(hop);
    }
    if (!road.some((h) => h.what === "Sent" || h.what === "Received")) road.push({ at: NaN, what: "History", clock: "here" });
    return road;
  }
}

const place = (conversation: ID, seq: number) => conversation + seq;

/** What a message_id says of the log: the partition and the generation. */
export function logPlace(messageID: ID): { partition: number; generation: number } | undefined {
  const hex = messageID.replaceAll("-", "");
  if (hex[12] !== "1") return undefined;
  return { partition: parseInt(hex.slice(24), 16), generation: parseInt(hex.slice(16, 20), 16) & 0x3fff };
}
