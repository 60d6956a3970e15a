// One conversation: its messages, and what is written to it.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Message, Parcel } from "../sdk/src/index.ts";
import { MembersDialog } from "./dialogs.tsx";
import { Avatar, Dialog, presenceText } from "./parts.tsx";
import { nameOf } from "./people.ts";
import { progressOf, type Chat, type Session, type Upload } from "./session.ts";
import { Line as Connection, titleOf, typingText } from "./sidebar.tsx";
import { clock, day, language, members, role, say } from "./words.ts";

/** How near to an end of the list counts as there, in pixels. */
const NEAR = 80;

interface Props {
  session: Session;
  chat: Chat;
  onInspect: (m: Message) => void;
  onSignOut: () => void;
}

export function ConversationView(props: Props) {
  const { session, chat } = props;
  const [naming, setNaming] = useState(false);
  const [dragging, setDragging] = useState(false);
  const typing = [...chat.typing.keys()];
  const sub = typing.length ? typingText(typing)
    : chat.info.type === "group" ? members(chat.info.members_count) : presenceText(session.there(chat.peer));
  const attach = (files: Iterable<File>) => {
    for (const f of files) void session.attach(chat.info.id, f, "");
  };
  const drop = (e: DragEvent) => {
    e.preventDefault();
    setDragging(false);
    attach(e.dataTransfer?.files ?? []);
  };
  const over = (e: DragEvent) => {
    if (!e.dataTransfer?.types.includes("Files")) return;
    e.preventDefault();
    setDragging(true);
  };
  return (
    <main class="conversation" onDrop={drop} onDragOver={over} onDragLeave={(e) => e.target === e.currentTarget && setDragging(false)}>
      <header>
        <button class="back" aria-label={say("back")} onClick={() => void session.show(undefined)}>‹</button>
        <Avatar id={chat.peer ?? chat.info.id} name={titleOf(chat)} online={session.there(chat.peer)?.status === "online"} />
        <div class="who">
          <h1>{titleOf(chat)}</h1>
          <p class={typing.length ? "typing" : ""} aria-live="polite">{sub}</p>
        </div>
        <button aria-label={say("members")} title={say("members")} onClick={() => setNaming(true)}>
          <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M9 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zm0 2c-4 0-7 2-7 4.5V20h14v-1.500C16 16 13 14 9 14zm8-2a3.500 3.500 0 1 0 0-7m1 9c2.500.5 4 2 4 4.500V20h-3" /></svg>
        </button>
      </header>
      {session.state.is !== "live" && <Connection session={session} onSignOut={props.onSignOut} />}
      <Messages {...props} />
      {chat.left ? <p class="left" role="status">{say("left")}</p> : <Compose session={session} chat={chat} onFiles={attach} />}
      {dragging && <div class="drop" aria-hidden="true">{say("drop")}</div>}
      {naming && <MembersDialog session={session} chat={chat} onClose={() => setNaming(false)} />}
    </main>
  );
}

