// Takes screenshots of every page, to be looked at: node e2e/look.mjs FOLDER.
import { mkdirSync } from "node:fs";
import { launch, pasteImage, person, startNetwork, startSite } from "./site.mjs";

const out = process.argv[2] ?? ".cache/screens";
mkdirSync(out, { recursive: true });
const site = await startSite();
const browser = await launch();
try {
  for (const colorScheme of ["light", "dark"]) {
    const desk = { viewport: { width: 1280, height: 800 }, colorScheme };
    const phone = { viewport: { width: 390, height: 844 }, colorScheme, hasTouch: true, isMobile: true, locale: "ru" };
    const shot = (p, name) => p.page.screenshot({ path: `${out}/${name}-${colorScheme}.png` });
    const nobody = await person(browser, site, "", desk);
    await shot(nobody, "signin");
    const alice = await person(browser, site, "alice", desk);
    await shot(alice, "empty");
    const network = await startNetwork();
    const bob = await person(browser, site, "bob", { ...phone, network });
    await begin(alice, "bob");
    for (const text of ["Hello Bob 👋", "Shall we look at https://example.com/plan on Friday?", "A longer one, so that the line wraps: the quick brown fox jumps over the lazy dog, twice, and then once more because it is fun."]) {
      await send(alice, text);
    }
    await shot(bob, "phone-list");
    await bob.page.locator(".chat:has(.chat-title:text('alice'))").click();
    await send(bob, "Привет! В пятницу могу 🙂");
    await pasteImage(alice);
    await bob.page.waitForFunction(() => document.querySelector(".picture img")?.naturalWidth > 0);
    await bob.page.locator("#compose").pressSequentially("пишу ещё…", { delay: 400 });
    await alice.page.locator(".who .typing").waitFor();
    await alice.page.locator('[data-ticks="read"]').first().waitFor();
    await shot(alice, "chat");
    await shot(bob, "phone-chat");
    await beginGroup(alice, `Friday ${colorScheme}`, "bob, carol, dave");
    await send(alice, "Who brings what?");
    await shot(alice, "group");
    await alice.page.getByRole("button", { name: "Members" }).click();
    await alice.page.locator("dialog").waitFor();
    await shot(alice, "members");
    await alice.page.keyboard.press("Escape");
    await alice.page.locator(".message").last().hover();
    await alice.page.locator(".message .inspect").last().click();
    await shot(alice, "road");
    await alice.page.getByRole("tab", { name: "Frames" }).click();
    await shot(alice, "frames");
    await alice.page.locator(".inspector header").getByRole("button", { name: "Close" }).click();
    await alice.page.getByRole("button", { name: "New conversation" }).click();
    await alice.page.locator("dialog").waitFor();
    await shot(alice, "new");
    await alice.page.keyboard.press("Escape");
    await alice.page.locator(".menu summary").click();
    await shot(alice, "menu");
    await alice.page.keyboard.press("Escape");
    await alice.page.locator("#search").fill("friday");
    await alice.page.waitForTimeout(800); // only for the picture
    await shot(alice, "search");
    network.cut();
    await bob.page.locator("main .line.waiting").waitFor();
    await bob.page.locator("#compose").fill("Из туннеля");
    await bob.page.keyboard.press("Enter");
    await bob.page.locator(".waiting .text").waitFor();
    await shot(bob, "phone-cut");
    network.stop();
    for (const p of [nobody, alice, bob]) {
      if (p.complaints.length) console.log(p.complaints.join("\n"));
      await p.context.close();
    }
  }
} finally {
  await browser.close();
  await site.stop();
}

async function begin(p, name) {
  await p.page.getByRole("button", { name: "New conversation" }).click();
  await p.page.locator("dialog input[name=who]").fill(name);
  await p.page.keyboard.press("Enter");
  await p.page.locator("#compose").waitFor();
}

async function beginGroup(p, name, who) {
  await p.page.getByRole("button", { name: "New conversation" }).click();
  await p.page.getByLabel("Group", { exact: true }).check();
  await p.page.locator("dialog input[name=name]").fill(name);
  await p.page.locator("dialog input[name=who]").fill(who);
  await p.page.keyboard.press("Enter");
  await p.page.getByRole("heading", { name }).waitFor();
}

async function send(p, text) {
  await p.page.locator("#compose").fill(text);
  await p.page.keyboard.press("Enter");
  await p.page.locator(".message.own:not(.waiting)").filter({ hasText: text }).last().waitFor();
}
