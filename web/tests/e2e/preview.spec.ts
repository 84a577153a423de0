/** What can be done with a note as it reads, and with its links under a finger. */
import { editorOf, eventually, expect, openNote, test, textOf } from "./fixtures";

test("a box of the preview is ticked by pointer and keyboard, as an edit that every device gets", async ({
  page,
  folder,
}) => {
  await folder.write("list.md", "# List\n\n- [ ] milk\n- [x] bread\n");
  await openNote(page, "list.md");
  const box = (name: string) => page.getByRole("checkbox", { name });
  await box("milk").click();
  await expect(box("milk")).toBeChecked();
  await eventually(
    async () => (await folder.read("list.md")) === "# List\n\n- [x] milk\n- [x] bread\n",
    "the folder has the tick",
  );
  await box("bread").focus();
  await page.keyboard.press("Space");
  await expect(box("bread")).not.toBeChecked();
  await expect(box("bread")).toBeFocused();
  await page.keyboard.press("Space");
  await expect(box("bread")).toBeChecked();
  await page.keyboard.press("Space");
  await expect(box("bread")).not.toBeChecked();

  // Each is one step of one's own undo.
  await editorOf(page).focus();
  await page.keyboard.press("Control+z");
  await expect(box("bread")).toBeChecked();

  // Where only the preview is shown, too; and what others do to the list moves no box.
  await page.getByRole("button", { name: "Read", exact: true }).click();
  await folder.write("list.md", "# List\n\n- [ ] eggs\n- [x] milk\n- [x] bread\n");
  await expect(box("eggs")).toBeVisible();
  await box("milk").click();
  await eventually(
    async () => (await folder.read("list.md")) === "# List\n\n- [ ] eggs\n- [ ] milk\n- [x] bread\n",
    "the folder has the other tick",
  );
});

test("a link to a heading leads to it, in the preview and in the editor, as often as it is followed", async ({
  page,
  server,
}) => {
  const far = "words\n\n".repeat(120);
  await server.put("one.md", `[here](#the-end) [[two#Second part]]\n\n${far}## The end\n\n${far}`);
  await server.put("two.md", `# Two\n\n${far}## Second part\n\n${far}`);
  await openNote(page, "one.md");
  const preview = page.getByRole("region", { name: "Preview" });
  const end = preview.getByRole("heading", { name: "The end" });
  for (let time = 0; time < 2; time += 1) {
    await preview.getByRole("link", { name: "here" }).click();
    await expect(end).toBeInViewport();
    await expect(page.locator(".cm-line", { hasText: "## The end" })).toBeInViewport();
    await preview.evaluate((pane) => pane.scrollTo(0, 0));
    await expect(end).not.toBeInViewport();
  }
  await preview.getByRole("link", { name: /two/ }).click();
  await expect(preview.getByRole("heading", { name: "Second part" })).toBeInViewport();
  await expect(page.locator(".cm-line", { hasText: "## Second part" })).toBeInViewport();

  await page.getByRole("button", { name: "Write", exact: true }).click();
  await page.goto("/#/note/one.md?heading=The+end");
  await expect(page.locator(".cm-line", { hasText: "## The end" })).toBeInViewport();
});

test.describe("under a finger", () => {
  test.use({ hasTouch: true, isMobile: true, viewport: { width: 360, height: 740 } });

  test("the link at the cursor is followed by a button", async ({ page, server }) => {
    await server.put("boat.md", "Ask [[Ada]] about #wood, or do not.\n");
    await server.put("Ada.md", "a friend\n");
    await page.goto("/#/note/boat.md");
    const follow = page.getByRole("button", { name: /^(?:Open|Find) / });
    await expect(editorOf(page)).toContainText("Ada");
    await expect(follow).toBeHidden();
    await page.locator(".cm-tag").tap();
    await expect(follow).toHaveText("Find #wood");
    await page.locator(".cm-link").tap();
    await expect(follow).toHaveText("Open [[Ada]]");
    await follow.tap();
    await expect(page).toHaveURL(/#\/note\/Ada\.md$/);
    await expect.poll(() => textOf(page)).toBe("a friend\n");
  });
});

test("text that runs from right to left does so in the editor and the preview, beside text that does not", async ({
  page,
  server,
}) => {
  await server.put("rtl.md", "# שלום\n\nזה טקסט, עם English באמצע!\n\n- פריט\n\nlatin\n");
  await openNote(page, "rtl.md");
  const line = page.locator(".cm-line");
  const preview = page.locator("article.preview");
  for (const right of [line.nth(0), line.nth(2), line.nth(4), preview.locator("h1"), preview.locator("ul")])
    await expect(right).toHaveCSS("direction", "rtl");
  for (const left of [line.nth(6), preview.locator("p").last()]) await expect(left).toHaveCSS("direction", "ltr");
  // The cursor goes where its key points.
  await editorOf(page).focus();
  await page.keyboard.press("Control+Home");
  for (let step = 0; step < 4; step += 1) await page.keyboard.press("ArrowLeft");
  await page.keyboard.type("!");
  await expect(line.first()).toHaveText("# של!ום");
});