function Messages({ session, chat, onInspect }: Omit<Props, "onSignOut">) {
  const list = useRef<HTMLDivElement>(null);
  const log = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const size = useRef("");
  const before = useRef({ first: 0, height: 0, tail: true });
  const [shown, show] = useState<Message>();
  const id = chat.info.id;
  const first = chat.messages[0]?.seq ?? 0;
  const last = chat.messages.at(-1)?.seq ?? 0;
  const unsent = session.unsent(id);
  const look = () => {
    const l = list.current;
    if (!l) return;
    if (l.scrollTop < NEAR) void session.before(id);
    if (!atEnd.current || before.current.tail !== chat.tail) return; // Of another page that has come meanwhile the end is not known yet.
    if (!chat.tail) void session.after(id);
    if (document.visibilityState === "visible" && document.hasFocus()) session.seen(id);
  };
  // Only who scrolls leaves the end. What grew or shrank, as a picture does that has loaded, moved it away by itself.
  const scrolled = () => {
    const l = list.current;
    if (!l) return;
    const near = isNear(l);
    if (near || sizeOf(l) === size.current) atEnd.current = near;
    size.current = sizeOf(l);
    look();
  };
  // What comes above must not move what is being read; what comes below is followed from the end alone.
  useLayoutEffect(() => {
    const l = list.current;
    if (!l) return;
    const was = before.current;
    // Below an older page the next one comes to be read, not to be followed to its end; the newest may take its place.
    if (!chat.tail || (!was.tail && first === was.first)) atEnd.current = isNear(l);
    else if (!was.tail) atEnd.current = true;
    if (session.target) {
      const row = l.querySelector<HTMLElement>(`[data-seq="${session.target}"]`);
      if (row) {
        row.scrollIntoView({ block: "center" });
        row.focus();
        session.target = undefined;
        atEnd.current = false;
      }
    } else if (first && was.first && first < was.first) {
      l.scrollTop += l.scrollHeight - was.height;
    } else if (atEnd.current && chat.tail) {
      l.scrollTop = l.scrollHeight;
    }
    before.current = { first, height: l.scrollHeight, tail: chat.tail };
  });
  useEffect(() => {
    const l = list.current;
    if (!l || !log.current) return undefined;
    const grown = new ResizeObserver(() => {
      if (atEnd.current && chat.tail) l.scrollTop = l.scrollHeight;
      size.current = sizeOf(l);
    });
    grown.observe(l); // by the window, or by lines that are being written
    grown.observe(log.current);
    return () => grown.disconnect();
  }, [chat]);
  useEffect(look, [last, chat.loaded, session.state.is]);
  useEffect(() => {
    addEventListener("focus", look);
    document.addEventListener("visibilitychange", look);
    return () => {
      removeEventListener("focus", look);
      document.removeEventListener("visibilitychange", look);
    };
  });
  return (
    <div class="scroll" ref={list} onScroll={scrolled}>
      {chat.loaded && (chat.older
        ? <button class="plain older" onClick={() => void session.before(id)}>{say("older")}</button>
        : <p class="beginning">{say("beginning")}</p>)}
      <div ref={log} role="log" aria-live="polite" aria-relevant="additions" aria-label={titleOf(chat)} tabIndex={0}>
      <ol class="messages">
        {chat.messages.map((m, i) => (
          <Line key={m.seq} m={m} previous={chat.messages[i - 1]} session={session} chat={chat} onInspect={onInspect} onImage={show} />
        ))}
        {chat.tail && unsent.map((p) => <Waiting key={p.client_message_id} parcel={p} session={session} />)}
        {chat.uploads.map((u) => <Uploading key={u.id} upload={u} />)}
      </ol>
      </div>
      {!chat.tail && <button class="newest" onClick={() => {
        chat.loaded = false;
        void session.newest(id);
      }}>{say("newest")} ↓</button>}
      {shown && (
        <Dialog title={shown.content || say("image")} onClose={() => show(undefined)}>
          <img class="full" src={shown.media_url} alt={shown.content || say("image")} />
        </Dialog>
      )}
    </div>
  );
}

/** Whether a list stands at its end, or nearly. */
function isNear(list: HTMLElement): boolean {
  return list.scrollHeight - list.scrollTop - list.clientHeight < NEAR;
}

function sizeOf(list: HTMLElement): string {
  return `${list.scrollHeight} ${list.clientHeight}`;
}

interface LineProps extends Omit<Props, "onSignOut"> {
  m: Message;
  previous: Message | undefined;
  onImage: (m: Message) => void;
}

