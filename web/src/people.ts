// Who is who. A server knows users by id alone; in the demonstration the ids follow
// from names, so the page can tell the names that it has ever heard of.
import { uuid5, type ID } from "../sdk/src/index.ts";

/** The namespace under which every client of the demonstration knows people. */
const PEOPLE = "6b1f8e0a-5d0c-4c3e-9a57-21d4f083b603";
const KEPT = "switchboard.names";
/** How many names are kept. */
const KEEP = 500;

export const demo = ["alice", "bob", "carol", "dave", "erin", "frank"];

const names = new Map<ID, string>();

/** The id of a person by name, who is known from then on, here and in other windows. */
export async function idOf(name: string): Promise<ID> {
  const known = await meet(name);
  const kept = read();
  if (!kept.includes(name)) localStorage.setItem(KEPT, JSON.stringify([...kept, name].slice(-KEEP)));
  return known;
}

async function meet(name: string): Promise<ID> {
  const id = await uuid5(PEOPLE, new TextEncoder().encode(name));
  names.set(id, name);
  return id;
}

function read(): string[] {
  try {
    return JSON.parse(localStorage.getItem(KEPT) ?? "[]") as string[];
  } catch {
    return []; // somebody else's, then
  }
}

/** Learns the names of the demonstration and those that were ever typed. */
export async function meetKnown(): Promise<void> {
  // Browsers give no SHA-1 to a page that is neither local nor by TLS: then people are their ids.
  if (!globalThis.crypto.subtle) return;
  const meetKept = () => Promise.all(read().map(meet));
  addEventListener("storage", (e) => e.key === KEPT && void meetKept());
  await Promise.all([...demo, "grace", "heidi", "ivan", "judy", "anna", "boris", "анна", "борис"].map(meet));
  await meetKept();
}

/** What a person is called here; the beginning of the id where no name is known. */
export function nameOf(id: ID): string {
  return names.get(id) ?? id.slice(0, 8);
}

/** A person from what was typed: an id stands for itself. */
export async function person(typed: string): Promise<ID> {
  const text = typed.trim();
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text) ? text.toLowerCase() : idOf(text);
}

/** A hue for the person's picture, always the same. */
export function hue(id: ID): number {
  return (parseInt(id.slice(0, 4), 16) * 137) % 360;
}
