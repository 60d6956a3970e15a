// What axe-core finds wrong with a page for those who do not see it, or not well.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Holds what a page, or a part of it, shows now against all rules of axe-core, in light and in dark. */
export async function audit({ page, context }, what, part = "html") {
  // By way of the debugger: the page's own policy lets no script in.
  const debug = await context.newCDPSession(page);
  if (!(await page.evaluate(() => "axe" in window))) await debug.send("Runtime.evaluate", { expression: axe });
  await page.emulateMedia({ reducedMotion: "reduce" }); // before colours change
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    const wrong = await page.evaluate(async (part) => {
      // Backgrounds that are still on their way from light to dark are nobody's.
      await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
      for (const one of document.getAnimations()) if (one instanceof CSSTransition) one.finish();
      const { violations, passes } = await window.axe.run(part, { resultTypes: ["violations"] });
      if (passes.length === 0) return ["it looked at nothing"];
      return violations.flatMap((v) => v.nodes.map((n) => `${v.id} (${v.help}): ${n.html} ${n.failureSummary}`));
    }, part);
    assert.deepEqual(wrong, [], `${what}, ${colorScheme}`);
  }
  await page.emulateMedia({ colorScheme: null, reducedMotion: null });
  await debug.detach();
}
