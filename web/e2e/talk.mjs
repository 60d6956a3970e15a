// Two people in two real browsers: they talk, see ticks, typing and presence,
// exchange an image, search a word, lose the network and come back without a gap.
import assert from "node:assert/strict";
import { audit } from "./audit.mjs";
import { allow, click, deliver, shown, until } from "./notify.mjs";
import { browserPath, dropFile, launch, pasteImage, person, startNetwork, startSite, tell } from "./site.mjs";

if (!browserPath()) {
  console.log("skipped: no Chromium on this machine; CHROMIUM names one that is elsewhere");
  process.exit(Number(process.env.SWITCHBOARD_WEB_REQUIRED ?? 0));
}

const site = await startSite();
const network = await startNetwork();
const browser = await launch();
// A site that was there before knows people of earlier runs: these are new ones.
const run = process.env.ADDRESSES ? Date.now().toString(36) : "";
const [ALICE, BOB, CAROL, DAVE, FRIDAY] = ["alice", "bob", "carol", "dave", "Friday"].map((name) => name + run);
const knows = [ALICE, BOB, CAROL, DAVE]; // as of somebody who typed the names before
const steps = [];
const step = async (name, what) => {
  const begun = performance.now();
  await what();
  steps.push(name);
  console.log(`ok ${steps.length} - ${name} (${Math.round(performance.now() - begun)} ms)`);
};
const messages = (p) => p.page.locator(".message:not(.waiting) .text");
const ours = (p, text) => p.page.locator(".message.own").filter({ hasText: text });
const theirs = (p, text) => p.page.locator(".message:not(.own)").filter({ hasText: text });
const write = async (p, text) => {
  await p.page.locator("#compose").fill(text);
  await p.page.locator("#compose").press("Enter");
};
const ticks = (p, text, state) => ours(p, text).locator(`[data-ticks="${state}"]`).waitFor();
const state = (p, is) => p.page.locator(`nav [data-state="${is}"]`).waitFor({ state: "attached" });
const openChat = (p, title) => p.page.locator(".chats .chat").filter({ hasText: title }).click();

