/** Whole folders, and links that follow what is renamed. */
import { tie } from "./concurrent";
import { editorOf, eventually, expect, openApp, openNote, test, textOf } from "./fixtures";

const NOTES: [string, string][] = [
  ["note:Trips/Sweden.md", "# Sweden\n\n![](img/map.txt) and [[Norway]]\n"],
  ["note:Trips/North/Norway.md", "# Norway\n\n[Sweden](../Sweden.md)\n"],
  ["note:Trips/img/map.txt", "a map\n"],
  ["note:Boat.md", "# Boat\n\nTo [[Trips/Sweden|the east]], [north](Trips/North/Norway.md), and `[[Trips/Sweden]]`.\n"],
  ["note:Archive/Sweden.md", "# Sweden of old\n"],
];

test("a folder is renamed with all that is in it, and links from outside lead there", async ({
  page,
  server,
  folder,
}) => {
  await server.seed(NOTES);
  await openNote(page, "Trips/Sweden.md");
  await editorOf(page).click();
  await page.keyboard.press("Control+End");
  await page.keyboard.type("typed just now");

  const tree = page.getByRole("tree");
  await tree.getByRole("treeitem", { name: "Trips" }).hover();
  await tree.getByRole("button", { name: "Rename or delete the folder Trips" }).click();
  const dialog = page.getByRole("dialog", { name: "Rename or move this folder" });
  const name = dialog.getByRole("textbox");
  await expect(name).toHaveValue("Trips");
  const rename = dialog.getByRole("button", { name: "Rename" });

  await name.fill("Trips/Deeper");
  await expect(dialog.getByText("A folder can't be moved into itself.")).toBeVisible();
  await name.fill("Archive");
  await expect(dialog.getByText("“Sweden.md” is there already.")).toBeVisible();
  await expect(rename).toBeDisabled();
  await name.fill("a\\b");
  await expect(dialog.getByText(/backslash/)).toBeVisible();
  await name.fill("Travel/Europe");
  await rename.click();

  await expect(page.getByText("The folder is now called “Travel/Europe”. Links in 1 note lead there.")).toBeVisible();
  await expect(page.getByRole("heading", { level: 1, name: "Sweden" }).first()).toBeVisible();
  await expect(page).toHaveURL(/Travel\/Europe\/Sweden\.md/);
  await eventually(
    async () => (await folder.read("Travel/Europe/Sweden.md"))?.endsWith("typed just now") === true,
    "the folder has the note with what was typed",
  );
  expect(await folder.read("Travel/Europe/North/Norway.md")).toBe("# Norway\n\n[Sweden](../Sweden.md)\n");
  await eventually(
    async () =>
      (await folder.read("Boat.md")) ===
      "# Boat\n\nTo [[Travel/Europe/Sweden|the east]], [north](Travel/Europe/North/Norway.md), and `[[Trips/Sweden]]`.\n",
    "the folder has the other links",
  );
  expect(await folder.read("Trips/Sweden.md")).toBeNull();
});

test("a folder is deleted without a network, and comes back", async ({ page, context, server, folder }) => {
  await server.seed(NOTES);
  await openApp(page, "/#/notes/Trips");
  await expect(page.getByText("3 notes")).toBeVisible();
  await context.setOffline(true);
  await page.getByRole("main").getByRole("button", { name: "Rename or delete the folder Trips" }).click();
  await page.getByRole("menuitem", { name: "Delete" }).click();
  const dialog = page.getByRole("dialog", { name: "Delete this folder?" });
  await expect(dialog.getByText("3 notes and files in it would be in the trash.")).toBeVisible();
  await dialog.getByRole("button", { name: "Delete" }).click();
  await expect(page.getByText("“Trips” with 3 notes and files is in the trash.")).toBeVisible();
  await expect(page.getByRole("treeitem", { name: "Trips" })).toHaveCount(0);
  await context.setOffline(false);
  await eventually(async () => (await folder.read("Trips/Sweden.md")) === null, "the folder has deleted it");

  await page.getByRole("button", { name: "Undo" }).click();
  await eventually(async () => (await folder.read("Trips/North/Norway.md")) !== null, "the folder has it again");
  expect(await folder.read("Trips/img/map.txt")).toBe("a map\n");
});

