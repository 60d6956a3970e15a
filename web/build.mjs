// Builds the page into dist/, which is committed: `go run ./dev` needs no Node.
//
//   node build.mjs           writes dist/
//   node build.mjs compare   fails unless dist/ is what would be written
//   node build.mjs test      runs the tests of sdk/ and src/
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = dirname(fileURLToPath(import.meta.url));
const GZIP_LIMIT = 60 * 1024; // of everything that the page loads

const files = (folder, ending) =>
  readdirSync(join(root, folder)).filter((name) => name.endsWith(ending)).sort().map((name) => `${folder}/${name}`);

// sources says what the page was built from; web_test.go makes the same.
function sources() {
  const hash = createHash("sha256");
  const names = [...files("sdk/src", ""), ...files("src", ""), "build.mjs", "package-lock.json"].sort();
  for (const name of names) {
    const text = readFileSync(join(root, name));
    hash.update(`${name} ${text.length}\n`).update(text);
  }
  return hash.digest("hex") + "\n";
}

async function page() {
  const result = await build({
    absWorkingDir: root, entryPoints: ["src/app.tsx", "src/app.css", "src/sw.ts"], outdir: "dist", write: false,
    bundle: true, minify: true, format: "esm", target: ["es2022"], jsx: "automatic", jsxImportSource: "preact",
    legalComments: "eof", charset: "utf8", logLevel: "warning",
  });
  const made = new Map(result.outputFiles.map((f) => [f.path.slice(join(root, "dist").length + 1), f.contents]));
  for (const name of ["index.html", "icon.svg"]) made.set(name, readFileSync(join(root, "src", name)));
  const size = [...made.values()].reduce((sum, bytes) => sum + gzipSync(bytes, { level: 9 }).length, 0);
  if (size > GZIP_LIMIT) throw new Error(`the page has ${size} bytes in gzip, more than ${GZIP_LIMIT}`);
  made.set("sources.sha256", Buffer.from(sources()));
  return { made, size };
}

async function test() {
  const out = join(root, ".cache", "test");
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  const entryPoints = [...files("sdk/test", ".test.ts"), ...files("src", ".test.ts")];
  await build({
    absWorkingDir: root, entryPoints, outdir: out, outbase: root, outExtension: { ".js": ".mjs" },
    bundle: true, platform: "node", format: "esm", sourcemap: "inline", logLevel: "warning",
    define: { TESTDATA: JSON.stringify(join(root, "..", "internal", "wire", "testdata")) },
  });
  const tests = entryPoints.map((name) => join(out, name.replace(/\.ts$/, ".mjs")));
  process.exitCode = spawnSync(process.execPath, ["--enable-source-maps", "--test", "--test-reporter=spec", ...tests], { stdio: "inherit" }).status ?? 1;
}

const what = process.argv[2] ?? "build";
if (what === "test") {
  await test();
} else {
  const { made, size } = await page();
  for (const [name, bytes] of made) {
    const file = join(root, "dist", name);
    if (what === "build") {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, bytes);
    } else if (!Buffer.from(bytes).equals(readFileSync(file))) {
      throw new Error(`dist/${name} is not what the sources make: run \`npm run build\` in web/ and commit it`);
    }
  }
  console.log(`dist: ${made.size} files, ${size} bytes in gzip`);
}