try {
  const alice = await person(browser, site, ALICE, { knows });
  const bob = await person(browser, site, BOB, { knows, network, viewport: { width: 390, height: 844 } });

  await step("alice begins a conversation, and bob sees what is unread", async () => {
    await begin(alice, BOB);
    await write(alice, "first word");
    await bob.page.locator(".badge").filter({ hasText: "1" }).waitFor();
    await ticks(alice, "first word", "delivered");
  });
  await step("bob reads, and alice sees that he did", async () => {
    await openChat(bob, ALICE);
    await theirs(bob, "first word").waitFor();
    await ticks(alice, "first word", "read");
  });
  await step("each sees that the other is online, and who types", async () => {
    await alice.page.locator(".who").getByText("online").waitFor();
    // Nobody promises that typing is seen: who goes on with it is, at the latest when it is said again.
    let seen = false;
    const told = alice.page.locator(".who").getByText(`${BOB} is typing`).waitFor().finally(() => (seen = true));
    told.catch(() => {}); // it is awaited below
    while (!seen) await bob.page.locator("#compose").pressSequentially("an answer ", { delay: 50 });
    await told;
    await bob.page.locator("#compose").press("Enter");
    await theirs(alice, "an answer").waitFor();
    await alice.page.locator(".who").getByText("online").waitFor();
  });
  await step("the inspector shows the frames and the road of a message", () => inspect(alice));
  await step("an image goes from one to the other", () => exchangeImage(alice, bob));
  await step("a file that is dropped shows how far it is; cut off, it goes when it is tried again", () => dropAndRetry(bob, alice));
  await step("a word is found", () => findWord(bob));
  await step("bob loses the network; what he writes waits", async () => {
    network.cut();
    await state(bob, "waiting");
    await bob.page.locator("main").getByText("No connection.").waitFor();
    for (const n of [1, 2, 3]) await write(bob, `from the tunnel ${n}`);
    await ours(bob, "from the tunnel 3").getByText("not sent yet").waitFor();
    for (let n = 1; n <= 30; n++) await write(alice, `meanwhile ${n}`);
    await ticks(alice, "meanwhile 30", "sent");
  });
  await step("the network is back: everything is there, once, in the same order for both", async () => {
    network.mend();
    await state(bob, "live");
    await theirs(bob, "meanwhile 30").waitFor();
    await theirs(alice, "from the tunnel 3").waitFor();
    await ticks(alice, "meanwhile 30", "read");
    await ticks(bob, "from the tunnel 3", "read"); // alice may have it before he has the answer
    const [a, b] = [await messages(alice).allTextContents(), await messages(bob).allTextContents()];
    assert.deepEqual(b, a);
    for (let n = 1; n <= 30; n++) assert.equal(a.filter((t) => t === `meanwhile ${n}`).length, 1);
    for (let n = 1; n <= 3; n++) assert.equal(a.filter((t) => t === `from the tunnel ${n}`).length, 1);
  });
  await step("what was not sent survives a reload, and goes out once", async () => {
    network.cut();
    await state(bob, "waiting");
    await write(bob, "before the reload");
    await ours(bob, "before the reload").getByText("not sent yet").waitFor();
    network.mend(); // the page itself has to be loaded; the sockets are not back yet
    await bob.page.reload();
    await state(bob, "live");
    await openChat(bob, ALICE);
    await theirs(alice, "before the reload").waitFor();
    await ours(bob, "before the reload").locator("[data-ticks]").waitFor();
    assert.equal(await ours(bob, "before the reload").count(), 1);
    assert.equal(await theirs(alice, "before the reload").count(), 1);
  });
  await step("a group: three people, and one who is removed", () => group(alice));
  await step("axe-core finds nothing wrong, on a desk and on a phone, in light and in dark", () => auditPages(alice, bob));
  await step("history comes by scrolling", () => scroll(alice));
  await step("below an old page the next one comes, and is not jumped to", () => readOn(alice));
  await step("from one conversation to the other by keyboard alone", async () => {
    for (const key of ["Control+k", "Tab", "ArrowDown", "Enter"]) await alice.page.keyboard.press(key);
    await alice.page.getByRole("heading", { name: BOB }).waitFor();
    await alice.page.waitForFunction(() => document.activeElement?.id === "compose");
    await alice.page.keyboard.type("no mouse");
    await alice.page.keyboard.press("Enter");
    await theirs(bob, "no mouse").waitFor();
  });
  await step("notifications: one for each conversation, nothing of the content, a click opens it; none after signing out", () => notify(alice));
  await step("bob goes, and after the 15 s in which he might be back alice is told", async () => {
    await alice.page.locator(".who").getByText("online").waitFor();
    await bob.context.close();
    await alice.page.locator(".who").getByText(/last seen|offline/).waitFor();
  });
  await step("no page complained of anything", async () => {
    // A cut network is complained of by every browser, and that is all.
    const bad = [...alice.complaints, ...bob.complaints].filter((c) => !/ERR_|WebSocket connection/.test(c));
    assert.deepEqual(bad, []);
  });
  console.log(`all ${steps.length} passed`);
} catch (e) {
  console.error(`FAILED after: ${steps.at(-1) ?? "nothing"}`);
  await tell(process.env.SCREENS ?? ".cache");
  throw e;
} finally {
  await browser.close();
  network.stop();
  await site.stop();
}

async function begin(p, name) {
  await p.page.getByRole("button", { name: "New conversation" }).click();
  await p.page.locator("dialog input[name=who]").fill(name);
  await p.page.keyboard.press("Enter");
  await p.page.locator("#compose").waitFor();
}

