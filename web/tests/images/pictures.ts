/** Takes pictures of the app as it is: in both colours, on a phone and on a desk. */
import type { Page } from "@playwright/test";
import { fileURLToPath } from "node:url";

const FOLDER = fileURLToPath(new URL("../../../docs/images/", import.meta.url));

/** Draw what `show` opens, as `docs/images/NAME-COLOUR-WIDTH.png`. */
export async function takePicture(page: Page, name: string, show: () => Promise<void>): Promise<void> {
  for (const width of [360, 1280]) {
    await page.setViewportSize({ width, height: width === 360 ? 720 : 800 });
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await show();
      await page.evaluate(() => document.fonts.ready);
      await page.screenshot({ path: `${FOLDER}${name}-${colorScheme}-${String(width)}.png`, animations: "disabled" });
    }
  }
}
