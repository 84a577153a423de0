/** The main paths without a pointer. */
import { editorOf, eventually, expect, openApp, openNote, test } from "./fixtures";

test("create, write, link, find, rename and delete by keyboard alone", async ({ page, folder }) => {
  await openApp(page);
  await page.keyboard.press("?");
  await expect(page.getByRole("dialog", { name: "Keyboard shortcuts" })).toBeVisible();
  await page.keyboard.press("Escape");

  await page.keyboard.press("Alt+n");
  await page.keyboard.type("Ideas/Boat");
  await page.keyboard.press("Enter");
  await expect(editorOf(page)).toBeFocused();
  await page.keyboard.press("Control+End");
  await page.keyboard.type("Ask [[Ada]] about #wood.");
  await eventually(
    async () => (await folder.read("Ideas/Boat.md")) === "# Boat\n\nAsk [[Ada]] about #wood.",
    "the folder has the note",
  );

  // The link leads to a note that nobody has written yet.
  for (let step = 0; step < " about #wood.".length + 4; step += 1) await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("Control+Enter");
  await expect(page.getByText("There is no note of this name.")).toBeVisible();
  await page.getByRole("button", { name: "Create it" }).focus();
  await page.keyboard.press("Enter");
  await expect(editorOf(page)).toContainText("Ada");

  await page.keyboard.press("Control+k");
  await page.keyboard.type("boat");
  await page.keyboard.press("Enter");
  await expect(editorOf(page)).toContainText("#wood");

  await page.keyboard.press("Alt+r");
  await page.keyboard.type("Ship");
  await page.keyboard.press("Enter");
  await eventually(async () => (await folder.read("Ideas/Ship.md")) !== null, "the folder has the new name");
  await expect(page.getByRole("heading", { level: 1 }).first()).toHaveText("Ship");

  await page.getByRole("button", { name: "Note", exact: true }).focus();
  await page.keyboard.press("Enter");
  await page.keyboard.press("ArrowUp");
  await expect(page.getByRole("menuitem", { name: "Delete" })).toBeFocused();
  await page.keyboard.press("Enter");
  await eventually(async () => (await folder.read("Ideas/Ship.md")) === null, "the folder has deleted the note");
  await page.getByRole("button", { name: "Undo" }).focus();
  await page.keyboard.press("Enter");
  await eventually(async () => (await folder.read("Ideas/Ship.md")) !== null, "the folder has the note again");
});

test("a note that is chosen after [[ is the one that the link leads to", async ({ page, server }) => {
  await server.seed([
    ["note:README.md", "of all"],
    ["note:Web/README.md", "of the web"],
    ["note:C#.md", "sharp"],
    ["note:here.md", ""],
  ]);
  await openNote(page, "here.md");
  await editorOf(page).focus();
  for (const [typed, path] of [
    ["[[READ", "Web/README.md"],
    [" [[C", "C#.md"],
  ] as const) {
    await page.keyboard.type(typed);
    await page.locator(".cm-tooltip-autocomplete li", { hasText: path }).click();
  }
  await expect(editorOf(page)).toHaveText("[[Web/README|README]] [C#](C%23.md)");
});

test("the tree has the keys of a tree", async ({ page, server }) => {
  await server.seed([
    ["note:A/one.md", "one"],
    ["note:A/two.md", "two"],
    ["note:three.md", "three"],
  ]);
  await openApp(page);
  const tree = page.getByRole("tree", { name: "Notes by folder" });
  await tree.focus();
  const active = () =>
    tree.evaluate((element) =>
      document.getElementById(element.getAttribute("aria-activedescendant") ?? "")?.textContent.trim(),
    );
  await page.keyboard.press("ArrowRight");
  await expect(tree.getByRole("treeitem", { name: "one" })).toBeVisible();
  await page.keyboard.press("ArrowRight");
  expect(await active()).toMatch(/^one/);
  await page.keyboard.press("ArrowDown");
  expect(await active()).toMatch(/^two/);
  await page.keyboard.press("ArrowLeft");
  expect(await active()).toMatch(/^A/);
  await page.keyboard.press("End");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/#\/note\/three\.md$/);
});

test("every place is reached by G and a letter, and the content by one key", async ({ page }) => {
  await openApp(page);
  await page.keyboard.press("g");
  await page.keyboard.press("c");
  await expect(page).toHaveURL(/#\/conflicts$/);
  await page.keyboard.press("/");
  await expect(page).toHaveURL(/#\/search$/);
  await expect(page.getByRole("searchbox")).toBeFocused();
});

test("a page that gets the focus because what had it is gone has no ring around it", async ({ page }) => {
  await page.setViewportSize({ width: 360, height: 740 });
  await page.goto("/#/notes");
  await expect(page.getByRole("heading", { level: 1, name: "Notes" })).toBeVisible();
  await page.keyboard.press("g");
  await page.keyboard.press("d");
  await expect(page.getByRole("heading", { level: 1, name: "Devices" })).toBeVisible();
  // In a narrow window the page is one of those behind "More".
  await expect(page.getByRole("button", { name: "More" })).toHaveAttribute("aria-current", "true");
  const main = page.getByRole("main");
  await expect(main).toBeFocused();
  await expect(main).toHaveCSS("outline-style", "none");
});
