// Session is what the page knows: conversations, what is loaded of each, who is there.
import {
  Client, Rest, StatusError, uuid7, webStore, type Conversation, type ID, type Member, type Message, type MessageStatus, type Parcel,
  type Presence, type State, type Typing,
} from "../sdk/src/index.ts";
import { Log } from "./roads.ts";
import { say } from "./words.ts";

/** How long somebody types after saying so, in ms. */
const TYPING_FOR = 6_000;
const PAGE = 50;
/** How often a conversation is asked for that goes on meanwhile. */
const FETCH_MOST = 3;

export interface Marks {
  read: number;
  delivered: number;
}

export interface Chat {
  info: Conversation;
  peer: ID | undefined; // of a direct conversation
  members: Member[] | undefined;
  marks: Map<ID, Marks>;
  /** Ascending; reaches the head when `tail`. */
  messages: Message[];
  loaded: boolean;
  /** A page before or after what is loaded is on its way. */
  loading: boolean;
  /** While the newest page is on its way, what comes meanwhile. */
  coming: Message[] | undefined;
  tail: boolean;
  older: boolean; // there is more before the first
  typing: Map<ID, number>; // until when
  left: boolean;
  uploads: Upload[];
  /** What was unread when it was opened, for the line between old and new. */
  newFrom: number;
  /** Up to which seq `info.unread` has counted. */
  counted: number;
}

export interface Upload {
  id: ID;
  name: string;
  preview: string; // a blob: URL, of an image
  part: number;
  failed: string;
  /** Tries once more after a failure: the file is kept for that, as long as the page is open. */
  again: () => void;
  end: () => void;
}

export class Session {
  readonly client: Client;
  readonly rest: Rest;
  readonly log = new Log();
  readonly chats = new Map<ID, Chat>();
  readonly presence = new Map<ID, Presence>();
  open: ID | undefined;
  /** The message to bring into view, of the open conversation. */
  target: number | undefined;
  state: State = { is: "stopped" };
  notice = "";
  hasSearch = true;
  /** Is told how far a conversation has been read. */
  onRead: (id: ID, seq: number) => void = () => {};

  private readonly listeners = new Set<() => void>();
  private told = false;
  private readonly fetching = new Set<ID>();
  private wanted: ID | undefined;

  constructor(readonly me: ID, base: string, token: (fresh: boolean) => Promise<string>, device: string) {
    this.rest = new Rest({ base, token });
    this.client = new Client({
      rest: this.rest,
      device,
      store: webStore(localStorage, `switchboard.outbox.${me}.`),
      name: { name: "switchboard-web", version: "0.1.0" },
      prepare: () => this.list(),
      handlers: {
        message: (m) => this.message(m),
        jump: (id) => void this.jumped(id),
        state: (s) => {
          this.state = s;
          this.tell();
        },
        synced: () => void this.synced(),
        status: (s) => this.status(s),
        typing: (t) => this.typed(t),
        presence: (p) => {
          this.presence.set(p.user_id, p);
          this.tell();
        },
        outbox: () => this.tell(),
        seen: (direction, text) => {
          this.log.see(direction, text, Date.now());
          this.tell();
        },
      },
    });
  }

  /** Calls after each change, once for all that happened before the next picture. */
  listen(call: () => void): () => void {
    this.listeners.add(call);
    return () => this.listeners.delete(call);
  }

  tell(): void {
    if (this.told) return;
    this.told = true;
    const call = () => {
      this.told = false;
      for (const listener of this.listeners) listener();
    };
    if (document.hidden) setTimeout(call, 100); // nobody draws, and the title still counts
    else requestAnimationFrame(call);
  }

  /** The conversations, the newest activity first. */
  sorted(): Chat[] {
    return [...this.chats.values()].filter((c) => !c.left || c.info.id === this.open)
      .sort((a, b) => b.info.updated_at - a.info.updated_at || b.info.head_seq - a.info.head_seq);
  }

