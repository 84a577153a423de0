/** The pictures of notes and editor in docs/images. */
import { expect, openApp, test } from "../e2e/fixtures";
import { takePicture } from "./pictures";

const BOAT = `---
tags: [boat, winter]
---
# A boat for two

A small, light boat that one person can carry. See [[Materials]] and the
sketches in [[Winter evenings]]. #boat #plans

## Before the ice is gone

- [x] measure the garage: **4.60 m**
- [ ] ask Ada about oak
- [ ] order *copper* nails

> The sea is patient. Be so, too.

| part | wood | metres |
|------|------|-------:|
| keel | oak  |    4.2 |
| ribs | ash  |   11.0 |
`;

const NOTES: readonly (readonly [string, string])[] = [
  ["Ideas/A boat for two.md", BOAT],
  ["Ideas/Materials.md", "# Materials\n\nOak for the keel, ash for the ribs. #boat\n"],
  ["Ideas/Winter evenings.md", "# Winter evenings\n\nSketches of the boat, and soup.\n"],
  ["Ideas/Garden.md", "# Garden\n\n- [ ] beans\n"],
  ["Daily/2026-11-23.md", "# Monday\n\nNothing to report.\n"],
  ["Daily/2026-11-24.md", "# Tuesday\n\nAda came by about the boat.\n"],
  ["Reisen/Donaudampfschifffahrtsgesellschaft.md", "# Donaudampfschifffahrt\n"],
  ["Reading list.md", "# Reading list\n\n- Swallows and Amazons\n"],
  ["Welcome.md", "# Welcome\n"],
];

test("notes and editor", async ({ page, folder }) => {
  for (const [path, text] of NOTES) await folder.write(path, text);
  await openApp(page);
  await page.evaluate(() => localStorage.setItem("tidenote-open-folders", JSON.stringify(["Ideas/", "Daily/"])));
  await page.reload();
  await expect(page.getByRole("main").getByText("9 notes")).toBeVisible();
  await takePicture(page, "notes", async () => {
    await page.goto("/#/notes");
    await expect(
      page
        .getByRole("link", { name: "Welcome" })
        .or(page.getByRole("treeitem", { name: "Welcome" }))
        .first(),
    ).toBeVisible();
  });
  await takePicture(page, "editor", async () => {
    await page.goto("/#/note/Ideas/A%20boat%20for%20two.md");
    await expect(page.locator(".cm-content")).toContainText("A boat for two");
    await expect(page.getByText(/laptop has it/)).toBeVisible();
  });
  await takePicture(page, "search", async () => {
    await page.goto("/#/search?q=boat");
    await expect(page.getByText(/notes found/)).toBeVisible();
  });
});