/** One message and what stands above it. It is drawn again only when something of it has changed: lists are long. */
function Line(props: LineProps) {
  const { m, previous, session, chat } = props;
  const own = m.sender_id === session.me;
  const progress = own && m.type !== "event" ? progressOf(chat, session.me, m.seq) : undefined;
  const isNew = m.seq === chat.newFrom;
  return useMemo(() => {
    const newDay = m.timestamp > 0 && (!previous || (previous.timestamp > 0 && day(previous.timestamp) !== day(m.timestamp)));
    const follows = previous?.sender_id === m.sender_id && previous.type !== "event" && !newDay;
    return (
      <>
        {newDay && <li class="day" key="day">{day(m.timestamp)}</li>}
        {isNew && <li class="new" key="new">{say("newMessages")}</li>}
        {m.type === "event"
          ? <li class="event" data-seq={m.seq} tabIndex={-1}>{eventText(m)}</li>
          : (
            <li class={`message ${own ? "own" : ""} ${follows ? "follows" : ""}`} data-seq={m.seq} tabIndex={-1}>
              {!own && !follows && chat.info.type === "group" && <strong class="sender">{nameOf(m.sender_id)}</strong>}
              {(own || follows || chat.info.type !== "group") && <span class="hidden">{say("from", own ? say("you") : nameOf(m.sender_id))} </span>}
              <Body m={m} session={session} onImage={props.onImage} />
              <span class="meta">
                <time>{clock(m.timestamp)}</time>
                {progress && <Ticks {...progress} />}
              </span>
              <button class="plain inspect" aria-label={say("inspect")} title={say("inspect")} onClick={() => props.onInspect(m)}>⋯</button>
            </li>
          )}
      </>
    );
  }, [m, previous, isNew, progress?.others, progress?.delivered, progress?.read, language()]);
}

function eventText(m: Message): string {
  const e = m.event!;
  const who = e.user_id ? nameOf(e.user_id) : "";
  switch (e.change) {
    case "created": return say("changeCreated");
    case "member_added": return say("changeAdded", who);
    case "member_removed": return say("changeRemoved", who);
    case "role_changed": return say("changeRole", who, role(e.role));
    case "renamed": return say("changeRenamed", e.name ?? "");
    default: return "";
  }
}

function Body({ m, session, onImage }: { m: Message; session: Session; onImage: (m: Message) => void }) {
  const [tries, setTries] = useState(0);
  // The URL may have ended, or there is no small one: the message is asked for again.
  const fail = () => {
    setTries(tries + 1);
    if (tries === 0) void session.renew(m).catch(() => {});
  };
  const small = tries === 0 ? m.media_url?.replace(/(\/media\/[^/?]+)(?=\?|$)/, "$1/thumbnail") : m.media_url;
  return (
    <>
      {m.type === "image" && m.media_url && (tries > 1
        ? <span class="gone">{say("imageGone")}</span>
        : (
          <button class="picture" aria-label={`${say("openImage")}${m.content && ": " + m.content}`} onClick={() => onImage(m)}>
            <img src={small} alt={m.content || say("image")} loading="lazy" onError={fail} />
          </button>
        ))}
      {m.type === "file" && m.media_url
        ? <a class="file" href={m.media_url} download rel="noopener">{m.content || say("file")}</a>
        : m.content && <span class="text">{linked(m.content)}</span>}
    </>
  );
}

/** Links are links; all else is text. */
function linked(text: string) {
  return text.split(/(https?:\/\/[^\s<>"]*[^\s<>".,;:!?)])/).map((part, i) =>
    i % 2 ? <a key={i} href={part} target="_blank" rel="noopener noreferrer nofollow">{part}</a> : part);
}

function Ticks(p: ReturnType<typeof progressOf>) {
  const all = p.others > 0;
  const state = all && p.read === p.others ? "read" : all && p.delivered === p.others ? "delivered" : "sent";
  const text = p.others > 1 && p.read > 0 && p.read < p.others ? say("readBy", p.read, p.others) : say(state);
  return (
    <span class={`ticks ${state}`} title={text} data-ticks={state}>
      <svg viewBox="0 0 22 12" aria-hidden="true">
        <path d="M1 6.500 5 10.500 13 1.500" />
        {state !== "sent" && <path d="M9 9 10.500 10.500 19 1.500" />}
      </svg>
      <span class="hidden">{text}</span>
    </span>
  );
}