async function inspect(p) {
  await ours(p, "first word").hover();
  await ours(p, "first word").getByRole("button", { name: "Inspect" }).click();
  const road = p.page.locator(".road");
  for (const hop of ["put on the socket", "taken by the gateway", "message_sent", `delivered to ${BOB}`, `read by ${BOB}`]) {
    await road.getByText(hop).waitFor();
  }
  await p.page.getByRole("tab", { name: "Frames" }).click();
  await p.page.locator(".frames code").getByText("message_sent", { exact: true }).first().waitFor();
  assert.ok(!(await p.page.locator(".frames").textContent()).includes("eyJ"), "a token is shown");
  await p.page.keyboard.press("Escape");
  await p.page.locator(".inspector").waitFor({ state: "detached" });
}

async function exchangeImage(from, to) {
  // In a low window the picture does not fit below what is there: it is to be seen all the same.
  const windows = [from, to].map((p) => [p, p.page.viewportSize()]);
  for (const [p, size] of windows) await p.page.setViewportSize({ ...size, height: 420 });
  await pasteImage(from);
  for (const p of [from, to]) {
    const image = p.page.locator(".picture img").last();
    await image.waitFor();
    await p.page.waitForFunction(() => [...document.querySelectorAll(".picture img")].at(-1)?.naturalWidth > 0);
    if (site.store) assert.ok(p.pictures.has(site.store), `${p.name} has pictures from ${[...p.pictures].join(", ")}, none from ${site.store}`);
    await p.page.waitForFunction(() => {
      const list = document.querySelector(".scroll");
      return list.scrollHeight > list.clientHeight && list.scrollHeight - list.scrollTop - list.clientHeight < 2;
    });
  }
  for (const [p, size] of windows) await p.page.setViewportSize(size);
}

/** Opens the message that is found by either query. */
async function find(p, text, query, other) {
  await p.page.locator("#search").fill(other);
  // The index may be a moment behind: who asks again finds it, by another word, as the same one is not asked for twice.
  const found = p.page.locator(".found .chat").filter({ hasText: text });
  for (let tries = 1; (await found.count()) === 0 && tries <= 10; tries++) {
    await p.page.locator("#search").fill(tries % 2 ? query : other);
    await found.waitFor({ timeout: 1000 * tries }).catch(() => {}); // on a busy machine an answer takes longer
  }
  await found.click();
}

async function findWord(p) {
  await p.page.locator("button.back").click();
  await find(p, "first word", "first", "word");
  await theirs(p, "first word").waitFor();
  await p.page.locator("button.back").click();
  await p.page.locator("#search").fill("");
  await openChat(p, ALICE);
}

async function group(p) {
  // By another name of the same server: its own origins may connect, and show images.
  const carol = await person(browser, { url: site.url.replace("127.0.0.1", "localhost") }, CAROL, { knows });
  await p.page.getByRole("button", { name: "New conversation" }).click();
  await p.page.getByLabel("Group", { exact: true }).check();
  await p.page.locator("dialog input[name=name]").fill(FRIDAY);
  await p.page.locator("dialog input[name=who]").fill(`${CAROL}, ${DAVE}`);
  await p.page.keyboard.press("Enter");
  await p.page.getByRole("heading", { name: FRIDAY }).waitFor();
  await openChat(carol, FRIDAY);
  await write(carol, "hello everybody");
  await theirs(p, "hello everybody").waitFor();
  await exchangeImage(p, carol);
  await p.page.getByRole("button", { name: "Members" }).click();
  await p.page.getByRole("button", { name: `Remove: ${CAROL}` }).click();
  await carol.page.getByText("You are no longer in this conversation.").waitFor();
  await p.page.getByText("2", { exact: false }).first().waitFor();
  await p.page.keyboard.press("Escape");
  assert.deepEqual(carol.complaints, []);
  await carol.context.close();
  await promoteAndRead(p);
}

