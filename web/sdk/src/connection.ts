// One WebSocket connection, and nothing more: no retry, no resume.
import type { Connected, ErrorData, Frame } from "./protocol.ts";

/** How long the first frame may take, in ms. */
export const CONNECT_LIMIT = 15_000;
/** How long an answer to `heartbeat` may take before the connection is taken for dead, in ms. */
export const HEARTBEAT_LIMIT = 10_000;

/** What this module needs of a WebSocket: the browser's is one, and so is Node's. */
export interface Socket {
  readyState: number;
  onopen: ((e: never) => void) | null;
  onmessage: ((e: { data: unknown }) => void) | null;
  onclose: ((e: { code: number; reason: string }) => void) | null;
  onerror: ((e: never) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

/** Clock is the time and how to wait for it: tests have their own. */
export interface Clock {
  /** Unix ms. */
  now(): number;
  /** Calls once after a number of ms; what it returns takes that back. */
  after(ms: number, call: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  after(ms, call) {
    const timer = setTimeout(call, ms);
    return () => clearTimeout(timer);
  },
};

/** How a connection ended: the code of the close frame, 1006 where there was none. */
export interface Ending {
  code: number;
  reason: string;
  /** The last error before, which may say more than the code. */
  error?: ErrorData;
}

export interface ConnectionEvents {
  connected(c: Connected): void;
  /** Every frame after `connected`, in order. */
  frame(f: Frame): void;
  /** Once, and nothing after it. */
  ended(e: Ending): void;
  /** Every frame, in both directions, for who wants to look. */
  seen?(direction: "in" | "out", text: string): void;
}

/** Says who it is by `connect`, since a page cannot set headers, and watches over the line. */
export class Connection {
  private over = false;
  private isConnected = false;
  private heartbeat = 30_000;
  private error: ErrorData | undefined;
  private stopTimer: () => void;

  constructor(
    private readonly socket: Socket,
    private readonly clock: Clock,
    private readonly events: ConnectionEvents,
    credentials: { token: string; device_id: string; client: { name: string; version: string } },
  ) {
    this.stopTimer = clock.after(CONNECT_LIMIT, () => this.end({ code: 1006, reason: "no answer" }));
    socket.onopen = () => this.write("connect", credentials);
    socket.onmessage = (e) => this.receive(String(e.data));
    socket.onclose = (e) => this.end({ code: e.code, reason: e.reason });
    socket.onerror = () => {}; // onclose follows
  }

  /** Puts one frame on the line. A failure is no news: the end of the connection is. */
  write(type: string, data: unknown, id?: string): void {
    if (this.over || this.socket.readyState !== 1) return;
    const text = JSON.stringify(id === undefined ? { type, data } : { type, id, data });
    this.events.seen?.("out", text);
    this.socket.send(text);
  }

  /** Ends it from here. */
  end(e: Ending): void {
    if (this.over) return;
    this.over = true;
    this.stopTimer();
    this.socket.onmessage = this.socket.onopen = this.socket.onclose = null;
    try {
      this.socket.close(1000);
    } catch {
      // It was closed already.
    }
    this.events.ended(this.error ? { ...e, error: this.error } : e);
  }

  private receive(text: string): void {
    if (this.over) return;
    this.events.seen?.("in", text);
    if (this.isConnected) this.listen();
    let frame: Frame;
    try {
      frame = JSON.parse(text) as Frame;
    } catch {
      this.end({ code: 1002, reason: "a frame is no JSON" });
      return;
    }
    if (frame.type === "error") this.error = frame.data as ErrorData;
    if (this.isConnected) {
      this.events.frame(frame);
    } else if (frame.type === "connected") {
      this.isConnected = true;
      this.error = undefined;
      const c = frame.data as Connected;
      this.heartbeat = c.heartbeat_ms > 0 ? c.heartbeat_ms : this.heartbeat;
      this.listen();
      this.events.connected(c);
    }
  }

  /** A page sees no pings. After a silence it asks; whatever comes then is a sign of life. */
  private listen(): void {
    this.stopTimer();
    this.stopTimer = this.clock.after(this.heartbeat, () => this.ask());
  }

  /** Asks for a sign of life, such as after the network has changed. */
  ask(): void {
    if (this.over || !this.isConnected) return;
    this.stopTimer();
    this.write("heartbeat", {});
    this.stopTimer = this.clock.after(HEARTBEAT_LIMIT, () => this.end({ code: 1006, reason: "no sign of life" }));
  }
}
