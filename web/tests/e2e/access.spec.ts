/** What axe finds, on every page, in both colours and both widths. */
import type { Page } from "@playwright/test";
import type { AxeResults } from "axe-core";
import axe from "axe-core";

import { tie, write } from "./concurrent";
import { expect, openApp, test } from "./fixtures";

// The policy lets no foreign script in, and axe is one; what it looks at is the same.
test.use({ bypassCSP: true });

const PAGES = [
  "notes",
  "note/Ideas/boat.md",
  "search?q=boat",
  "conflicts",
  "conflict/Trip.md",
  "conflict/Two.md",
  "holds",
  "trash",
  "devices",
  "vaults",
  "history/Ideas/boat.md",
  "history/Gone.md",
  "moment",
  "pair",
];

declare global {
  interface Window {
    axe: { run(options: object): Promise<AxeResults> };
  }
}

async function expectAccessible(page: Page, where: string): Promise<void> {
  const { violations } = await page.evaluate(() => window.axe.run({ resultTypes: ["violations"] }));
  const found = violations
    .filter(({ impact }) => impact !== "minor")
    .map(
      ({ id, nodes }) =>
        `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary ?? ""}`).join("; ")}`,
    );
  expect(found, where).toEqual([]);
}

for (const width of [360, 1280]) {
  for (const colorScheme of ["light", "dark"] as const) {
    test(`no problem that matters at ${String(width)} px in ${colorScheme}`, async ({ page, server }) => {
      await server.seed([
        [
          "note:Ideas/boat.md",
          "---\ntags: [a]\n---\n# A boat\n\n- [ ] *measure* the [[garage]]\n\n> #wood `code`\n\n| a | b |\n|--|--|\n| 1 | 2 |\n",
        ],
        ["note:Donaudampfschifffahrtsgesellschaftskapitänsmützenknopf.md", "# Lang\n"],
      ]);
      await write(server, "laptop", "note:Trip.md", "# Trip\n\nWe fly at five.\n");
      await tie(server, "note:Trip.md", "# Trip\n\nWe fly at six.\n", "# Trip\n\nWe fly at seven.\n- sunscreen\n");
      await tie(server, "note:Two.md", "one\n", "two\n");
      await tie(server, "note:Two.md", "three\n", "four\n");
      await write(server, "laptop", "note:Gone.md", "gone\n");
      await write(server, "laptop", "note:Gone.md", null);
      const holds = [{ kind: "delete_out", keys: ["note:a.md"], count: 1, since: 1 }];
      const report = { method: "PUT", body: JSON.stringify({ holds }) };
      expect((await fetch(`${server.origin}/api/v1/holds?device_id=laptop`, report)).ok).toBe(true);
      await page.setViewportSize({ width, height: 800 });
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await openApp(page);
      await page.addScriptTag({ content: axe.source });
      for (const where of PAGES) {
        await page.goto(`/#/${where}`);
        await expect(page.locator("h1").first()).toBeVisible();
        await expect(page.locator("main")).not.toContainText("Loading");
        await expectAccessible(page, where);
        // Nothing is wider than the window.
        expect(await page.evaluate(() => document.documentElement.scrollWidth), where).toBe(width);
      }
      await page.goto("/#/notes");
      // In a low window what a dialog says has to be scrolled, by keyboard, too.
      await page.setViewportSize({ width, height: 400 });
      for (const [keys, name] of [
        ["?", "Keyboard shortcuts"],
        ["Control+k", "Open a note"],
        ["Alt+n", "New note"],
      ] as const) {
        await page.keyboard.press(keys);
        await expect(page.getByRole("dialog", { name })).toBeVisible();
        await expectAccessible(page, name);
        await page.keyboard.press("Escape");
      }
    });
  }
}

test("words of German length break nothing, at 360 px and at 1280", async ({ page, server }) => {
  await server.seed([["note:Ideas/boat.md", "# A boat\n"]]);
  for (const width of [360, 1280]) {
    await page.setViewportSize({ width, height: 800 });
    await openApp(page);
    for (const where of PAGES) {
      await page.goto(`/#/${where}`);
      await expect(page.locator("h1").first()).toBeVisible();
      await expect(page.locator("main")).not.toContainText("Loading");
      await page.evaluate(stretch);
      expect(await page.evaluate(() => document.documentElement.scrollWidth), where).toBe(width);
      // What can be pressed stays inside of the window.
      const outside = await page.evaluate(() =>
        [...document.querySelectorAll("button, a, input")]
          .filter((element) => element.checkVisibility({ checkVisibilityCSS: true }))
          .filter((element) => !element.closest(".skip, .visually-hidden, [tabindex='-1']"))
          .filter((element) => element.getBoundingClientRect().right > innerWidth + 1)
          .map((element) => element.outerHTML),
      );
      expect(outside, where).toEqual([]);
      await page.reload();
    }
  }
});

/** Make every word of the page longer, as a translation does, and one in three very long. */
function stretch(): void {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let count = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    node.textContent = (node.textContent ?? "").replace(/\p{L}{3,}/gu, (word) => {
      count += 1;
      return count % 3 ? `${word}ungen` : `${word}sbenachrichtigungsverarbeitung`;
    });
  }
}
