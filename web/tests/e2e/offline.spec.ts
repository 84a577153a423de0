/** Without a network: the app starts, notes are written, and all of it arrives later. */
import { editorOf, eventually, expect, openApp, openNote, test, textOf } from "./fixtures";

test("offline edits survive a reload, and arrive on return", async ({ page, context, folder }) => {
  await folder.write("Ideas/boat.md", "# A boat\n");
  await openNote(page, "Ideas/boat.md");
  await page.evaluate(async () => {
    await navigator.serviceWorker.ready;
  });
  await expect.poll(() => page.evaluate(() => navigator.serviceWorker.controller !== null)).toBe(true);
  await context.setOffline(true);
  await expect(page.getByRole("button", { name: /Connection details: Offline/ })).toBeVisible();
  await editorOf(page).focus();
  await page.keyboard.press("Control+End");
  await page.keyboard.type("written on a train");
  await expect(page.getByText("In this browser, not on the server yet")).toBeVisible();
  await page.reload();
  await expect(editorOf(page)).toContainText("written on a train");
  await page.keyboard.press("Alt+n");
  await page.getByRole("textbox", { name: "Name, with folders" }).fill("Train");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { level: 1, name: "Train" }).first()).toBeVisible();
  await page.goto("/#/search?q=boat");
  await expect(page.getByText("Offline: only names are searched.")).toBeVisible();
  await expect(page.getByRole("link", { name: /boat/ })).toBeVisible();
  expect(await folder.read("Train.md")).toBeNull();
  await context.setOffline(false);
  await eventually(
    async () =>
      (await folder.read("Ideas/boat.md")) === "# A boat\nwritten on a train" &&
      (await folder.read("Train.md")) !== null,
    "the folder has what was written offline",
  );
});

test("what was typed the moment before a tab goes away is there when it comes back", async ({
  page,
  context,
  server,
}) => {
  await server.put("note.md", "words");
  await openNote(page, "note.md");
  await editorOf(page).focus();
  await page.keyboard.press("Control+End");
  await page.keyboard.insertText(" and a last one");
  await page.goto("about:blank");
  const again = await context.newPage();
  await openNote(again, "note.md");
  await expect.poll(() => textOf(again)).toBe("words and a last one");
});

test("what was typed in a tab that goes away is in the one that stays", async ({ page, context, server }) => {
  await server.put("note.md", "words");
  await openNote(page, "note.md");
  const other = await context.newPage();
  await openNote(other, "note.md");
  await editorOf(other).focus();
  await other.keyboard.press("Control+End");
  await other.keyboard.insertText(" and a last one");
  await other.close({ runBeforeUnload: true });
  await expect.poll(() => textOf(page)).toBe("words and a last one");
});

test("a network that swallows everything keeps nobody from their notes", async ({ page, server }) => {
  await server.put("note.md", "words");
  await openNote(page, "note.md");
  await page.route("**/api/v1/**", () => undefined);
  await page.reload();
  await expect.poll(() => textOf(page)).toBe("words");
});

test("a server that goes away and comes back is noticed by itself", async ({ page, server }) => {
  await server.put("note.md", "words");
  await openNote(page, "note.md");
  await server.stop();
  await expect(page.getByRole("button", { name: /Connection details: Offline/ })).toBeVisible();
  await editorOf(page).focus();
  await page.keyboard.press("Control+End");
  await page.keyboard.type(" and more");
  await server.start();
  await expect(page.getByText(/^On the server/)).toBeVisible();
  expect(await textOf(page)).toBe("words and more");
});

test("the app can be installed", async ({ page, request }) => {
  await openApp(page);
  const address = await page.locator('link[rel="manifest"]').getAttribute("href");
  const manifest = (await (await request.get(address ?? "")).json()) as { icons: { src: string; sizes: string }[] };
  for (const icon of manifest.icons) expect((await request.get(icon.src)).ok()).toBe(true);
  expect(manifest.icons.map((icon) => icon.sizes)).toContain("512x512");
});
