// The conversations, the search, and how the connection is.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { StatusError, type Highlight, type ID, type SearchAnswer } from "../sdk/src/index.ts";
import type { Look } from "./app.tsx";
import { NewConversation } from "./dialogs.tsx";
import type { Identity } from "./identity.ts";
import { Avatar } from "./parts.tsx";
import { nameOf } from "./people.ts";
import { isOn, possible, turnOff, turnOn } from "./push.ts";
import type { Chat, Session } from "./session.ts";
import { say, unread, when } from "./words.ts";

/** How long the search waits for the next key, in ms. */
const PATIENCE = 250;
/** How much of a message is shown before what was found, in characters. */
const AROUND = 40;

interface Props extends Look {
  session: Session;
  identity: Identity;
  inspecting: boolean;
  onInspect: () => void;
  onSignOut: () => void;
}

export function titleOf(chat: Chat): string {
  if (chat.info.type === "direct") return chat.peer ? nameOf(chat.peer) : "…";
  return chat.info.name || chat.info.id.slice(0, 8);
}

export function Sidebar(props: Props) {
  const { session } = props;
  const [beginning, setBeginning] = useState(false);
  const [query, setQuery] = useState("");
  const words = query.trim().toLowerCase();
  const chats = session.sorted().filter((c) => !words || titleOf(c).toLowerCase().includes(words));
  return (
    <nav class="sidebar" aria-label={say("conversations")}>
      <header>
        <Avatar id={session.me} name={props.identity.name || nameOf(session.me)} online={session.state.is === "live"} />
        <strong>{props.identity.name || nameOf(session.me)}</strong>
        <button aria-label={say("newConversation")} title={say("newConversation")} onClick={() => setBeginning(true)}>＋</button>
        <Menu {...props} />
      </header>
      <Line session={session} onSignOut={props.onSignOut} />
      <div class="searchbox" role="search">
        <input id="search" type="search" value={query} placeholder={say("search")} aria-label={say("searchHint")} title="Ctrl+K"
          onInput={(e) => setQuery(e.currentTarget.value)} />
      </div>
      <ul class="chats" onKeyDown={roam}>
        {chats.map((c) => <Row key={c.info.id} chat={c} session={session} />)}
      </ul>
      {chats.length === 0 && !words && session.state.is === "live" && <p class="hint">{say("noConversations")}</p>}
      {words && <Found session={session} query={query.trim()} />}
      {beginning && <NewConversation session={session} onClose={() => setBeginning(false)} />}
    </nav>
  );
}

/** Up and down go through a list of buttons. */
export function roam(e: KeyboardEvent): void {
  const step = e.key === "ArrowDown" ? 1 : e.key === "ArrowUp" ? -1 : 0;
  if (!step) return;
  const buttons = [...(e.currentTarget as HTMLElement).querySelectorAll("button")];
  const next = buttons[buttons.indexOf(document.activeElement as HTMLButtonElement) + step];
  if (!next) return;
  e.preventDefault();
  next.focus();
}

function Row({ chat, session }: { chat: Chat; session: Session }) {
  const { info } = chat;
  const online = session.there(chat.peer)?.status === "online";
  const open = session.open === info.id;
  const last = info.last_message;
  const typing = [...chat.typing.keys()];
  return (
    <li>
      <button class="chat" aria-current={open ? "true" : undefined} onClick={() => void session.show(info.id)}>
        <Avatar id={chat.peer ?? info.id} name={titleOf(chat)} online={online} />
        <span class="chat-title">{titleOf(chat)}{online && <span class="hidden">, {say("online")}</span>}</span>
        <time>{last && when(last.timestamp)}</time>
        <span class="chat-last">{typing.length ? typingText(typing) : lastText(chat, session.me)}</span>
        {info.unread > 0 && <span class="badge"><span aria-hidden="true">{info.unread}</span><span class="hidden">{unread(info.unread)}</span></span>}
      </button>
    </li>
  );
}

export function typingText(who: ID[]): string {
  return who.length === 1 ? say("typingOne", nameOf(who[0]!)) : say("typingMany");
}

function lastText(chat: Chat, me: ID): string {
  const m = chat.info.last_message;
  if (!m) return "";
  const what = m.content || say(m.type === "image" ? "image" : "file");
  const who = m.sender_id === me ? say("you") : chat.info.type === "group" ? nameOf(m.sender_id) : "";
  return who ? `${say("from", who)} ${what}` : what;
}

