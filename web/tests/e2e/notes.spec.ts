import { editorOf, expect, openNote, test } from "./fixtures";

test("an edit in the folder appears in the open editor, and the reverse", async ({ page, folder }) => {
  await folder.write("Ideas/boat.md", "# A boat\n");
  await openNote(page, "Ideas/boat.md");
  await expect(editorOf(page)).toContainText("A boat");
});
