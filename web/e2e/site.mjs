// What the browser test stands on: a system of its own, a network that can be cut,
// people with a browser each.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { startHost } from "./host.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

export function browserPath() {
  const known = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
  return known.find((p) => p && existsSync(p));
}

/**
 * Starts `dev` on free ports in a folder of its own: the one that DEV names, else it is
 * built. Or puts the page in front of the site that ADDRESSES describes, at PORT.
 */
export async function startSite() {
  if (process.env.ADDRESSES) return startHost(process.env.ADDRESSES, Number(process.env.PORT ?? 8090));
  const data = mkdtempSync(join(tmpdir(), "switchboard-web-"));
  const program = process.env.DEV ?? join(data, "dev");
  if (!process.env.DEV) await done(spawn("go", ["build", "-o", program, "./dev"], { cwd: root, stdio: "inherit" }));
  const any = "127.0.0.1:0";
  const child = spawn(program, ["-log-level", "error", "-listen", any, "-gateway-listen", any, "-ops-listen", any, "-data", join(data, "data")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const url = await new Promise((resolve, reject) => {
    let said = "";
    child.stdout.on("data", (text) => {
      said += text;
      if (/^ready$/m.test(said)) resolve(/REST\s+(\S+)/.exec(said)[1]);
    });
    child.on("exit", () => reject(new Error("dev ended: " + said)));
  });
  const stop = async () => {
    const ended = new Promise((resolve) => child.on("exit", resolve));
    child.kill("SIGTERM");
    await ended;
    rmSync(data, { recursive: true, force: true });
  };
  return { url, stop };
}

function done(child) {
  return new Promise((resolve, reject) => child.on("exit", (code) => (code === 0 ? resolve() : reject(new Error("exit " + code)))));
}

/**
 * A proxy between one browser and everything: `cut` closes all that is open and
 * takes nothing new, as a phone in a tunnel does. Cut silently it only swallows.
 */
export async function startNetwork() {
  const open = new Set();
  let [isCut, isStuck] = [false, false];
  const keep = (socket) => {
    open.add(socket);
    socket.on("close", () => open.delete(socket));
    socket.on("error", () => {});
  };
  const server = http.createServer((request, response) => {
    const to = new URL(request.url);
    if (isStuck && request.method === "POST" && to.pathname === "/api/v1/media/upload") return; // nobody reads it, so it stops on its way
    const { host: _host, "proxy-connection": _proxy, ...headers } = request.headers;
    const onward = http.request({ host: to.hostname, port: to.port, method: request.method, path: to.pathname + to.search, headers: { ...headers, host: to.host } },
      (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  });
  server.on("connection", (socket) => (isCut ? socket.destroy() : keep(socket)));
  server.on("connect", (request, socket, head) => {
    const [host, port] = request.url.split(":");
    const onward = net.connect(Number(port), host, () => {
      socket.write("HTTP/1.1 200 Connected\r\n\r\n");
      onward.write(head);
      socket.pipe(onward).pipe(socket);
    });
    keep(onward);
    onward.on("error", () => socket.destroy());
    socket.on("close", () => onward.destroy());
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    cut() {
      isCut = true;
      for (const socket of open) socket.destroy();
    },
    /** Takes the beginning of an upload and no more of it. */
    stick() {
      isStuck = true;
    },
    mend() {
      isCut = isStuck = false;
    },
    stop() {
      this.cut();
      server.close();
    },
  };
}

/** How long a page may take to show what it must. No claim about speed: what takes longer is broken. */
const patience = 60_000;

/** One person: a browser context with a page, all that it said, what of it were complaints, and from which origins it had pictures. */
export async function person(browser, site, name, { network, knows = [], ...options } = {}) {
  const proxy = network && { server: network.url, bypass: "<-loopback>" };
  const context = await browser.newContext({ locale: "en", viewport: { width: 1280, height: 800 }, ...options, ...(proxy && { proxy }) });
  await context.addInitScript((names) => localStorage.getItem("switchboard.names") ?? localStorage.setItem("switchboard.names", JSON.stringify(names)), knows);
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  const [complaints, said, pictures] = [[], [], new Set()];
  const hear = (type, text) => {
    said.push(`${new Date().toISOString()} ${name} ${type}: ${text}`);
    if (type === "error") complaints.push(`${name}: ${text}`);
  };
  page.on("pageerror", (e) => hear("error", String(e)));
  page.on("console", (m) => hear(m.type(), m.text()));
  page.on("requestfailed", (r) => hear("request", `${r.method()} ${r.url()} failed: ${r.failure()?.errorText}`));
  page.on("response", (r) => r.status() >= 400 && hear("response", `${r.status()} to ${r.request().method()} ${r.url()}`));
  page.on("response", (r) => r.ok() && r.request().resourceType() === "image" && pictures.add(new URL(r.url()).origin));
  people.push({ name, page, said });
  await page.goto(site.url);
  if (name) {
    await page.locator("#name").fill(name);
    await page.locator("#name").press("Enter");
    await page.locator('[data-state="live"]').waitFor();
  }
  return { name, page, context, complaints, pictures };
}

const people = [];

/** Says where everybody is: screenshots in the folder, what the pages said last, and what they show. */
export async function tell(folder) {
  mkdirSync(folder, { recursive: true });
  for (const { name, page, said } of people.filter((p) => !p.page.isClosed())) {
    const path = resolve(folder, `failed-${name}.png`);
    await page.screenshot({ path }).then(() => console.error(`${name}: screenshot in ${path}`), (e) => console.error(`${name}: no screenshot: ${e}`));
    console.error(said.slice(-100).join("\n"));
    console.error(await page.locator("body").ariaSnapshot({ timeout: 5_000 }).catch((e) => `${name} shows nothing: ${e}`));
  }
}

/** Pastes a picture into what is being written. */
export async function pasteImage(p) {
  await p.page.evaluate(async () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 200 });
    const c = canvas.getContext("2d");
    c.fillStyle = "#0f766e";
    c.fillRect(0, 0, 320, 200);
    c.fillStyle = "#fff";
    c.fillRect(40, 40, 120, 80);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
    const data = new DataTransfer();
    data.items.add(new File([blob], "picture.png", { type: "image/png" }));
    const paste = new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
    document.querySelector("#compose").dispatchEvent(paste);
  });
}

/** Drags a file of that many bytes over the conversation and drops it there. */
export async function dropFile(p, name, size) {
  const dataTransfer = await p.page.evaluateHandle(([name, size]) => {
    const data = new DataTransfer();
    data.items.add(new File(["a".repeat(size)], name, { type: "text/plain" }));
    return data;
  }, [name, size]);
  await p.page.dispatchEvent("main.conversation", "dragover", { dataTransfer });
  await p.page.locator(".drop").waitFor();
  await p.page.dispatchEvent("main.conversation", "drop", { dataTransfer });
  await p.page.locator(".drop").waitFor({ state: "detached" });
}

export function launch() {
  return chromium.launch({ executablePath: browserPath(), args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}
