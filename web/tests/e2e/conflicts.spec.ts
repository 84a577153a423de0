import type { Page } from "@playwright/test";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { push, siblings, tie, write } from "./concurrent";
import { anotherBrowser, eventually, expect, openApp, openNote, test } from "./fixtures";
import type { Folder, Server } from "./processes";

const KEY = "note:Trip.md";
const BEFORE = "# Trip\n\nWe fly at five.\n\nBring:\n- passport\n";
const PHONE = "# Trip\n\nWe fly at six.\n\nBring:\n- passport\n- sunscreen\n";
const TABLET = "# Trip\n\nWe fly at seven.\n\nBring:\n- passport\n";

/** A note that the laptop's folder has, and that two others changed at the same time. */
async function tiedNote(server: Server, folder: Folder): Promise<void> {
  await folder.write("Trip.md", BEFORE);
  await eventually(async () => (await siblings(server, KEY)).length === 1, "the note is on the server");
  await tie(server, KEY, PHONE, TABLET);
}

/** Open the conflict as a person would: by the queue. */
async function openConflict(page: Page, name = "Trip.md"): Promise<void> {
  await openApp(page, "/#/conflicts");
  await page.getByRole("main").getByRole("link", { name }).click();
  await expect(page.getByRole("heading", { name: `Settle "${name}"` })).toBeVisible();
}

function result(page: Page) {
  return page.getByRole("textbox", { name: "The note will be" });
}

async function resultText(page: Page): Promise<string> {
  const lines = await result(page).locator(".cm-line").allInnerTexts();
  return lines.map((line) => line.replace(/\n$/, "")).join("\n");
}

test("a tie opens in both browsers, is settled in one, closes in the other, and the folder gets it", async ({
  page,
  context,
  server,
  folder,
}) => {
  await openApp(page);
  const other = await anotherBrowser(context);
  await openApp(other);
  await tiedNote(server, folder);

  for (const one of [page, other]) {
    await expect(one.getByRole("link", { name: /Conflicts/ }).first()).toContainText("1 conflict to settle");
    await openConflict(one);
    await expect(one.getByText(/phone and tablet changed this note/)).toBeVisible();
    await expect(one.getByRole("group", { name: /^Place \d of \d/ })).toHaveCount(2);
  }

  // Both wordings stand in the proposal until a person chooses.
  expect(await resultText(page)).toContain("We fly at six.\nWe fly at seven.");
  const flight = page.getByRole("group", { name: "Place 1 of 2" });
  await expect(flight.locator("mark")).toHaveText(["six", "seven"]);
  await flight.getByText("What tablet wrote").click();
  expect(await resultText(page)).toContain("We fly at seven.");
  expect(await resultText(page)).not.toContain("six");
  await page.getByRole("button", { name: "Use this text" }).click();

  await expect(page.getByText("Nothing to settle")).toBeVisible();
  await expect(other.getByRole("heading", { name: "This is settled already" })).toBeVisible();
  const settled = "# Trip\n\nWe fly at seven.\n\nBring:\n- passport\n- sunscreen\n";
  await eventually(async () => (await folder.read("Trip.md")) === settled, "the folder has what was chosen");
  await other.context().close();
});

test("a merge that is fine leaves the list, and can be opened again", async ({ page, server }) => {
  await write(server, "laptop", KEY, "milk\nbread\n");
  await tie(server, KEY, "eggs\nmilk\nbread\n", "milk\nbread\ntea\n");
  await openConflict(page);
  await expect(page.getByRole("heading", { name: "Changed at the same time" })).toBeVisible();
  await expect(page.getByRole("button", { name: "Use this text" })).toBeDisabled();
  await page.getByRole("button", { name: "The merge is fine" }).click();
  await expect(page.getByText("Nothing to settle")).toBeVisible();
  expect((await siblings(server, KEY)).map((change) => [change.value, change.conflict])).toEqual([
    ["eggs\nmilk\nbread\ntea\n", undefined],
  ]);

  await page.getByRole("status").getByRole("button", { name: "Undo" }).click();
  await expect(page.getByRole("heading", { name: "Changed at the same time" })).toBeVisible();
});