/** Makes the other one of the group an admin, for which the page has no button, and reads of it in both languages. */
async function promoteAndRead(p) {
  await p.page.evaluate(async (name) => {
    const base = document.querySelector('meta[name="switchboard-rest"]').content + "/api/v1/conversations";
    const { token, user } = JSON.parse(sessionStorage.getItem("switchboard.identity"));
    const headers = { Authorization: "Bearer " + token, "Content-Type": "application/json" };
    const { conversations } = await (await fetch(base, { headers })).json();
    const at = `${base}/${conversations.find((c) => c.name === name).id}/members`;
    const { members } = await (await fetch(at, { headers })).json();
    const other = members.find((m) => m.user_id !== user).user_id;
    const answer = await fetch(`${at}/${other}`, { method: "PUT", headers, body: JSON.stringify({ role: "admin" }) });
    if (!answer.ok) throw new Error(`the role: ${answer.status}`);
  }, FRIDAY);
  await p.page.locator(".event").getByText(`${DAVE} is now admin`).waitFor();
  await p.page.locator(".menu summary").click();
  await p.page.getByRole("button", { name: "Язык: русский" }).click();
  await p.page.locator(".event").getByText(`${DAVE} теперь администратор`).waitFor();
  await p.page.getByRole("button", { name: "Language: English" }).click();
  await p.page.locator(".menu summary").click();
}

async function dropAndRetry(from, to) {
  network.stick();
  await dropFile(from, "minutes.txt", 16 << 20); // more than lies in sockets on its way
  await from.page.waitForFunction(() => {
    const part = document.querySelector("progress")?.value ?? 0;
    return part > 0 && part < 100;
  });
  network.cut();
  const waiting = from.page.locator(".waiting").filter({ hasText: "minutes.txt" });
  await waiting.getByText("not uploaded").waitFor();
  network.mend();
  await state(from, "live");
  await waiting.getByRole("button", { name: "Try again" }).click();
  const link = to.page.locator("a.file").filter({ hasText: "minutes.txt" });
  await link.waitFor();
  const file = await to.context.request.get(await link.evaluate((a) => a.href));
  assert.equal((await file.body()).length, 16 << 20);
  await waiting.waitFor({ state: "detached" });
  assert.equal(await link.count(), 1);
}

async function notify(p) {
  const call = (path) => p.page.evaluate(async (path) => {
    const base = document.querySelector('meta[name="switchboard-rest"]').content;
    const { token } = JSON.parse(sessionStorage.getItem("switchboard.identity"));
    return (await fetch(`${base}/api/v1/${path}`, { headers: { Authorization: "Bearer " + token } })).json();
  }, path);
  const { conversations } = await call("conversations");
  const [bobs, friday] = [(c) => c.type === "direct", (c) => c.name === FRIDAY].map((is) => conversations.find(is).id);
  const menu = (page) => page.locator(".menu summary").click();
  await allow(p);
  await menu(p.page);
  await p.page.getByRole("switch", { name: "Notifications: off" }).click();
  await p.page.getByRole("switch", { name: "Notifications: on" }).waitFor();
  await menu(p.page);
  assert.deepEqual((await call("devices")).devices.map((d) => d.kind), ["web_push"]);

  // Of what is to come: nobody has read that yet.
  const notice = (conversation_id, seq) => ({ type: "message", conversation_id, message_id: "", seq, sender_id: "", kind: "text", timestamp: 0 });
  await deliver(p, notice(bobs, 10_001), notice(bobs, 10_001), notice(bobs, 10_002), notice(friday, 10_001));
  const expected = [{ tag: bobs, seq: 10_002, body: "New message" }, { tag: friday, seq: 10_001, body: "New message" }];
  assert.deepEqual(await shown(p), expected.sort((a, b) => a.tag.localeCompare(b.tag)));
  await openChat(p, FRIDAY);
  assert.match(await click(p, bobs), /focus/);
  await p.page.getByRole("heading", { name: BOB }).waitFor();
  await until(p, (all) => all.length === 1 && all[0].tag === friday);

  // Another window asks who it is, and then shows the conversation that it was opened for.
  const page = await p.context.newPage();
  await page.goto(`${site.url}/#${friday}`);
  await page.locator("#name").fill(ALICE);
  await page.locator("#name").press("Enter");
  await page.getByRole("heading", { name: FRIDAY }).waitFor();
  assert.equal(new URL(page.url()).hash, "");
  await menu(page);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.locator("#name").waitFor();
  await until(p, (all) => all.length === 0);
  for (let tries = 1; (await call("devices")).devices.length > 0; tries++) {
    assert.ok(tries < 600, "the server notifies who has signed out");
    await p.page.waitForTimeout(100);
  }
  await page.close();
}

