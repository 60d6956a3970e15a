// Who sits at this page: each tab may be somebody else, until it is closed.
import { StatusError, uuid7, type ID } from "../sdk/src/index.ts";
import { idOf } from "./people.ts";

export interface Identity {
  user: ID;
  name: string; // empty where only the token says who
  device: string;
  token: string;
}

const KEPT = "switchboard.identity";

export function remembered(): Identity | undefined {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT) ?? "null") as Identity ?? undefined;
  } catch {
    return undefined;
  }
}

export function forget(): void {
  sessionStorage.removeItem(KEPT);
}

function keep(i: Identity): Identity {
  sessionStorage.setItem(KEPT, JSON.stringify(i));
  return i;
}

/** Signs in as a person of the demonstration: only a server that makes tokens itself does that. */
export async function byName(base: string, name: string): Promise<Identity> {
  const user = await idOf(name);
  return keep({ user, name, device: "web-" + uuid7(Date.now()), token: await demoToken(base, user) });
}

/** Signs in with a token from elsewhere; undefined where it names nobody. */
export function byToken(token: string): Identity | undefined {
  const user = subject(token.trim());
  return user === undefined ? undefined : keep({ user, name: "", device: "web-" + uuid7(Date.now()), token: token.trim() });
}

async function demoToken(base: string, user: ID): Promise<string> {
  const body = JSON.stringify({ user_id: user });
  const response = await fetch(base + "/dev/token", { method: "POST", body, headers: { "Content-Type": "application/json" } });
  if (!response.ok) throw new StatusError(response.status, "", (await response.text()).slice(0, 200));
  return ((await response.json()) as { token: string }).token;
}

/** What gives the tokens of an identity from then on. */
export function tokensFor(i: Identity, base = ""): (fresh: boolean) => Promise<string> {
  return async (fresh) => {
    if (fresh && i.name) {
      i.token = await demoToken(base, i.user);
      if (remembered()?.device === i.device) keep(i); // else signed out meanwhile
    }
    return i.token;
  };
}

function subject(token: string): ID | undefined {
  try {
    const part = token.split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/");
    const { sub } = JSON.parse(atob(part)) as { sub?: string };
    return sub && /^[0-9a-f-]{36}$/i.test(sub) ? sub.toLowerCase() : undefined;
  } catch {
    return undefined;
  }
}