  /** Who is there, as far as is known: nothing is while nobody tells. */
  there(user: ID | undefined): Presence | undefined {
    return user && this.state.is === "live" ? this.presence.get(user) : undefined;
  }

  private async list(): Promise<void> {
    for (let cursor = ""; ; ) {
      const page = await this.rest.conversations(cursor, 200);
      for (const info of page.conversations) this.learn(info);
      if (!(cursor = page.cursor ?? "")) break;
    }
    this.tell();
  }

  /** Takes a conversation as the server describes it. A new one is had up to its head. */
  private learn(info: Conversation): Chat {
    let chat = this.chats.get(info.id);
    if (chat) {
      this.renewInfo(chat, info);
      // What it is ahead by is on its way, and has to go through message() like all the rest.
      this.client.expect(info.id, info.head_seq);
    } else {
      chat = {
        info, peer: undefined, members: undefined, marks: new Map(), messages: [], loaded: false, loading: false, coming: undefined, tail: true,
        older: false, typing: new Map(), left: false, uploads: [], newFrom: 0, counted: info.head_seq,
      };
      this.chats.set(info.id, chat);
      this.client.begin(info.id, info.head_seq);
      if (this.wanted === info.id) this.openWhenKnown(info.id);
    }
    const sender = info.last_message?.sender_id;
    if (info.type === "direct") chat.peer ??= this.keptPeer(info.id) ?? (sender && sender !== this.me ? this.keepPeer(info.id, sender) : undefined);
    return chat;
  }

  private renewInfo(chat: Chat, info: Conversation): void {
    const old = chat.info;
    chat.left = false;
    chat.info = {
      ...info, head_seq: Math.max(old.head_seq, info.head_seq), updated_at: Math.max(old.updated_at, info.updated_at),
      last_message: newer(old.last_message, info.last_message)!,
    };
    if (old.read_seq > info.read_seq) Object.assign(chat.info, { read_seq: old.read_seq, unread: old.unread }); // ours is on its way there
    else chat.counted = info.head_seq;
  }

  /** Asks for one conversation, such as one that is new. */
  private async fetch(id: ID): Promise<void> {
    if (this.fetching.has(id)) return;
    this.fetching.add(id);
    try {
      // What was applied while an answer was on its way is not in what it counts.
      let info = await this.rest.conversation(id);
      for (let tries = 1; tries < FETCH_MOST && info.head_seq < this.client.at(id); tries++) info = await this.rest.conversation(id);
      const chat = this.learn(info);
      if (!chat.peer || chat.members) await this.who(id);
    } catch (e) {
      if (!(e instanceof StatusError && e.status === 404)) this.complain(e);
    } finally {
      this.fetching.delete(id);
    }
    this.tell();
  }

  private async jumped(id: ID): Promise<void> {
    const chat = this.chats.get(id);
    // Pages that are on their way are from before the jump: none of them fits any more.
    if (chat) Object.assign(chat, { messages: [], loaded: false, coming: undefined });
    await this.fetch(id);
    if (this.open === id) await this.newest(id).catch((e: unknown) => this.complain(e));
  }

  private async synced(): Promise<void> {
    try {
      for (const chat of this.sorted()) {
        if (chat.info.type === "direct" && !chat.peer) await this.who(chat.info.id);
        if (chat.info.head_seq > 0 && chat.info.unread > 0) this.client.markDelivered(chat.info.id, this.client.at(chat.info.id));
      }
      if (this.open) await this.who(this.open);
      await this.lookWhoIsThere();
    } catch (e) {
      this.complain(e);
    }
  }

  private async lookWhoIsThere(): Promise<void> {
    const users = new Set<ID>();
    for (const chat of this.sorted()) if (chat.peer) users.add(chat.peer);
    for (const m of this.chats.get(this.open ?? "")?.members ?? []) users.add(m.user_id);
    if (users.size === 0) return;
    for (const p of await this.rest.presence([...users].slice(0, 200))) this.presence.set(p.user_id, p);
    this.tell();
  }

