/** The icons as pictures, for systems that want no SVG. */
import { test } from "@playwright/test";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const ICONS = fileURLToPath(new URL("../../public/icons/", import.meta.url));

const SIZES = [
  ["tidenote", 180],
  ["tidenote", 192],
  ["tidenote", 512],
  ["maskable", 512],
] as const;

for (const [name, size] of SIZES) {
  test(`${name} in ${String(size)} px`, async ({ page }) => {
    const drawing = await readFile(`${ICONS}${name}.svg`, "utf-8");
    await page.setViewportSize({ width: size, height: size });
    await page.setContent(`<style>body { margin: 0 } svg { display: block }</style>${drawing}`);
    await page.screenshot({ path: `${ICONS}${name}-${String(size)}.png`, omitBackground: true });
  });
}
