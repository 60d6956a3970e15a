// The page: who signs in, and then everything.
import { render } from "preact";
import { useEffect, useReducer, useState } from "preact/hooks";
import { Sidebar } from "./sidebar.tsx";
import { ConversationView } from "./conversation.tsx";
import { Inspector } from "./inspector.tsx";
import { SignIn } from "./signin.tsx";
import { Session } from "./session.ts";
import { forget, remembered, tokensFor, type Identity } from "./identity.ts";
import { meetKnown } from "./people.ts";
import { answer, read, renew, speakAsThePage, turnOff } from "./push.ts";
import { language, preferred, say, speak, type Language } from "./words.ts";
import { Rest, type Message } from "../sdk/src/index.ts";

export type Theme = "auto" | "light" | "dark";

function App() {
  const [identity, setIdentity] = useState<Identity | undefined>(remembered);
  const [, setLanguage] = useState<Language>(language);
  const [theme, setTheme] = useState<Theme>(() => (localStorage.getItem("switchboard.theme") as Theme | null) ?? "auto");
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("switchboard.theme", theme);
  }, [theme]);
  const look = {
    theme,
    onTheme: () => setTheme(theme === "auto" ? "light" : theme === "light" ? "dark" : "auto"),
    onLanguage: () => {
      const next = language() === "en" ? "ru" : "en";
      chooseLanguage(next);
      setLanguage(next);
      void speakAsThePage().catch(() => {}); // at the next opening, then
    },
  };
  if (!identity) return <SignIn onIdentity={setIdentity} {...look} />;
  const leave = () => {
    // What cannot be told ends by itself: nothing of it holds anybody here.
    void turnOff(identity.user, new Rest({ base: base(), token: tokensFor(identity) })).catch(() => {});
    forget();
    setIdentity(undefined);
  };
  return <Chatting key={identity.user} identity={identity} onSignOut={leave} {...look} />;
}

export interface Look {
  theme: Theme;
  onTheme: () => void;
  onLanguage: () => void;
}

function Chatting(props: Look & { identity: Identity; onSignOut: () => void }) {
  const [session] = useState(() => new Session(props.identity.user, base(), tokensFor(props.identity), props.identity.device));
  const [, redraw] = useReducer((n: number, _: void) => n + 1, 0);
  const [inspecting, setInspecting] = useState(false);
  const [chosen, choose] = useState<Message>();
  useEffect(() => {
    const stop = session.listen(() => redraw());
    const wake = () => document.visibilityState === "visible" && session.client.wake();
    session.client.start();
    // Away from the address, so that a reload does not open it again.
    const conversation = /^#([0-9a-f-]{36})$/.exec(location.hash)?.[1];
    if (conversation) {
      history.replaceState(null, "", location.pathname + location.search);
      session.openWhenKnown(conversation);
    }
    const deaf = answer(session.me, (id) => session.openWhenKnown(id));
    session.onRead = (id, seq) => void read(session.me, id, seq).catch(() => {});
    void renew(session.me, session.rest).catch(() => {}); // at the next opening, then
    addEventListener("online", wake);
    document.addEventListener("visibilitychange", wake);
    return () => {
      stop();
      deaf();
      removeEventListener("online", wake);
      document.removeEventListener("visibilitychange", wake);
      session.client.stop();
    };
  }, [session]);
  useEffect(() => {
    const unread = session.sorted().reduce((sum, c) => sum + c.info.unread, 0);
    document.title = unread ? `(${unread}) ${say("title")}` : say("title");
  });
  const key = (e: KeyboardEvent) => {
    if (e.key === "k" && (e.ctrlKey || e.metaKey)) {
      e.preventDefault();
      document.getElementById("search")?.focus();
    } else if (e.key === "Escape" && !document.querySelector("dialog[open]")) {
      if (inspecting) setInspecting(false);
      else if (session.open && matchMedia("(max-width: 44rem)").matches) void session.show(undefined);
    }
  };
  const chat = session.chats.get(session.open ?? "");
  return (
    <div class={`frame ${chat ? "has-open" : ""} ${inspecting ? "has-inspector" : ""}`} onKeyDown={key}>
      {chat && <a class="skip" href="#compose">{say("skip")}</a>}
      <Sidebar session={session} inspecting={inspecting} onInspect={() => setInspecting(!inspecting)} {...props} />
      {chat
        ? <ConversationView key={chat.info.id} session={session} chat={chat} onSignOut={props.onSignOut} onInspect={(m) => {
            choose(m);
            setInspecting(true);
          }} />
        : <main class="empty"><h1 class="hidden">{say("title")}</h1><p>{say("choose")}</p></main>}
      {inspecting && <Inspector session={session} chosen={chosen} onClose={() => setInspecting(false)} />}
      {session.notice && (
        <div class="notice" role="alert">
          {session.notice}
          <button class="plain" aria-label={say("close")} onClick={() => {
            session.notice = "";
            session.tell();
          }}>✕</button>
        </div>
      )}
    </div>
  );
}

/** Where REST is: the page's own server, unless the operator has written another into the page. */
function base(): string {
  return document.querySelector<HTMLMetaElement>('meta[name="switchboard-rest"]')?.content ?? "";
}

function chooseLanguage(l: Language): void {
  speak(l);
  localStorage.setItem("switchboard.language", l);
  document.documentElement.lang = l;
}

const chosen = localStorage.getItem("switchboard.language");
chooseLanguage(chosen === "en" || chosen === "ru" ? chosen : preferred(navigator.languages));
await meetKnown();
render(<App />, document.getElementById("app")!);
