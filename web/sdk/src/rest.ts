// The HTTP interface, for one user.
import type {
  Conversation, Device, ID, Member, Message, MessageSent, Page, Presence, PutPush, Role, SearchAnswer, SyncAnswer, Uploaded,
} from "./protocol.ts";

/** Bounds for how long, in all, a call is held back that came too soon (429). */
export const LIMITED_WAIT = 30_000;
/** Bounds for how long anybody is believed who says when trying again is of use. */
export const RETRY_LAST = 300_000;
/** How long a call may take before its outcome counts as unknown. */
export const CALL_LIMIT = 30_000;

/** An answer other than 2xx. `code` is that of the protocol, or empty where a proxy answered. */
export class StatusError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    /** When the server says that trying again is of use, in ms; 0 = it does not. */
    readonly retryAfter = 0,
  ) {
    super(`HTTP status ${status}${code && `: ${code}`}${detail && `: ${detail}`}`);
    this.name = "StatusError";
  }
  /** Whether the same request may succeed later. */
  get temporary(): boolean {
    return this.status === 429 || this.status >= 500;
  }
}

/** No answer, or one that cannot be read: whether the request was done nobody knows. */
export class NoAnswerError extends Error {
  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.name = "NoAnswerError";
  }
}

/** Whether that is the network's or the server's doing and may be over later. */
export function passing(e: unknown): boolean {
  return e instanceof NoAnswerError || (e instanceof StatusError && e.temporary);
}

export interface RestOptions {
  /** Such as https://chat.example.com; empty = where the page came from. */
  base: string;
  /** Gives the token. `fresh` = the last one is no longer good. */
  token: (fresh: boolean) => Promise<string>;
  fetch?: typeof fetch;
  /** Waits for a number of ms. */
  sleep?: (ms: number) => Promise<void>;
  random?: () => number;
}

export class Rest {
  constructor(private readonly options: RestOptions) {}

  get base(): string {
    return this.options.base;
  }

  token(fresh = false): Promise<string> {
    return this.options.token(fresh);
  }

