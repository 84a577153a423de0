/** Files in notes: dropped, pasted, shown, and never run. */
import { editorOf, eventually, expect, openApp, openNote, test } from "./fixtures";

/** One transparent pixel. */
const PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

test("a picture that is pasted becomes a file of the vault, and is seen in the preview", async ({ page, folder }) => {
  await folder.write("Ideas/boat.md", "# A boat\n\n");
  await openNote(page, "Ideas/boat.md");
  await editorOf(page).focus();
  await page.keyboard.press("Control+End");
  await editorOf(page).evaluate((content, pixel) => {
    const bytes = Uint8Array.from(atob(pixel), (character) => character.charCodeAt(0));
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([bytes], "my plan.png", { type: "image/png" }));
    content.dispatchEvent(
      new ClipboardEvent("paste", { clipboardData, bubbles: true, composed: true, cancelable: true }),
    );
  }, PIXEL);
  const picture = page.getByRole("region", { name: "Preview" }).getByRole("img", { name: "my plan.png" });
  await expect(picture).toHaveAttribute("src", /^blob:/);
  await expect.poll(() => picture.evaluate((image: HTMLImageElement) => image.naturalWidth)).toBe(1);
  await eventually(
    async () =>
      (await folder.read("Ideas/boat.md")) === "# A boat\n\n![my plan.png](../attachments/my%20plan.png)" &&
      (await folder.read("attachments/my plan.png")) !== null,
    "the folder has the note and the picture",
  );
});

test("a picture that lies in the folder is seen, and can be opened and downloaded", async ({ page, folder }) => {
  await folder.write("plan.png", Buffer.from(PIXEL, "base64"));
  await folder.write("boat.md", "![the plan](plan.png) ![[plan.png]]\n");
  await openNote(page, "boat.md");
  const pictures = page.getByRole("region", { name: "Preview" }).getByRole("img");
  await expect(pictures.first()).toHaveAttribute("src", /^blob:/);
  await expect(pictures.nth(1)).toHaveAttribute("src", /^blob:/);
  await openApp(page, "/#/note/plan.png");
  await expect(page.getByRole("img", { name: "plan.png" })).toBeVisible();
  const download = page.waitForEvent("download");
  await page.getByRole("link", { name: "Download" }).click();
  expect((await download).suggestedFilename()).toBe("plan.png");
});

test("two files of one name do not overwrite each other", async ({ page, folder }) => {
  await folder.write("note.md", "text\n");
  await openNote(page, "note.md");
  for (const content of ["first", "second"]) {
    await page
      .locator('input[type="file"]')
      .setInputFiles({ name: "data.bin", mimeType: "", buffer: Buffer.from(content) });
  }
  await eventually(
    async () =>
      (await folder.read("attachments/data.bin")) === "first" &&
      (await folder.read("attachments/data (2).bin")) === "second",
    "the folder has both files",
  );
});

test("what the server does not take is named, and can be sent again or discarded", async ({ page, server }) => {
  await server.put("note.md", "words");
  await page.route("**/api/v1/blobs/**", (route) =>
    route.request().method() === "PUT"
      ? route.fulfill({ status: 422, json: { type: "error", code: "bad_value", message: "not this one" } })
      : route.continue(),
  );
  await openNote(page, "note.md");
  const attach = async (name: string): Promise<void> => {
    const file = { name, mimeType: "application/octet-stream", buffer: Buffer.from("bytes") };
    await page.locator("input[type=file]").setInputFiles(file);
    await expect(page.getByText(`“${name}” was attached.`)).toBeVisible();
  };
  await attach("a.bin");
  await attach("b.bin");
  await page.getByRole("button", { name: /Connection details: .*2 changes are held/ }).click();
  const dialog = page.getByRole("dialog", { name: "Connection" });
  await expect(dialog.getByText("Everything is on the server")).toBeHidden();
  await page.unroute("**/api/v1/blobs/**");
  const item = (name: string) => dialog.getByRole("listitem").filter({ hasText: name });
  await item("a.bin").getByRole("button", { name: "Send again" }).click();
  await expect(item("a.bin")).toBeHidden();
  await item("b.bin").getByRole("button", { name: "Discard mine" }).click();
  await expect(dialog.getByText("Everything is on the server")).toBeVisible();
  const status = async (name: string) => (await fetch(`${server.origin}/api/v1/notes/attachments/${name}`)).status;
  await eventually(async () => (await status("a.bin")) === 200, "the server has what was sent again");
  expect(await status("b.bin")).toBe(404);
});
