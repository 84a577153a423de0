/** A browser that stores nothing, has no room, or throws away what it stored: no word is lost, and people are told. */
import { editorOf, eventually, expect, expectSaved, openNote, test, textOf } from "./fixtures";

test("without storage nothing can be written, and why is said", async ({ page }) => {
  await page.addInitScript(() => {
    for (const name of ["localStorage", "indexedDB"]) {
      Object.defineProperty(window, name, {
        get() {
          throw new DOMException("denied", "SecurityError");
        },
      });
    }
  });
  await page.goto("/");
  await expect(page.getByRole("heading", { name: "This browser does not let the app store notes." })).toBeVisible();
});

test("without room the text is kept in the editor, then set aside, and is there again once there is room", async ({
  page,
  server,
}) => {
  await server.put("note.md", "words");
  await server.put("other.md", "other words");
  await page.addInitScript(() => {
    const put = IDBObjectStore.prototype.put;
    IDBObjectStore.prototype.put = function (this: IDBObjectStore, ...row: [unknown, IDBValidKey?]) {
      if (sessionStorage.getItem("full")) throw new DOMException("full", "QuotaExceededError");
      return put.apply(this, row);
    };
  });
  await openNote(page, "note.md");
  await page.evaluate(() => sessionStorage.setItem("full", "yes"));
  await editorOf(page).focus();
  await page.keyboard.press("Control+End");
  await page.keyboard.type(" and more");
  await expect(page.getByText("What you wrote last is not saved yet")).toBeVisible();
  const inEditor = page.getByText("It is still in the editor");
  await expect(inEditor).toBeVisible();
  await page.getByRole("treeitem", { name: "other" }).click();
  await expect(page.getByText("What you wrote last in “note” could not be saved. It was set aside")).toBeVisible();
  await expect(inEditor).toBeHidden();
  await page.reload();
  await expect(page.getByText("Some text that you wrote last could not be saved yet.")).toBeVisible();
  await page.evaluate(() => sessionStorage.removeItem("full"));
  await page.reload();
  await openNote(page, "note.md");
  await expect.poll(() => textOf(page)).toBe("words and more");
});

test("whoever closes the tab is asked first if there is no room at all for the text", async ({ page, server }) => {
  await server.put("note.md", "words");
  await page.addInitScript(() => {
    const full = () => document.body.classList.contains("full");
    const [put, set] = [IDBObjectStore.prototype.put, Storage.prototype.setItem];
    IDBObjectStore.prototype.put = function (this: IDBObjectStore, ...row: [unknown, IDBValidKey?]) {
      if (full()) throw new DOMException("full", "QuotaExceededError");
      return put.apply(this, row);
    };
    Storage.prototype.setItem = function (this: Storage, ...item: [string, string]) {
      if (full()) throw new DOMException("full", "QuotaExceededError");
      set.apply(this, item);
    };
  });
  await openNote(page, "note.md");
  await page.evaluate(() => document.body.classList.add("full"));
  await editorOf(page).focus();
  await page.keyboard.press("Control+End");
  await page.keyboard.type(" and more");
  const [question] = await Promise.all([page.waitForEvent("dialog"), page.close({ runBeforeUnload: true })]);
  expect(question.type()).toBe("beforeunload");
  await question.dismiss();
  expect(await textOf(page)).toBe("words and more");
  await page.evaluate(() => document.body.classList.remove("full"));
  await page.keyboard.type(" again");
  await expectSaved(page);
  // Now nothing is asked.
  await Promise.all([page.waitForEvent("close"), page.close({ runBeforeUnload: true })]);
});

test("what was typed when the browser throws its data away is written again", async ({ page, server }) => {
  await server.put("note.md", "words");
  await openNote(page, "note.md");
  await editorOf(page).focus();
  await page.keyboard.press("Control+End");
  await page.evaluate(() => document.body.classList.add("old"));
  await page.keyboard.insertText(" and more");
  await page.evaluate(async () => {
    for (const { name } of await indexedDB.databases()) indexedDB.deleteDatabase(name ?? "");
  });
  await expect(page.locator("body.old")).toBeHidden();
  await expect.poll(() => textOf(page)).toBe("words and more");
  await eventually(
    async () => (await (await fetch(`${server.origin}/api/v1/notes/note.md`)).text()) === "words and more",
    "the server has what was typed",
  );
});