function Waiting({ parcel, session }: { parcel: Parcel; session: Session }) {
  const id = parcel.client_message_id;
  return (
    <li class={`message own waiting ${parcel.failed ? "failed" : ""}`} data-waiting>
      {parcel.type === "image" && <span class="gone">{say("image")}</span>}
      {parcel.content && <span class="text">{parcel.content}</span>}
      <span class="meta">
        {parcel.failed ? say("failed", parcel.failed.message || parcel.failed.code) : <>◷ <span>{say("waiting")}</span></>}
      </span>
      {parcel.failed && (
        <span class="row">
          <button onClick={() => session.client.retry(id)}>{say("retry")}</button>
          <button onClick={() => session.client.discard(id)}>{say("discard")}</button>
        </span>
      )}
    </li>
  );
}

function Uploading({ upload }: { upload: Upload }) {
  const percent = Math.round(upload.part * 100);
  return (
    <li class={`message own waiting ${upload.failed ? "failed" : ""}`}>
      {upload.preview && <img class="preview" src={upload.preview} alt="" />}
      <span class="text">{upload.name}</span>
      {upload.failed
        ? <span class="meta" role="alert">{say("uploadFailed", upload.failed)}</span>
        : <><progress max={100} value={percent} aria-label={upload.name} /><span class="meta">{say("uploading", percent)}</span></>}
      <span class="row">
        {upload.failed && <button onClick={upload.again}>{say("retry")}</button>}
        <button onClick={upload.end}>{upload.failed ? say("discard") : say("cancel")}</button>
      </span>
    </li>
  );
}

function Compose({ session, chat, onFiles }: { session: Session; chat: Chat; onFiles: (f: Iterable<File>) => void }) {
  const id = chat.info.id;
  const [text, setText] = useState(() => session.draft(id));
  const box = useRef<HTMLTextAreaElement>(null);
  const write = (value: string) => {
    setText(value);
    session.keepDraft(id, value);
  };
  useLayoutEffect(() => {
    const b = box.current;
    if (!b) return;
    b.style.height = "auto";
    b.style.height = `${b.scrollHeight}px`;
  }, [text]);
  useEffect(() => {
    if (!matchMedia("(max-width: 44rem)").matches && !session.target) box.current?.focus();
  }, []);
  const send = () => {
    if (!text.trim()) return;
    try {
      session.client.send({ conversation_id: id, content: text });
    } catch (e) { // the browser's store is full: what was typed stays
      session.complain(e);
      return;
    }
    write("");
    if (!chat.tail) {
      chat.loaded = false;
      void session.newest(id);
    }
    box.current?.focus();
  };
  const key = (e: KeyboardEvent) => {
    if (e.key !== "Enter" || e.shiftKey || e.isComposing) return;
    e.preventDefault();
    send();
  };
  const paste = (e: ClipboardEvent) => {
    const files = [...(e.clipboardData?.files ?? [])];
    if (!files.length) return;
    e.preventDefault();
    onFiles(files);
  };
  return (
    <form class="compose" onSubmit={(e) => {
      e.preventDefault();
      send();
    }}>
      <label class="attach" title={say("attach")}>
        <input type="file" class="hidden" aria-label={say("attach")} onChange={(e) => {
          onFiles(e.currentTarget.files ?? []);
          e.currentTarget.value = "";
        }} />
        <svg viewBox="0 0 24 24" aria-hidden="true"><path d="m20 11-8.500 8.500a5.500 5.500 0 0 1-8-8L12.500 3a3.700 3.700 0 0 1 5.200 5.200L9.500 16.500a1.800 1.800 0 0 1-2.600-2.600L14.500 6.500" /></svg>
      </label>
      <textarea id="compose" ref={box} rows={1} value={text} placeholder={say("write")} aria-label={say("write")} maxLength={8192}
        onInput={(e) => {
          write(e.currentTarget.value);
          session.client.typing(id, e.currentTarget.value !== "");
        }}
        onKeyDown={key} onPaste={paste} />
      <button class="primary" aria-label={say("send")} title={say("send")} disabled={!text.trim()}>
        <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 12 3 4l18 8-18 8 1-8zm0 0h8" /></svg>
      </button>
    </form>
  );
}
