// A server and a clock that do what a test says, and nothing by themselves.
import type { Clock, Socket } from "../src/connection.ts";
import { Client, type Handlers, type Options, type State } from "../src/client.ts";
import type { Frame, Message } from "../src/protocol.ts";
import { Rest } from "../src/rest.ts";

export const ME = "62e48500-8080-59a0-8071-a85950223b90";
export const BOB = "17c43426-d780-5e57-b88e-bcc975610551";
export const C = "bb595a9e-6971-5656-be51-9156a7dd9901";

/** Lets everything run that waits for nothing but its turn. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 8; i++) await new Promise((done) => setImmediate(done));
}

export class FakeClock implements Clock {
  private time = 1_790_000_000_000;
  private timers: { at: number; call: () => void }[] = [];
  now = () => this.time;
  after = (ms: number, call: () => void) => {
    const timer = { at: this.time + ms, call };
    this.timers.push(timer);
    return () => void (this.timers = this.timers.filter((t) => t !== timer));
  };
  /** Goes on, stopping at each timer on the way. */
  async pass(ms: number): Promise<void> {
    const end = this.time + ms;
    for (;;) {
      await settle();
      const next = this.timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.timers = this.timers.filter((t) => t !== next);
      this.time = Math.max(this.time, next.at);
      next.call();
    }
    this.time = end;
  }
}

export class FakeSocket implements Socket {
  readyState = 0;
  onopen: ((e: never) => void) | null = null;
  onmessage: ((e: { data: unknown }) => void) | null = null;
  onclose: ((e: { code: number; reason: string }) => void) | null = null;
  onerror: ((e: never) => void) | null = null;
  readonly written: Frame[] = [];
  constructor(readonly url: string) {}
  send(text: string): void {
    this.written.push(JSON.parse(text) as Frame);
  }
  close(): void {
    this.readyState = 3;
  }
  open(): void {
    this.readyState = 1;
    this.onopen?.(undefined as never);
  }
  push(type: string, data: unknown, id?: string): void {
    this.onmessage?.({ data: JSON.stringify({ type, id, data }) });
  }
  drop(code: number, reason = ""): void {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
  /** The data of the frames of one type that the client wrote. */
  wrote(type: string): Record<string, unknown>[] {
    return this.written.filter((f) => f.type === type).map((f) => f.data as Record<string, unknown>);
  }
}

/** `text` is a body that is no JSON. */
export type Answer = { status?: number; body?: unknown; text?: string; headers?: Record<string, string> };

export class Site {
  readonly clock = new FakeClock();
  readonly sockets: FakeSocket[] = [];
  readonly calls: { method: string; path: string; body: unknown; token: string }[] = [];
  readonly applied: Message[] = [];
  readonly states: State[] = [];
  readonly tokens: boolean[] = []; // each asked for, fresh or not
  /** What the server says to a call; the test replaces it. */
  answer: (method: string, path: string, body: unknown) => Answer | Promise<Answer> = () => ({});
  readonly client: Client;

  constructor(options: Partial<Options> = {}, handlers: Partial<Handlers> = {}) {
    const rest = new Rest({
      base: "http://here",
      token: async (fresh) => {
        this.tokens.push(fresh);
        return fresh ? "fresh" : "token";
      },
      fetch: (async (url: string, init: RequestInit) => this.fetch(url, init)) as unknown as typeof fetch,
      sleep: async () => {},
      random: () => 0,
    });
    this.client = new Client({
      rest, device: "test", clock: this.clock, random: () => 1,
      socket: (url) => {
        const s = new FakeSocket(url);
        this.sockets.push(s);
        return s;
      },
      handlers: { message: (m) => this.applied.push(m), state: (s) => this.states.push(s), ...handlers },
      ...options,
    });
  }

  private async fetch(url: string, init: RequestInit): Promise<Response> {
    const path = url.slice("http://here".length);
    const body: unknown = init.body ? JSON.parse(String(init.body)) : undefined;
    const method = init.method ?? "GET";
    const token = (init.headers as Record<string, string>)["Authorization"] ?? "";
    this.calls.push({ method, path, body, token });
    let answer = await this.answer(method, path, body);
    if (!answer.body && !answer.status && !answer.text) answer = ordinary(path);
    return new Response(answer.text ?? JSON.stringify(answer.body ?? {}), { status: answer.status ?? 200, headers: answer.headers ?? {} });
  }

  get socket(): FakeSocket {
    return this.sockets[this.sockets.length - 1]!;
  }

  asked(part: string): unknown[] {
    return this.calls.filter((c) => c.path.includes(part)).map((c) => c.body);
  }

  get seqs(): number[] {
    return this.applied.map((m) => m.seq);
  }

  /** Brings the newest connection to `connected`. */
  async accept(): Promise<void> {
    await settle();
    this.socket.open();
    this.socket.push("connected", CONNECTED);
    await settle();
  }

  async live(): Promise<void> {
    this.client.start();
    await this.accept();
  }
}

function ordinary(path: string): Answer {
  if (path === "/api/v1/gateway") return { body: { url: "ws://there/api/v1/ws" } };
  if (path === "/api/v1/sync") return { body: { events: [], heads: [], has_more: false } };
  return { status: 404, body: { code: "not_found" } };
}

export const CONNECTED = {
  session_id: "gw-1.1", user_id: ME, device_id: "test", heartbeat_ms: 30_000, token_expires_at: 0, time: 0, server: "gw-1",
  limits: { typing_interval_ms: 3000 },
};

export function message(seq: number, conversation = C, more: Partial<Message> = {}): Message {
  return {
    message_id: `m${seq}`, conversation_id: conversation, seq, sender_id: BOB, content: `no. ${seq}`, type: "text",
    timestamp: 1_790_000_000, ...more,
  };
}

export function page(...seqs: number[]): Answer {
  return { body: { messages: seqs.map((s) => message(s)), first_seq: seqs[0] ?? 0, last_seq: seqs.at(-1) ?? 0, has_more: false } };
}

/** A Storage as browsers have it. */
export function storage(): Storage {
  const kept = new Map<string, string>();
  return {
    get length() {
      return kept.size;
    },
    key: (i) => [...kept.keys()][i] ?? null,
    getItem: (k) => kept.get(k) ?? null,
    setItem: (k, v) => void kept.set(k, v),
    removeItem: (k) => void kept.delete(k),
    clear: () => kept.clear(),
  };
}
