import assert from "node:assert/strict";
import { test } from "node:test";
import { storage } from "../sdk/test/fake.ts";
import { byName, forget, remembered, tokensFor } from "./identity.ts";

Object.assign(globalThis, { localStorage: storage(), sessionStorage: storage() });

test("a token that comes after the signing out signs nobody in again", async () => {
  let tokens = 0;
  globalThis.fetch = (async () => new Response(JSON.stringify({ token: `token ${++tokens}` }))) as typeof fetch;
  const alice = await byName("", "alice");
  const give = tokensFor(alice);
  assert.deepEqual([await give(false), await give(true), remembered()?.token], ["token 1", "token 2", "token 2"]);
  const late = give(true);
  forget();
  assert.deepEqual([await late, remembered()], ["token 3", undefined]);
});
