/**
 * Which browser runs the tests: CHROME_PATH if it is set; on Linux x64 the one of @sparticuz/chromium, unpacked beside
 * the packages with all that it needs; elsewhere an installed Chrome.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import type { LaunchOptions } from "@playwright/test";

const HOME = join(dirname(fileURLToPath(import.meta.url)), "../../node_modules/.cache/chromium");
const FONTS = join(HOME, "fonts.conf");
const IS_PACKAGED = !process.env.CHROME_PATH && process.platform === "linux" && process.arch === "x64";

/** Where the package's own fonts are, for it looks in the system's temporary folder; with no font the browser crashes. */
const FONTS_CONFIG = `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>${escaped(join(HOME, "fonts"))}</dir>
  <cachedir>${escaped(join(HOME, "fonts-cache"))}</cachedir>
</fontconfig>
`;

/** Unpack the browser, once. */
export async function unpack(): Promise<void> {
  if (!IS_PACKAGED) return;
  mkdirSync(HOME, { recursive: true });
  writeFileSync(FONTS, FONTS_CONFIG);
  if (existsSync(join(HOME, "chromium"))) return;
  // The package unpacks to the system's temporary folder, and its libraries only where it takes itself for a function
  // in a cloud. Here it gets a folder of its own, and the libraries of every system are the same.
  const before = { ...process.env };
  Object.assign(process.env, { TMPDIR: HOME, AWS_EXECUTION_ENV: "AWS_Lambda_nodejs20.x" });
  try {
    const { default: chromium } = await import("@sparticuz/chromium");
    await chromium.executablePath();
  } finally {
    for (const name of Object.keys(process.env)) if (!(name in before)) Reflect.deleteProperty(process.env, name);
    Object.assign(process.env, before);
  }
}

/** Return how Playwright starts it. The package's own arguments would switch web security off: only one is needed. */
export function launchOptions(): LaunchOptions {
  if (process.env.CHROME_PATH) return { executablePath: process.env.CHROME_PATH };
  if (!IS_PACKAGED) return { channel: "chrome" };
  const own = { LD_LIBRARY_PATH: join(HOME, "al2023/lib"), FONTCONFIG_FILE: FONTS };
  const env = Object.fromEntries(
    Object.entries({ ...process.env, ...own }).filter((pair): pair is [string, string] => pair[1] !== undefined),
  );
  return { executablePath: join(HOME, "chromium"), args: ["--no-sandbox"], env };
}

function escaped(path: string): string {
  return path.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