test("a folder is renamed and deleted by the keyboard", async ({ page, server }) => {
  await server.seed(NOTES);
  await openApp(page);
  const tree = page.getByRole("tree");
  await tree.focus();
  await page.keyboard.press("End");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("F2");
  await page.keyboard.type("Travel");
  await page.keyboard.press("Enter");
  await expect(tree.getByRole("treeitem", { name: "Travel" })).toBeVisible();
  await expect(tree.getByRole("treeitem", { name: "Trips" })).toHaveCount(0);
  await tree.focus();
  await page.keyboard.press("Home");
  await page.keyboard.press("Delete");
  await expect(page.getByRole("dialog", { name: "Delete this folder?" })).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(tree.getByRole("treeitem", { name: "Archive" })).toBeVisible();
});

test("a folder with a note that has several versions is settled first", async ({ page, server }) => {
  await server.seed(NOTES);
  await tie(server, "note:Trips/Lake.md", "phone text\n", "tablet text\n");
  await openApp(page, "/#/notes/Trips");
  await expect(page.getByRole("treeitem", { name: "Lake" }).getByTitle("in conflict")).toBeVisible();
  await page.getByRole("main").getByRole("button", { name: "Rename or delete the folder Trips" }).click();
  await page.getByRole("menuitem", { name: "Rename or move" }).click();
  await page.keyboard.type("Travel");
  await page.keyboard.press("Enter");
  await expect(page.getByText(/has several versions\. Settle them/)).toBeVisible();
  await expect(page).toHaveURL(/conflict\/Trips\/Lake\.md/);
});

test("a note that is renamed and moved keeps its links, and is led to", async ({ page, server, folder }) => {
  await server.seed(NOTES);
  await openNote(page, "Trips/Sweden.md");
  await page.keyboard.press("Alt+r");
  await page.getByRole("dialog").getByRole("textbox").fill("Svealand");
  await page.keyboard.press("Enter");
  await expect(page.getByText("The note is now called “Svealand.md”. Links in 3 notes lead there.")).toBeVisible();
  await expect.poll(() => textOf(page)).toContain("![](Trips/img/map.txt) and [[Norway]]");
  await eventually(
    async () => (await folder.read("Trips/North/Norway.md")) === "# Norway\n\n[Sweden](../../Svealand.md)\n",
    "the folder has the links",
  );
  expect(await folder.read("Boat.md")).toContain("To [[Svealand|the east]],");
});

test("a large folder is renamed while it says how far it is", async ({ page, server }) => {
  const many = 700;
  await server.seed(
    Array.from({ length: many }, (_, index): [string, string] => [
      `note:Many/n${String(index)}.md`,
      `see [[n${String((index + 1) % many)}]] and [x](../Many/n${String(index)}.md)\n`,
    ]),
  );
  await openApp(page, "/#/notes/Many");
  await expect(page.getByText("700 notes")).toBeVisible();
  await page.getByRole("main").getByRole("button", { name: "Rename or delete the folder Many" }).click();
  await page.getByRole("menuitem", { name: "Rename or move" }).click();
  await page.keyboard.type("Lots");
  await page.keyboard.press("Enter");
  await expect(page.getByText(/^Renaming: \d+ of 700/)).toBeVisible();
  await expect(page.getByText("The folder is now called “Lots”. Links in 700 notes lead there.")).toBeVisible({
    timeout: 60_000,
  });
  await expect(page.getByRole("heading", { level: 1, name: "Lots" })).toBeVisible();
  await expect(page.getByRole("button", { name: /Connection details: Connected/ })).toBeVisible();
  await eventually(async () => (await server.metric("tidenote_changes_accepted_total")) === 4 * many, "all is sent");
});
