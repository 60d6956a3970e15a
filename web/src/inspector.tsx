// The inspector: the frames of the socket, and the road of a message.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Message } from "../sdk/src/index.ts";
import { nameOf } from "./people.ts";
import { logPlace, type Hop } from "./roads.ts";
import type { Session } from "./session.ts";
import { moment, say, type Word } from "./words.ts";

export function Inspector({ session, chosen, onClose }: { session: Session; chosen: Message | undefined; onClose: () => void }) {
  const [tab, setTab] = useState<"frames" | "road">(chosen ? "road" : "frames");
  useEffect(() => chosen && setTab("road"), [chosen]);
  return (
    <aside class="inspector" aria-label={say("inspector")}>
      <header>
        <div role="tablist" aria-label={say("inspector")}>
          {(["frames", "road"] as const).map((t) => (
            <button key={t} role="tab" id={"tab-" + t} aria-selected={tab === t} aria-controls="panel" onClick={() => setTab(t)}>{say(t)}</button>
          ))}
        </div>
        <button class="plain" aria-label={say("close")} onClick={onClose}>✕</button>
      </header>
      <div role="tabpanel" id="panel" class="panel" aria-labelledby={"tab-" + tab}>
        {tab === "frames" ? <Frames session={session} /> : <Road session={session} chosen={chosen} />}
      </div>
    </aside>
  );
}

function Frames({ session }: { session: Session }) {
  const { log } = session;
  const list = useRef<HTMLOListElement>(null);
  useEffect(() => {
    if (!log.paused && list.current) list.current.scrollTop = list.current.scrollHeight;
  }, [log.frames.at(-1)?.n]);
  return (
    <>
      <div class="row">
        <button aria-pressed={log.paused} onClick={() => {
          log.paused = !log.paused;
          session.tell();
        }}>{say(log.paused ? "goOn" : "pause")}</button>
        <button onClick={() => {
          log.frames = [];
          session.tell();
        }}>{say("clear")}</button>
      </div>
      <ol class="frames" ref={list} tabIndex={0}>
        {log.frames.map((f) => (
          <li key={f.n} class={f.direction}>
            <details>
              <summary>
                <time>{moment(f.at)}</time> <span aria-hidden="true">{f.direction === "in" ? "↓" : "↑"}</span><span class="hidden">{f.direction}</span> <code>{f.type}</code> <small>{f.text.length}</small>
              </summary>
              <pre>{pretty(f.text)}</pre>
            </details>
          </li>
        ))}
      </ol>
    </>
  );
}

function pretty(text: string): string {
  return JSON.stringify(JSON.parse(text), undefined, 1);
}

function Road({ session, chosen }: { session: Session; chosen: Message | undefined }) {
  if (!chosen) return <p class="hint">{say("roadHint")}</p>;
  const chat = session.chats.get(chosen.conversation_id);
  // The list may have learned more of it since it was chosen.
  const m = chat?.messages.find((x) => x.seq === chosen.seq) ?? chosen;
  const road = session.log.road(m);
  const place = logPlace(m.message_id);
  const facts: [string, string][] = [
    ["seq", String(m.seq)],
    ["message_id", m.message_id],
    ...(place ? [["", say("partition", place.partition, place.generation)] as [string, string]] : []),
    ["client_message_id", m.client_message_id ?? "–"],
    ["conversation_id", m.conversation_id],
    ["sender_id", `${m.sender_id} (${nameOf(m.sender_id)})`],
  ];
  return (
    <div class="road">
      <p class="quote">{m.content || say(m.type === "image" ? "image" : "file")}</p>
      <ol>
        {road.map((hop, i) => (
          <li key={i}>
            <strong>{hop.who ? say(word(hop), nameOf(hop.who)) : say(word(hop))}</strong>
            {!Number.isNaN(hop.at) && (
              <span><time>{moment(hop.at)}</time> {since(road, i)} <small>{say(hop.clock === "here" ? "clockHere" : "clockServer")}</small></span>
            )}
          </li>
        ))}
      </ol>
      <p class="hint">{say("clockNote")}</p>
      <dl>{facts.map(([name, value]) => <><dt>{name}</dt><dd>{value}</dd></>)}</dl>
    </div>
  );
}

const word = (hop: Hop) => `hop${hop.what}` as Word;

function since(road: Hop[], i: number): string {
  const before = road[i - 1];
  if (!before || Number.isNaN(before.at)) return "";
  const ms = road[i]!.at - before.at;
  return `${ms < 0 ? "−" : "+"}${Math.abs(ms).toFixed(1)} ms`;
}