  /** Learns who is in, and how far each has read: the truth that statuses only hint at. */
  async who(id: ID): Promise<void> {
    const chat = this.chats.get(id);
    if (!chat) return;
    const { members } = await this.rest.members(id);
    chat.members = members;
    chat.info.members_count = members.length;
    for (const m of members) mark(chat, m.user_id, m.read_seq, m.delivered_seq);
    const me = members.find((m) => m.user_id === this.me);
    if (me) chat.info.role = me.role;
    const other = members.find((m) => m.user_id !== this.me);
    if (chat.info.type === "direct" && other) chat.peer = this.keepPeer(id, other.user_id);
    this.tell();
  }

  // Who the other one of a direct conversation is never changes.
  private keptPeer(conversation: ID): ID | undefined {
    return sessionStorage.getItem(this.key("peer", conversation)) ?? undefined;
  }

  private keepPeer(conversation: ID, peer: ID): ID {
    sessionStorage.setItem(this.key("peer", conversation), peer);
    return peer;
  }

  /** Where the tab keeps something of a conversation: who signs in next in it must not find it as their own. */
  private key(what: string, conversation: ID): string {
    return `switchboard.${what}.${this.me}.${conversation}`;
  }

  // What comes

  private message(m: Message): void {
    const id = m.conversation_id;
    const chat = this.chats.get(id);
    if (!chat) {
      void this.fetch(id);
      return;
    }
    const into = chat.coming ?? (chat.tail && chat.loaded ? chat.messages : undefined);
    if (into && (into.at(-1)?.seq ?? 0) < m.seq) into.push(m);
    chat.info.head_seq = Math.max(chat.info.head_seq, m.seq);
    if (m.type === "event") this.changed(chat, m);
    else this.arrived(chat, m);
    if (m.sender_id !== this.me) this.client.markDelivered(id, m.seq);
    this.tell();
  }

  private arrived(chat: Chat, m: Message): void {
    chat.info.last_message = newer(m, chat.info.last_message)!;
    chat.info.updated_at = Math.max(chat.info.updated_at, m.timestamp);
    chat.typing.delete(m.sender_id);
    mark(chat, m.sender_id, m.seq, m.seq);
    if (m.sender_id === this.me) this.read(chat, m.seq);
    else if (m.seq > chat.counted && m.seq > chat.info.read_seq) chat.info.unread++;
    chat.counted = Math.max(chat.counted, m.seq);
  }

  /** Notes that all that is here has been read, up to that seq. */
  private read(chat: Chat, seq: number): void {
    if (seq <= chat.info.read_seq) return;
    Object.assign(chat.info, { read_seq: seq, unread: 0 });
    chat.counted = seq;
    this.onRead(chat.info.id, seq);
  }

  private changed(chat: Chat, m: Message): void {
    const e = m.event!;
    if (e.change === "renamed") chat.info.name = e.name ?? "";
    const mine = e.user_id === this.me;
    if (e.change === "member_removed" && mine) chat.left = true;
    else if (e.change === "member_added" && mine) chat.left = false;
    if (/^(member_|role)/.test(e.change) && !chat.left) void this.who(chat.info.id).catch(() => {});
  }

  private status(s: MessageStatus): void {
    const chat = this.chats.get(s.conversation_id);
    if (!chat) return;
    mark(chat, s.user_id, s.status === "read" ? s.seq : 0, s.seq);
    if (s.user_id === this.me && s.status === "read" && s.seq > chat.info.read_seq) {
      if (s.seq >= chat.info.head_seq) {
        this.read(chat, s.seq);
      } else {
        chat.info.read_seq = s.seq;
        void this.fetch(s.conversation_id);
      }
    }
    this.tell();
  }

  private typed(t: Typing): void {
    const chat = this.chats.get(t.conversation_id);
    if (!chat) return;
    chat.typing.delete(t.user_id);
    if (t.is_typing) {
      const until = Date.now() + TYPING_FOR;
      chat.typing.set(t.user_id, until);
      setTimeout(() => {
        if (chat.typing.get(t.user_id) === until) chat.typing.delete(t.user_id);
        this.tell();
      }, TYPING_FOR);
    }
    this.tell();
  }

