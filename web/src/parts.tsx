// Small things that several parts of the page show.
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Presence } from "../sdk/src/index.ts";
import { hue } from "./people.ts";
import { say, when } from "./words.ts";

/** A round picture of a name. What it shows is said elsewhere. */
export function Avatar(props: { id: string; name: string; online?: boolean }) {
  const letters = props.name.split(/\s+/).map((w) => [...w][0] ?? "").slice(0, 2).join("").toUpperCase();
  const element = useRef<HTMLSpanElement>(null);
  useEffect(() => element.current?.style.setProperty("--hue", String(hue(props.id))), [props.id]);
  return (
    <span ref={element} class={`avatar ${props.online ? "online" : ""}`} aria-hidden="true">{letters}</span>
  );
}

export function presenceText(p: Presence | undefined): string {
  if (!p) return "";
  if (p.status === "online") return say("online");
  return p.last_seen ? say("lastSeen", when(p.last_seen)) : say("offline");
}

/** A modal dialog: focus stays in it, Escape ends it, and focus goes back. */
export function Dialog(props: { title: string; onClose: () => void; children: ComponentChildren }) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    element.current?.showModal();
    return () => before?.focus();
  }, []);
  return (
    <dialog ref={element} aria-label={props.title} onClose={props.onClose}
      onClick={(e) => e.target === element.current && element.current?.close()}>
      <header>
        <h2>{props.title}</h2>
        <button class="plain" aria-label={say("close")} onClick={() => element.current?.close()}>✕</button>
      </header>
      {props.children}
    </dialog>
  );
}