/** How the connection is, said honestly. */
export function Line({ session, onSignOut }: { session: Session; onSignOut: () => void }) {
  const [, tick] = useState(0);
  const s = session.state;
  useEffect(() => {
    if (s.is !== "waiting") return;
    const timer = setInterval(() => tick((n) => n + 1), 500);
    return () => clearInterval(timer);
  }, [s.is]);
  if (s.is === "refused") {
    return (
      <p class="line bad" role="alert">{say("refused", s.why, s.code)} <button onClick={onSignOut}>{say("again")}</button></p>
    );
  }
  // The seconds are for the eye: a screen reader that was told each of them would say nothing else.
  const seconds = s.is === "waiting" ? Math.max(0, Math.ceil((s.until - Date.now()) / 1000)) : 0;
  const text = s.is === "waiting" ? say("waitingToConnect", seconds) : s.is === "stopped" ? "" : say(s.is);
  return (
    <p class={`line ${s.is}`} role="status" aria-live={s.is === "waiting" ? "off" : "polite"} data-state={s.is}>
      <span class="dot" aria-hidden="true" />
      {text}{s.is === "live" && <span class="server"> · {s.server}</span>}
      {s.is === "waiting" && <button onClick={() => session.client.wake()}>{say("tryNow")}</button>}
    </p>
  );
}

function Menu(props: Props) {
  const element = useRef<HTMLDetailsElement>(null);
  const close = (e: KeyboardEvent) => {
    if (e.key !== "Escape" || !element.current?.open) return;
    e.stopPropagation();
    element.current.open = false;
    element.current.querySelector("summary")?.focus();
  };
  const act = (what: () => void) => () => {
    what();
    if (element.current) element.current.open = false;
  };
  return (
    <details class="menu" ref={element} onKeyDown={close}>
      <summary aria-label={say("more")} title={say("more")}>⋯</summary>
      <div>
        <button aria-pressed={props.inspecting} onClick={act(props.onInspect)}>{say("inspector")}</button>
        {possible() && <Notifications {...props} />}
        <button onClick={props.onTheme}>{say("theme")}: {say(props.theme)}</button>
        <button onClick={props.onLanguage}>{say("language")}</button>
        <button onClick={props.onSignOut}>{say("signOut")}</button>
      </div>
    </details>
  );
}

/** Whether the user is told of what comes while the page is closed. */
function Notifications({ session, identity }: Props) {
  const [busy, setBusy] = useState(false);
  const on = isOn(session.me);
  const turn = async () => {
    if (busy) return;
    setBusy(true);
    try {
      await (on ? turnOff(session.me, session.rest) : turnOn(session.me, identity.device, session.rest));
    } catch (e) {
      session.complain(e);
    }
    setBusy(false);
  };
  return <button role="switch" aria-checked={on} aria-busy={busy} onClick={() => void turn()}>{say("notify")}: {say(on ? "on" : "off")}</button>;
}

/** What the server finds, once the keys have come to rest. */
function Found({ session, query }: { session: Session; query: string }) {
  const [answer, setAnswer] = useState<SearchAnswer>();
  const wanted = useRef("");
  const ask = async (cursor: string, before: SearchAnswer["results"]) => {
    try {
      const page = await session.rest.search(query, "", cursor);
      if (wanted.current === query) setAnswer({ ...page, results: [...before, ...page.results] });
    } catch (e) {
      if (e instanceof StatusError && e.status === 404) session.hasSearch = false;
      // What cannot be looked for finds nothing; half of a filter is no mistake yet.
      else if (e instanceof StatusError && e.status === 400) setAnswer({ results: [] });
      else session.complain(e);
    }
  };
  useEffect(() => {
    wanted.current = query;
    if (!session.hasSearch) return;
    const timer = setTimeout(() => void ask("", []), PATIENCE);
    return () => {
      wanted.current = "";
      clearTimeout(timer);
    };
  }, [query]);
  if (!answer) return null;
  const { results, cursor } = answer;
  return (
    <section class="found" aria-label={say("found")}>
      <div role="status"><h2>{results.length ? `${say("found")}: ${results.length}${cursor ? "+" : ""}` : say("nothingFound")}</h2></div>
      <ul onKeyDown={roam}>
        {results.map(({ message: m, highlights }) => {
          const chat = session.chats.get(m.conversation_id);
          return (
            <li key={m.message_id}>
              <button class="chat" onClick={() => void session.show(m.conversation_id, m.seq)}>
                <span class="chat-title">{chat ? titleOf(chat) : "…"} · {nameOf(m.sender_id)}</span>
                <time>{when(m.timestamp)}</time>
                <span class="chat-last">{m.content ? passage(m.content, highlights) : say(m.type === "image" ? "image" : "file")}</span>
              </button>
            </li>
          );
        })}
      </ul>
      {cursor && <button class="plain" onClick={() => void ask(cursor, results)}>{say("more")}</button>}
    </section>
  );
}

/** The part of a text around what was found first, with all that was found in it marked. */
function passage(text: string, highlights: Highlight[]) {
  const start = Math.max(0, (highlights[0]?.start ?? 0) - AROUND);
  const end = Math.min(text.length, start + 4 * AROUND);
  const parts: ComponentChildren[] = [start > 0 ? "…" : ""];
  let at = start;
  for (const h of highlights) {
    if (h.start < at || h.end > end) continue;
    parts.push(text.slice(at, h.start), <mark key={h.start}>{text.slice(h.start, h.end)}</mark>);
    at = h.end;
  }
  return [...parts, text.slice(at, end), end < text.length ? "…" : ""];
}