  /**
   * Sends one request and returns the answer's JSON, undefined where there is none.
   * What came too soon was not done: it waits for as long as it is told and is sent
   * again. An expired token is replaced once. Everything else is the caller's to repeat.
   */
  async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const sleep = this.options.sleep ?? ((ms) => new Promise((done) => setTimeout(done, ms)));
    for (let left = LIMITED_WAIT, fresh = false; ; ) {
      try {
        return await this.once<T>(method, path, body, fresh);
      } catch (e) {
        if (!(e instanceof StatusError)) throw e;
        if (e.status === 401 && e.code === "token_expired" && !fresh) {
          fresh = true;
          continue;
        }
        // Others of this user may wait for the same moment.
        const pause = e.retryAfter * (1 + (this.options.random ?? Math.random)() / 4);
        if (e.status !== 429 || pause === 0 || pause > left) throw e;
        left -= pause;
        await sleep(pause);
      }
    }
  }

  private async once<T>(method: string, path: string, body: unknown, fresh: boolean): Promise<T> {
    const headers: Record<string, string> = { Authorization: "Bearer " + (await this.token(fresh)) };
    const init: RequestInit = { method, headers, cache: "no-store", signal: AbortSignal.timeout(CALL_LIMIT) };
    if (body !== undefined) {
      headers["Content-Type"] = "application/json";
      init.body = JSON.stringify(body);
    }
    try {
      const response = await (this.options.fetch ?? fetch)(this.base + path, init);
      const text = await response.text();
      if (!response.ok) throw statusError(response.status, text, response.headers.get("Retry-After"));
      return (text ? JSON.parse(text) : undefined) as T;
    } catch (e) {
      throw e instanceof StatusError ? e : new NoAnswerError(e);
    }
  }

  async gateway(): Promise<string> {
    return (await this.call<{ url: string }>("GET", "/api/v1/gateway")).url;
  }

  conversations(cursor = "", limit = 50): Promise<{ conversations: Conversation[]; cursor?: string }> {
    return this.call("GET", `/api/v1/conversations?limit=${limit}${cursor && "&cursor=" + encodeURIComponent(cursor)}`);
  }

  conversation(id: ID): Promise<Conversation> {
    return this.call("GET", at(id));
  }

  direct(other: ID): Promise<Conversation> {
    return this.call("POST", "/api/v1/conversations", { type: "direct", member_ids: [other] });
  }

  /** Creates a group; the same request id names the same group. */
  group(request: ID, name: string, members: ID[]): Promise<Conversation> {
    const body = { type: "group", name, member_ids: members, client_conversation_id: request };
    return this.call("POST", "/api/v1/conversations", body);
  }

  rename(id: ID, name: string): Promise<Conversation> {
    return this.call("PATCH", at(id), { name });
  }

  members(id: ID): Promise<{ members: Member[]; members_version: number }> {
    return this.call("GET", at(id) + "/members");
  }

  addMember(id: ID, user: ID, role: Role = "member"): Promise<Member> {
    return this.call("PUT", `${at(id)}/members/${user}`, { role });
  }

  removeMember(id: ID, user: ID): Promise<void> {
    return this.call("DELETE", `${at(id)}/members/${user}`);
  }

  /** One page, ascending by seq; the query holds one cursor, such as before_seq=17, or none for the newest. */
  history(id: ID, query: string): Promise<Page> {
    return this.call("GET", `${at(id)}/messages?${query}`);
  }

  /** What the socket does too; for those without one. A thrown timeout means unknown: call again with the same id. */
  send(id: ID, message: Pick<Message, "content" | "type"> & { client_message_id: ID; media_url?: string; reply_to?: ID }): Promise<MessageSent> {
    return this.call("POST", at(id) + "/messages", message);
  }

  sync(have: Record<ID, number>): Promise<SyncAnswer> {
    return this.call("POST", "/api/v1/sync", { have });
  }

  presence(users: ID[]): Promise<Presence[]> {
    return this.call("GET", "/api/v1/presence?user_ids=" + users.join(","));
  }

  search(q: string, conversation = "", cursor = ""): Promise<SearchAnswer> {
    const query = new URLSearchParams({ q });
    if (conversation) query.set("conversation_id", conversation);
    if (cursor) query.set("cursor", cursor);
    return this.call("GET", "/api/v1/search?" + query);
  }

  /** The devices that are notified; `web_push_key` is the applicationServerKey to subscribe with, where there is Web Push. */
  devices(): Promise<{ devices: Device[]; web_push_key?: string }> {
    return this.call("GET", "/api/v1/devices");
  }

  /** Has a device notified, in place of how it was. */
  putPush(device: string, how: PutPush): Promise<void> {
    return this.call("PUT", pushOf(device), how);
  }

  deletePush(device: string): Promise<void> {
    return this.call("DELETE", pushOf(device));
  }

  /**
   * Uploads a file; progress gets the part that is sent, 0…1. It goes by
   * XMLHttpRequest, since fetch tells nothing of what is on its way: browsers only.
   */
  async upload(file: Blob, name: string, progress?: (part: number) => void, signal?: AbortSignal): Promise<Uploaded> {
    const token = await this.token();
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", this.base + "/api/v1/media/upload");
      request.setRequestHeader("Authorization", "Bearer " + token);
      request.upload.onprogress = (e) => e.lengthComputable && progress?.(e.loaded / e.total);
      request.onerror = () => reject(new TypeError("the upload was cut off"));
      request.onabort = () => reject(new DOMException("the upload was ended", "AbortError"));
      request.onload = () => {
        if (request.status >= 200 && request.status < 300) resolve(JSON.parse(request.responseText) as Uploaded);
        else reject(statusError(request.status, request.responseText, request.getResponseHeader("Retry-After")));
      };
      signal?.addEventListener("abort", () => request.abort());
      const form = new FormData();
      form.append("file", file, name);
      request.send(form);
    });
  }
}

const at = (id: ID) => "/api/v1/conversations/" + id;
const pushOf = (device: string) => `/api/v1/devices/${encodeURIComponent(device)}/push`;

function statusError(status: number, body: string, retryAfter: string | null): StatusError {
  let problem: { code?: string; detail?: string; retry_after_ms?: number } = {};
  try {
    problem = JSON.parse(body) as typeof problem;
  } catch {
    // A proxy's answer explains nothing.
  }
  const pause = problem?.retry_after_ms ?? Number(retryAfter ?? 0) * 1000;
  return new StatusError(status, problem?.code ?? "", problem?.detail ?? "", bounded(pause));
}

/** A pause that somebody asked for, in ms. */
export function bounded(ms: number | undefined): number {
  return ms && ms > 0 ? Math.min(ms, RETRY_LAST) : 0;
}