test("keeping one, and keeping both as two notes", async ({ page, server }) => {
  await tie(server, KEY, "met Ada\n", "call Bob\n");
  await tie(server, "note:Other.md", "one\n", "two\n");
  await openConflict(page);
  await expect(page.getByRole("heading", { name: "This note was written more than once" })).toBeVisible();
  await page.getByRole("button", { name: "Keep both as two notes" }).click();

  // The next conflict opens by itself.
  await expect(page.getByRole("heading", { name: 'Settle "Other.md"' })).toBeVisible();
  await page.getByRole("button", { name: "Keep this one: phone" }).click();
  await expect(page.getByText("Nothing to settle")).toBeVisible();
  const text = async (key: string) => (await siblings(server, key)).map((change) => change.value);
  expect(await text(KEY)).toEqual(["call Bob\n"]);
  expect(await text("note:Trip (2).md")).toEqual(["met Ada\n"]);
  expect(await text("note:Other.md")).toEqual(["one\n"]);
});

test("a note with several versions is neither deleted nor renamed in part", async ({ page, server }) => {
  await tie(server, KEY, "phone text\n", "tablet text\n");
  const before = await siblings(server, KEY);
  const settle = page.getByRole("heading", { name: 'Settle "Trip.md"' });
  await openNote(page, "Trip.md");
  await expect(page.getByRole("alert")).toContainText("Several devices changed this");
  await page.getByRole("button", { name: "Note", exact: true }).click();
  await page.getByRole("menuitem", { name: "Delete" }).click();
  await expect(settle).toBeVisible();
  await expect(page.getByText(/has several versions. Settle them/)).toBeVisible();

  await page.goBack();
  await page.keyboard.press("Alt+r");
  await page.getByRole("textbox", { name: "Name, with folders" }).fill("Holiday");
  await page.keyboard.press("Enter");
  await expect(settle).toBeVisible();
  expect(await siblings(server, KEY)).toEqual(before);
});

test("who writes while another one looks is not overwritten, nor is what was typed", async ({ page, server }) => {
  await tie(server, KEY, "met Ada\n", "call Bob\n");
  await openConflict(page);
  await result(page).click();
  await page.keyboard.press("Control+End");
  await page.keyboard.type("my own words");
  await write(server, "laptop", KEY, "met Ada, call Bob\n");

  await expect(page.getByText("This is settled already")).toBeVisible();
  await expect(page.getByRole("textbox", { name: "What you wrote" })).toHaveValue(/my own words/);

  await tie(server, "note:Third.md", "one\n", "two\n");
  await openConflict(page, "Third.md");
  await result(page).click();
  await page.keyboard.type("mine ");
  await tie(server, "note:Third.md", "three\n", "four\n");
  await expect(page.getByText("The note changed while you were looking")).toBeVisible();
  await expect(page.getByRole("button", { name: "Use this text" })).toBeDisabled();
  expect(await resultText(page)).toContain("mine ");
  await page.getByRole("button", { name: "Show how it is now" }).click();
  await expect(page.getByText("three").first()).toBeVisible();
});

test("a conflict is settled with the keyboard only", async ({ page, server, folder }) => {
  await tiedNote(server, folder);
  await openApp(page);
  await page.keyboard.press("g");
  await page.keyboard.press("c");
  await expect(page.getByRole("heading", { name: "Conflicts", level: 1 })).toBeVisible();
  const entry = page.getByRole("main").getByRole("link", { name: "Trip.md" });
  await entry.focus();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("group", { name: "Place 1 of 2" })).toBeVisible();

  await page.keyboard.press("j");
  await expect(page.getByRole("radio", { name: "Both" })).toBeFocused();
  await page.keyboard.press("ArrowLeft");
  await expect(page.getByRole("radio", { name: "What tablet wrote" })).toBeChecked();
  await page.keyboard.press("j");
  await expect(page.getByRole("group", { name: "Place 2 of 2" }).getByRole("radio", { checked: true })).toBeFocused();
  await page.keyboard.press("Control+Enter");
  await expect(page.getByText("Nothing to settle")).toBeVisible();
  await eventually(async () => (await folder.read("Trip.md"))?.includes("at seven") ?? false, "the folder has it");
});

