// A static host for the page in front of a site that runs elsewhere, as an operator
// would have one; and, for the test alone, tokens signed with the site's own key.
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import http from "node:http";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";

const dist = join(dirname(fileURLToPath(import.meta.url)), "..", "dist");
const types = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/**
 * Serves the page at http://127.0.0.1:PORT for the site that an addresses.json of
 * `dev cluster` describes. The site must have that origin in SWITCHBOARD_ORIGINS.
 */
export async function startHost(addresses, port) {
  const site = JSON.parse(readFileSync(addresses, "utf8"));
  const key = JSON.parse(readFileSync(site.auth_keys, "utf8")).keys.find((k) => k.kty === "oct");
  const policy = [
    "default-src 'none'", "script-src 'self'", "style-src 'self'",
    // REST sends browsers on to the store, whose origin they hold against the policy as well.
    `img-src 'self' blob: ${[...site.rest, ...(site.s3 ? [site.s3] : [])].join(" ")}`,
    `connect-src 'self' ${[...site.rest, ...site.ws.map((u) => new URL(u).origin)].join(" ")}`,
    "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'", "trusted-types worker",
  ].join("; ");
  const token = (user) => {
    const head = encode({ alg: "HS256", typ: "JWT", kid: key.kid });
    const body = encode({ sub: user, exp: Math.floor(Date.now() / 1000) + 86_400 });
    const mac = createHmac("sha256", Buffer.from(key.k, "base64url")).update(`${head}.${body}`).digest("base64url");
    return `${head}.${body}.${mac}`;
  };
  const server = http.createServer(async (request, response) => {
    if (request.method === "POST" && request.url === "/dev/token") {
      let body = "";
      for await (const part of request) body += part;
      response.setHeader("Content-Type", "application/json");
      response.end(JSON.stringify({ token: token(JSON.parse(body).user_id) }));
      return;
    }
    const { pathname } = new URL(request.url, "http://here");
    const name = pathname === "/" ? "index.html" : pathname.slice(1);
    if (!/^[a-z]+\.(html|js|css|svg)$/.test(name)) {
      response.writeHead(404).end();
      return;
    }
    let text = readFileSync(join(dist, name));
    if (name === "index.html") text = text.toString().replace('name="switchboard-rest" content=""', `name="switchboard-rest" content="${site.rest[0]}"`);
    response.setHeader("Content-Type", types[extname(name)]);
    response.setHeader("Content-Security-Policy", policy);
    response.end(text);
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${port}`, store: site.s3, stop: async () => server.close() };
}