/** What there is to see, each in light and in dark: axe-core wants nothing of it otherwise. */
async function auditPages(desk, phone) {
  const nobody = await person(browser, site, "");
  await audit(nobody, "signing in");
  await nobody.context.close();
  const close = () => desk.page.keyboard.press("Escape");
  await audit(desk, "a group");
  await desk.page.locator(".menu summary").click();
  await audit(desk, "the menu", ".menu"); // its shadow lies on what is below
  await close();
  for (const name of ["New conversation", "Members"]) {
    await desk.page.getByRole("button", { name }).click();
    await desk.page.locator("dialog[open]").waitFor();
    await audit(desk, name, "dialog[open]");
    await close();
  }
  await openChat(desk, BOB);
  await ours(desk, "first word").hover();
  await ours(desk, "first word").getByRole("button", { name: "Inspect" }).click();
  await audit(desk, "the inspector's road");
  await desk.page.getByRole("tab", { name: "Frames" }).click();
  await audit(desk, "the inspector's frames");
  await close();
  await desk.page.locator("#search").fill("first");
  await desk.page.locator(".found .chat").first().waitFor();
  await audit(desk, "what was found");
  await desk.page.locator("#search").fill("");
  await openChat(desk, FRIDAY);
  await audit(phone, "a conversation on a phone");
  await phone.page.locator("button.back").click();
  await audit(phone, "the conversations on a phone");
  await openChat(phone, ALICE);
}

async function scroll(p) {
  // Faster than anybody types, and than the server takes: what is too much waits in its order.
  await p.page.locator("#compose").evaluate(async (box) => {
    for (let n = 0; n <= 70; n++) {
      box.value = `line ${n}`;
      box.dispatchEvent(new InputEvent("input", { bubbles: true }));
      for (let turns = 0; turns < 5; turns++) await null; // what was typed is taken at the end of a microtask
      box.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
      for (let turns = 0; turns < 5; turns++) await null;
    }
  });
  await ticks(p, "line 70", "sent");
  await p.page.reload();
  await state(p, "live");
  await openChat(p, FRIDAY);
  await ours(p, "line 70").waitFor();
  assert.equal(await ours(p, "line 5").filter({ hasText: /line 5\D/ }).count(), 0);
  await p.page.locator(".scroll").hover();
  await p.page.mouse.wheel(0, -100_000);
  await p.page.getByText("The beginning of what you can see").waitFor();
  const lines = (await messages(p).allTextContents()).filter((t) => t.startsWith("line "));
  assert.deepEqual(lines, Array.from({ length: 71 }, (_, n) => `line ${n}`));
}

/** Opens an old page by what is found in it: at its end the next one comes, below what is being read. */
async function readOn(p) {
  const asked = [];
  p.page.on("request", (r) => r.url().includes("after_seq=") && asked.push(r.url()));
  await p.page.reload();
  await state(p, "live");
  await find(p, "line 0", "line 0", "0 line");
  await p.page.locator("button.newest").waitFor();
  assert.equal(await ours(p, "line 70").count(), 0);
  await p.page.locator(".scroll").evaluate((l) => (l.scrollTop = l.scrollHeight)); // a wheel would roll on
  await ours(p, "line 70").waitFor({ state: "attached" });
  await p.page.locator("button.newest").waitFor({ state: "detached" });
  await p.page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  const below = await p.page.locator(".scroll").evaluate((l) => l.scrollHeight - l.scrollTop - l.clientHeight);
  assert.ok(below > 200, `only ${below} pixels are below what was being read`);
  assert.equal(asked.length, 1, asked.join(" "));
  await p.page.locator("#search").fill("");
}
