/** Who gets in, who does not, and who is thrown out: one-time links, roles, revocation. */
import type { Page } from "@playwright/test";
import { readFile } from "node:fs/promises";

import { anotherBrowser, editorOf, eventually, expect, openNote, test } from "./fixtures";
import { expirePairings, type Server } from "./processes";

test.use({ auth: true });

/** Open a one-time link, and pair under a name. */
async function pair(page: Page, link: string, name: string): Promise<void> {
  await page.goto(link);
  await page.getByRole("textbox", { name: "Name of this device" }).fill(name);
  await page.getByRole("button", { name: "Pair", exact: true }).click();
  await expect(page.getByRole("button", { name: /Connection details: Connected/ })).toBeVisible();
}

/** Become the owner by the link that the first start prints. */
async function own(page: Page, server: Server): Promise<void> {
  const link = /within 10 minutes: (\S+)/.exec(server.output)?.[1];
  await pair(page, link ?? "", "desk");
}

/** Make a link in the browser of an owner; return it. */
async function makeLink(page: Page, role: "reads" | "reads and writes", name = ""): Promise<string> {
  await page.goto("/#/devices");
  await page.getByRole("button", { name: "Pair a device" }).click();
  const dialog = page.getByRole("dialog", { name: "Pair a device" });
  await dialog.getByRole("textbox", { name: "Name of the device" }).fill(name);
  await dialog.getByLabel("What it may do").selectOption({ label: role });
  await dialog.getByRole("button", { name: "Make a link" }).click();
  const link = page.getByRole("dialog").getByText(/^http\S+#pair=\S+$/);
  await expect(page.getByRole("img", { name: "The link as a QR code" })).toBeVisible();
  return (await link.textContent()) ?? "";
}

test("a link lets one browser in, once, and leaves the address", async ({ page, context, server }) => {
  await page.goto(server.origin);
  await expect(page.getByRole("heading", { name: "This browser is not paired yet" })).toBeVisible();
  await own(page, server);
  expect(page.url()).not.toContain("pair=");
  const cookies = await context.cookies();
  expect(cookies).toEqual([expect.objectContaining({ httpOnly: true, sameSite: "Strict", path: "/" })]);
  // No script can read what opens the vault, in the page or in its storage.
  const stored = await page.evaluate(() => document.cookie + JSON.stringify({ ...localStorage, ...sessionStorage }));
  expect(stored).not.toContain(cookies[0]?.value ?? "");

  const link = await makeLink(page, "reads and writes", "phone");
  expect(link).toMatch(new RegExp(`^${server.origin}/#pair=`));
  const phone = await anotherBrowser(context);
  await pair(phone, link, "ignored");
  await expect(phone.getByText("The link was made for “phone”")).toBeVisible();
  await expect(page.getByRole("dialog").getByText("phone is paired.")).toBeVisible();

  const stranger = await anotherBrowser(context);
  await stranger.goto(link);
  await expect(stranger).not.toHaveURL(/pair=/);
  await stranger.getByRole("button", { name: "Pair", exact: true }).click();
  await expect(stranger.getByRole("heading", { name: "This link was used already, or has ended." })).toBeVisible();
  expect((await stranger.request.get("/api/v1/notes")).status()).toBe(401);
});

test("a link ends after ten minutes", async ({ page, context, server }) => {
  await own(page, server);
  await page.clock.install();
  const link = await makeLink(page, "reads and writes");
  await page.clock.fastForward("10:01");
  await expect(page.getByText("This link has ended. Make another.")).toBeVisible();

  await expirePairings(server);
  const late = await anotherBrowser(context);
  await late.goto(link);
  await late.getByRole("button", { name: "Pair", exact: true }).click();
  await expect(late.getByRole("heading", { name: "This link was used already, or has ended." })).toBeVisible();
});

test("a reader reads, and is asked to change nothing", async ({ page, context, server }) => {
  await own(page, server);
  expect((await page.request.put("/api/v1/notes/Trip.md", write(server, "- [ ] milk\n"))).ok()).toBe(true);
  const reader = await anotherBrowser(context);
  await pair(reader, await makeLink(page, "reads"), "reader");
  await openNote(reader, "Trip.md");
  await expect(editorOf(reader)).toContainText("milk");
  await expect(editorOf(reader)).toHaveAttribute("contenteditable", "false");
  await expect(reader.getByRole("checkbox", { name: "milk" })).toBeDisabled();
  expect((await reader.request.put("/api/v1/notes/New.md", write(server, "x"))).status()).toBe(403);
  const asked = { data: { device_id: null, role: "owner" }, headers: { Origin: server.origin } };
  expect((await reader.request.post("/api/v1/pair", asked)).status()).toBe(403);

  await reader.goto("/#/devices");
  await expect(reader.getByRole("heading", { name: /^reader/ })).toBeVisible();
  await expect(reader.getByRole("button", { name: "Pair a device" })).toHaveCount(0);
  await expect(reader.getByRole("button", { name: /^Revoke/ })).toHaveCount(0);
});

test("a revoked browser is cut off while it is open, and keeps what was not sent", async ({
  page,
  context,
  server,
}) => {
  await own(page, server);
  const phone = await anotherBrowser(context);
  await pair(phone, await makeLink(page, "reads and writes", "phone"), "phone");
  await phone.goto("/#/note/Lost.md");
  expect((await page.request.put("/api/v1/notes/Lost.md", write(server, "before\n"))).ok()).toBe(true);
  await expect(editorOf(phone)).toContainText("before");

  await page.goto("/#/devices");
  await page.reload();
  await page.getByRole("button", { name: "Revoke phone" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Revoke", exact: true }).click();
  await expect(page.getByText("phone is cut off.")).toBeVisible();
  await expect(phone.getByText("The server does not know this browser any more.")).toBeVisible();
  await editorOf(phone).click();
  await phone.keyboard.press("Control+Home");
  await phone.keyboard.type("not sent ");
  const attached = { name: "old.csv", mimeType: "text/csv", buffer: Buffer.from([0xfc]) };
  await phone.locator("input[type=file]").setInputFiles(attached);
  await expect(phone.getByText(/2 changes wait/).first()).toBeVisible();

  // After a reload, too; and with a new link everything goes where it was meant to go.
  await phone.reload();
  await expect(phone.getByRole("heading", { name: "This browser was revoked" })).toBeVisible();
  await expect(phone.getByText("2 notes have words that the server does not have")).toBeVisible();
  const download = phone.waitForEvent("download");
  await phone.getByRole("button", { name: "Download: attachments/old.csv" }).click();
  expect(await readFile(await (await download).path())).toEqual(attached.buffer);
  await pair(phone, await makeLink(page, "reads and writes"), "phone");
  await eventually(
    async () =>
      (await (await page.request.get("/api/v1/notes/Lost.md")).text()) ===
      "not sent [old.csv](attachments/old.csv)before\n",
    "the server has what was not sent",
  );
});

test("an open browser is told at once that it was revoked", async ({ page, context, server }) => {
  await own(page, server);
  const phone = await anotherBrowser(context);
  await pair(phone, await makeLink(page, "reads and writes", "phone"), "phone");
  const started = Date.now();
  const asked = { data: { device_id: "phone" }, headers: { Origin: server.origin } };
  expect((await page.request.post("/api/v1/devices/revoke", asked)).ok()).toBe(true);
  await expect(phone.getByText(/does not know this browser any more|was revoked/).first()).toBeVisible();
  test.info().annotations.push({ type: "revoked after", description: `${String(Date.now() - started)} ms` });
});

/** What a `PUT` of a note needs from a browser: its cookie comes by itself. */
function write(server: Server, data: string) {
  return { data, headers: { "If-None-Match": "*", Origin: server.origin, "Content-Type": "text/markdown" } };
}

test("who signs out with words that the server does not have is told", async ({ page, server }) => {
  await page.goto(server.origin);
  await own(page, server);
  await page.routeWebSocket("**/ws/sync*", (socket) => socket.close());
  await page.route("**/api/v1/sync*", (route) => route.abort());
  await page.reload();
  await page.getByRole("button", { name: "New note" }).first().click();
  await page.getByRole("textbox", { name: "Name, with folders" }).fill("Train");
  await page.keyboard.press("Enter");
  await expect(page.getByText("In this browser, not on the server yet")).toBeVisible();
  await page.getByRole("button", { name: "Sign out of this browser" }).click();
  const dialog = page.getByRole("dialog", { name: "Sign out of this browser" });
  await expect(dialog.getByText("The server does not have 1 change of yours.")).toBeVisible();
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await expect(dialog).toBeHidden();
  await page.getByRole("button", { name: "Sign out of this browser" }).click();
  let answer = (): void => undefined;
  const held = new Promise<void>((resolve) => (answer = resolve));
  await page.route("**/api/v1/logout*", async (route) => {
    await held;
    await route.continue();
  });
  await dialog.getByRole("button", { name: "Sign out now" }).click();
  await expect(page.getByRole("button", { name: "Signing out" })).toBeVisible();
  answer();
  await expect(page.getByRole("heading", { name: "This browser is not paired yet" })).toBeVisible();
});

test("signing out takes the notes out of the browser, in all its tabs", async ({ page, context, server }) => {
  await page.goto(server.origin);
  await own(page, server);
  await page.request.put("/api/v1/notes/Secret.md", write(server, "told to nobody"));
  const other = await context.newPage();
  for (const tab of [page, other]) {
    await openNote(tab, "Secret.md");
    await expect(editorOf(tab)).toHaveText("told to nobody");
  }
  await page.getByRole("button", { name: "Sign out of this browser" }).click();
  for (const tab of [page, other]) {
    await expect(tab.getByRole("heading", { name: "This browser is not paired yet" })).toBeVisible();
    const stored = () => tab.evaluate(async () => (await indexedDB.databases()).length);
    await eventually(async () => (await stored().catch(() => -1)) === 0, "nothing is stored");
  }
});