  // What is shown

  /** Opens a conversation that may be known only later, as one that the page was opened for. */
  openWhenKnown(id: ID): void {
    const known = this.chats.has(id);
    this.wanted = known ? undefined : id;
    if (known) void this.show(id);
  }

  /** Opens a conversation, at a message if one is named. */
  async show(id: ID | undefined, seq?: number): Promise<void> {
    this.open = id;
    this.target = seq;
    const chat = this.chats.get(id ?? "");
    this.tell();
    if (!id || !chat) return;
    chat.newFrom = chat.info.unread > 0 ? chat.info.read_seq + 1 : 0;
    try {
      if (seq && !chat.messages.some((m) => m.seq === seq)) await this.around(id, seq);
      else if (!chat.loaded || (!seq && !chat.tail)) await this.newest(id);
      await this.who(id);
      await this.lookWhoIsThere();
    } catch (e) {
      this.complain(e);
    }
  }

  async newest(id: ID): Promise<void> {
    const chat = this.chats.get(id);
    if (!chat || chat.coming) return;
    const coming: Message[] = [];
    chat.coming = coming;
    try {
      const page = await this.rest.history(id, `limit=${PAGE}`);
      if (chat.coming !== coming) return;
      const last = page.messages.at(-1)?.seq ?? 0;
      chat.messages = [...page.messages, ...coming.filter((m) => m.seq > last)];
      Object.assign(chat, { older: page.has_more, loaded: true, tail: true });
    } finally {
      if (chat.coming === coming) chat.coming = undefined;
      this.tell();
    }
  }

  private async around(id: ID, seq: number): Promise<void> {
    const chat = this.chats.get(id)!;
    chat.coming = undefined; // The newest are not what is wanted any more.
    const page = await this.rest.history(id, `around_seq=${seq}&limit=${PAGE}`);
    chat.messages = page.messages;
    chat.older = page.has_more;
    chat.loaded = true;
    chat.tail = page.last_seq >= this.client.at(id);
    this.tell();
  }

  /** Loads the page before what is loaded; false = there is none, or one is on its way. */
  async before(id: ID): Promise<boolean> {
    const chat = this.chats.get(id);
    const first = chat?.messages[0];
    if (!chat || !first || !chat.older || chat.loading || chat.coming) return false;
    chat.loading = true;
    try {
      const page = await this.rest.history(id, `before_seq=${first.seq}&limit=${PAGE}`);
      if (chat.messages[0]?.seq !== first.seq) return false; // Another page was loaded meanwhile.
      chat.messages = [...page.messages, ...chat.messages];
      chat.older = page.has_more;
      return true;
    } catch (e) {
      this.complain(e);
      return false;
    } finally {
      chat.loading = false;
      this.tell();
    }
  }

  /** Loads the page after what is loaded, where that does not reach the head. */
  async after(id: ID): Promise<void> {
    const chat = this.chats.get(id);
    const last = chat?.messages.at(-1);
    if (!chat || !last || chat.tail || chat.loading || chat.coming) return;
    chat.loading = true;
    try {
      const page = await this.rest.history(id, `after_seq=${last.seq}&limit=${PAGE}`);
      if (chat.messages.at(-1)?.seq !== last.seq) return;
      chat.messages = [...chat.messages, ...page.messages];
      chat.tail = !page.has_more && (chat.messages.at(-1)?.seq ?? 0) >= this.client.at(id);
    } catch (e) {
      this.complain(e);
    } finally {
      chat.loading = false;
      this.tell();
    }
  }

  /** Notes that the newest message is in view. */
  seen(id: ID): void {
    const chat = this.chats.get(id);
    const last = chat?.messages.at(-1);
    if (!chat || !last || !chat.tail || chat.left || last.seq <= chat.info.read_seq) return;
    this.read(chat, last.seq);
    this.client.markRead(id, last.seq);
    this.tell();
  }

