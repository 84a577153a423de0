/** What the tests in the browser share: a server, a folder, and how a person gets about. */
import { test as base, type BrowserContext, expect, type Page } from "@playwright/test";
import { rm } from "node:fs/promises";
import { join } from "node:path";

import { eventually, Folder, Server, temporaryFolder } from "./processes";

export interface World {
  /** A temporary folder. */
  readonly root: string;
  /** Whether the server asks who is there; `test.use({ auth: true })`. */
  readonly auth: boolean;
  readonly server: Server;
  /** A real folder daemon, as the device `laptop`. */
  readonly folder: Folder;
}

export const test = base.extend<World>({
  auth: [false, { option: true }],

  root: async ({}, use) => {
    const root = await temporaryFolder();
    await use(root);
    await rm(root, { recursive: true, force: true });
  },

  server: async ({ root, auth }, use) => {
    const server = new Server(join(root, "data"), auth);
    await server.start();
    await use(server);
    await server.stop();
  },

  folder: async ({ root, server }, use) => {
    const folder = new Folder(join(root, "laptop"), server, "laptop");
    await folder.start();
    await use(folder);
    await folder.stop();
  },

  // Whatever a test looks at: no script of the app may fail meanwhile.
  page: async ({ page }, use) => {
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(error.stack ?? error.message));
    await use(page);
    expect(errors).toEqual([]);
  },

  baseURL: async ({ server }, use) => use(server.origin),
});

export { eventually, expect };

/** Open the app, and wait until it is connected. */
export async function openApp(page: Page, address = "/"): Promise<void> {
  await page.goto(address);
  await expect(page.getByRole("button", { name: /Connection details: Connected/ })).toBeVisible();
}

/** Return the text field of the open note. */
export function editorOf(page: Page) {
  return page.locator(".cm-content");
}

/** Open a note by its address, and wait until it can be written. */
export async function openNote(page: Page, path: string): Promise<void> {
  await openApp(page, `/#/note/${path.split("/").map(encodeURIComponent).join("/")}`);
  await expect(editorOf(page)).toBeVisible();
}

/** Return the text of the open note, line for line. */
export function textOf(page: Page): Promise<string> {
  return editorOf(page).evaluate((content) =>
    [...content.querySelectorAll(".cm-line")].map((line) => line.textContent).join("\n"),
  );
}

/** Wait until the open note has a text, in this browser and as others see it: nothing waits to be sent. */
export async function expectSaved(page: Page): Promise<void> {
  await expect(page.getByText(/^On the server/)).toBeVisible();
}

/** Another browser: its own storage, and so a device of its own. */
export async function anotherBrowser(context: BrowserContext): Promise<Page> {
  const browser = context.browser();
  if (!browser) throw new Error("there is no browser");
  const other = await browser.newContext({ baseURL: new URL(context.pages()[0]?.url() ?? "").origin });
  return other.newPage();
}
