// Ids that a client makes or reads.

/** A UUID of version 7 (RFC 9562): its first 48 bits are `now` in milliseconds. */
export function uuid7(now: number, random: Uint8Array = crypto.getRandomValues(new Uint8Array(16))): string {
  const b = Uint8Array.from(random);
  for (let i = 0, t = now; i < 6; i++, t = Math.floor(t / 256)) b[5 - i] = t % 256;
  b[6] = (b[6]! & 0x0f) | 0x70;
  b[8] = (b[8]! & 0x3f) | 0x80;
  return text(b);
}

/** The UUID of version 5 over raw bytes below a namespace. */
export async function uuid5(namespace: string, ...parts: Uint8Array[]): Promise<string> {
  const bytes = [raw(namespace), ...parts].flatMap((p) => [...p]);
  const b = new Uint8Array(await crypto.subtle.digest("SHA-1", Uint8Array.from(bytes))).slice(0, 16);
  b[6] = (b[6]! & 0x0f) | 0x50;
  b[8] = (b[8]! & 0x3f) | 0x80;
  return text(b);
}

/**
 * When an id of version 1 or 7 was made, in Unix milliseconds by the clock of whoever
 * made it; undefined for any other. A message_id is of version 1, and its time is when
 * the gateway or REST server that took the message put it on the log.
 */
export function timeOf(id: string): number | undefined {
  const hex = id.replaceAll("-", "");
  if (!/^[0-9a-f]{32}$/.test(hex)) return undefined;
  if (hex[12] === "7") return parseInt(hex.slice(0, 12), 16);
  if (hex[12] !== "1") return undefined;
  const ticks = BigInt("0x" + hex.slice(13, 16) + hex.slice(8, 12) + hex.slice(0, 8));
  return Number((ticks - 0x01b21dd213814000n) / 1000n) / 10;
}

function text(b: Uint8Array): string {
  const hex = [...b].map((x) => x.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

function raw(id: string): Uint8Array {
  return Uint8Array.from(id.replaceAll("-", "").match(/../g) ?? [], (h) => parseInt(h, 16));
}