  /** Asks again for a message whose signed URL is good no more. */
  async renew(m: Message): Promise<void> {
    const page = await this.rest.history(m.conversation_id, `after_seq=${m.seq - 1}&limit=1`);
    const chat = this.chats.get(m.conversation_id);
    const fresh = page.messages.find((x) => x.seq === m.seq);
    if (!chat || !fresh) return;
    chat.messages = chat.messages.map((x) => (x.seq === m.seq ? fresh : x));
    this.tell();
  }

  // What the user does

  unsent(id: ID): Parcel[] {
    return this.client.unsent().filter((p) => p.conversation_id === id);
  }

  /** What was typed and not sent: it stays with its conversation for as long as the tab lives. */
  draft(id: ID): string {
    return sessionStorage.getItem(this.key("draft", id)) ?? "";
  }

  keepDraft(id: ID, text: string): void {
    sessionStorage.setItem(this.key("draft", id), text);
  }

  /** Makes a conversation known that was just made. */
  begin(info: Conversation): ID {
    return this.learn(info).info.id;
  }

  async attach(id: ID, file: File, caption: string): Promise<void> {
    const chat = this.chats.get(id);
    if (!chat) return;
    const ending = new AbortController();
    const image = file.type.startsWith("image/");
    const upload: Upload = {
      id: uuid7(Date.now()), name: file.name, preview: image ? URL.createObjectURL(file) : "", part: 0, failed: "",
      again: () => upload.failed && void this.upload(id, upload, file, caption, ending.signal),
      end: () => {
        ending.abort();
        chat.uploads = chat.uploads.filter((u) => u !== upload);
        if (upload.preview) URL.revokeObjectURL(upload.preview);
        this.tell();
      },
    };
    chat.uploads = [...chat.uploads, upload];
    await this.upload(id, upload, file, caption, ending.signal);
  }

  private async upload(id: ID, upload: Upload, file: File, caption: string, signal: AbortSignal): Promise<void> {
    Object.assign(upload, { part: 0, failed: "" });
    this.tell();
    const progress = (part: number) => {
      upload.part = part;
      this.tell();
    };
    try {
      const done = await this.rest.upload(file, file.name, progress, signal);
      const type = done.type.startsWith("image/") ? "image" : "file";
      const content = caption || (type === "file" ? file.name : "");
      // The upload's id makes the message's: a second try would be the same message.
      this.client.send({ conversation_id: id, content, type, media_url: done.media_url, client_message_id: upload.id });
      upload.end();
    } catch (e) {
      if (signal.aborted) return;
      upload.failed = e instanceof StatusError && e.status === 404 ? say("noMedia") : reason(e);
      this.tell();
    }
  }

  complain(e: unknown): void {
    this.notice = say("failedCall", reason(e));
    this.tell();
  }
}

export function reason(e: unknown): string {
  return e instanceof Error ? e.message : String(e);
}

function newer(a: Message | undefined, b: Message | undefined): Message | undefined {
  return !a || (b && b.seq > a.seq) ? b : a;
}

function mark(chat: Chat, user: ID, read: number, delivered: number): void {
  const old = chat.marks.get(user);
  chat.marks.set(user, {
    read: Math.max(old?.read ?? 0, read),
    delivered: Math.max(old?.delivered ?? 0, delivered, read),
  });
}

/** How far a message of one's own has come: by how many of the others it was received and read. */
export function progressOf(chat: Chat, me: ID, seq: number): { others: number; delivered: number; read: number } {
  const others = chat.members?.filter((m) => m.user_id !== me).map((m) => m.user_id) ?? (chat.peer ? [chat.peer] : []);
  const count = (of: keyof Marks) => others.filter((u) => (chat.marks.get(u)?.[of] ?? 0) >= seq).length;
  return { others: others.length, delivered: count("delivered"), read: count("read") };
}