test("what is typed into a conflict has the line ends of its note", async ({ page, server }) => {
  await write(server, "laptop", KEY, "# Trip\r\n");
  await tie(server, KEY, "# Trip\r\nAt six.\r\n", "# Trip\r\nAt seven.\r\n");
  await openConflict(page);
  await page.getByRole("group", { name: "Place 1 of 1" }).getByText("What tablet wrote").click();
  await result(page).focus();
  await page.keyboard.press("Control+End");
  await page.keyboard.type("Bring:\n- passport\n");
  await page.reload();
  await expect(result(page)).toContainText("passport");
  await page.getByRole("button", { name: "Use this text" }).click();
  await expect(page.getByText(/^Settled\./)).toBeVisible();
  const note = await fetch(`${server.origin}/api/v1/notes/Trip.md`);
  expect(await note.text()).toBe("# Trip\r\nAt seven.\r\nBring:\r\n- passport\r\n");
});

test("a choice that the server does not hear is not lost, and can be made again", async ({ page, server }) => {
  await tie(server, KEY, "met Ada\n", "call Bob\n");
  await openConflict(page);
  await page.getByRole("radio", { name: "What phone wrote" }).check({ force: true });
  await page.route("**/conflicts/resolve?*", (route) => route.abort());
  await page.getByRole("button", { name: "Use this text" }).click();
  await expect(page.getByText(/The server cannot be reached/).first()).toBeVisible();
  expect(await resultText(page)).toBe("met Ada\n");

  await page.unroute("**/conflicts/resolve?*");
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByRole("button", { name: "Use this text" }).click();
  await expect(page.getByText("Nothing to settle")).toBeVisible();
  expect((await siblings(server, KEY)).map((change) => change.value)).toEqual(["met Ada\n"]);
});

test("without the server a conflict can be thought over, and what was written survives a reload", async ({
  page,
  server,
}) => {
  await tie(server, KEY, "met Ada\n", "call Bob\n");
  await openConflict(page);
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
  await server.stop();
  await expect(page.getByText("settle it when you are connected again")).toBeVisible();
  await expect(page.getByRole("button", { name: "Use this text" })).toBeDisabled();
  await page.getByRole("radio", { name: "What phone wrote" }).check({ force: true });
  await result(page).click();
  await page.keyboard.press("Control+End");
  await page.keyboard.type("in words of my own");
  await page.reload();
  await expect(page.getByRole("textbox", { name: "What you wrote" })).toHaveValue("met Ada\nin words of my own");

  await server.start();
  await expect(page.getByRole("button", { name: "Use this text" })).toBeEnabled();
  expect(await resultText(page)).toBe("met Ada\nin words of my own");
  await page.getByRole("button", { name: "Use this text" }).click();
  await expect(page.getByText("Nothing to settle")).toBeVisible();
  expect((await siblings(server, KEY)).map((change) => change.value)).toEqual(["met Ada\nin words of my own"]);

  // It was settled: the next conflict of this note begins with its own proposal.
  await tie(server, KEY, "one\n", "two\n");
  await openConflict(page);
  expect(await resultText(page)).not.toContain("my own");
});

/** The smallest pictures there are: one pixel, white and black. */
const PICTURES = {
  phone: "R0lGODdhAQABAIAAAP///////ywAAAAAAQABAAACAkQBADs=",
  tablet: "R0lGODdhAQABAIAAAAAAAAAAACwAAAAAAQABAAACAkQBADs=",
};

test("different pictures of one name are shown, and both can be kept", async ({ page, folder, server }) => {
  for (const [device_id, picture] of Object.entries(PICTURES)) {
    const bytes = Buffer.from(picture, "base64");
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    const upload = { method: "PUT", body: bytes, headers: { "Upload-Length": String(bytes.length) } };
    expect((await fetch(`${server.origin}/api/v1/blobs/${sha256}`, upload)).ok).toBe(true);
    // Whatever the author says that it is, it is shown as its name says, and never as a page.
    const blob = { sha256, size: bytes.length, media_type: "text/html" };
    await push(server, device_id, [{ key: "file:map.gif", value: "", timestamp: 5, device_id, base: [], blob }]);
  }
  await openConflict(page, "map.gif");
  for (const name of Object.keys(PICTURES)) {
    const shown = page.getByRole("img", { name: `The picture from ${name}` });
    await expect.poll(() => shown.evaluate((image: HTMLImageElement) => image.naturalWidth)).toBe(1);
  }
  await page.getByRole("button", { name: "Keep both as two notes" }).click();
  const inFolder = async (name: string) =>
    (await readFile(join(folder.path, name)).catch(() => null))?.toString("base64");
  await eventually(async () => (await inFolder("map.gif")) === PICTURES.tablet, "the folder has the one");
  await eventually(async () => (await inFolder("map (2).gif")) === PICTURES.phone, "the folder has the other");
});
