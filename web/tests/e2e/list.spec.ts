/** A large vault. */
import { expect, openApp, test } from "./fixtures";

const NOTES = 10_000;
const FOLDERS = 20;

test("a folder's page lists all that is in it", async ({ page, server }) => {
  await server.seed(Array.from({ length: 201 }, (_, index) => [`note:F/n${String(index)}.md`, "x"] as const));
  await openApp(page, "/#/notes/F");
  const rows = page.getByRole("main").getByRole("listitem");
  await expect(rows).toHaveCount(200);
  await page.getByRole("button", { name: "Show all 201" }).click();
  await expect(rows).toHaveCount(201);
});

test("in a narrow window the folder above a note leads to it in the tree", async ({ page, server }) => {
  await server.seed(Array.from({ length: 40 }, (_, index) => [`note:F${String(index)}/note.md`, "x"] as const));
  await page.setViewportSize({ width: 360, height: 700 });
  await page.goto("/#/note/F39/note.md");
  await page.getByRole("link", { name: "F39/" }).click();
  const folder = page.getByRole("tree").getByRole("treeitem", { name: "F39" });
  await expect(folder).toBeInViewport();
  await expect(folder).toHaveAttribute("aria-expanded", "true");
});

test("a vault of 10,000 notes opens, scrolls and finds", async ({ page, server }) => {
  const notes = Array.from({ length: NOTES }, (_, index) => {
    const number = String(index).padStart(5, "0");
    return [`note:Folder ${String(index % FOLDERS).padStart(2, "0")}/Note ${number}.md`, `# Note ${number}\n`] as const;
  });
  await server.seed(notes);
  const started = performance.now();
  await openApp(page);
  await expect(page.getByText("10,000 notes")).toBeVisible();
  const filled = performance.now() - started;
  await page.reload();
  await expect(page.getByText("10,000 notes")).toBeVisible();
  const opened = await page.evaluate(() => performance.now());

  const tree = page.getByRole("tree");
  for (let folder = 0; folder < FOLDERS; folder += 1) {
    const name = `Folder ${String(folder).padStart(2, "0")}`;
    await tree.focus();
    await page.keyboard.press("Home");
    for (let step = 0; step < folder; step += 1) await page.keyboard.press("ArrowDown");
    if (folder < 2) {
      await page.keyboard.press("ArrowRight");
      await page.keyboard.press("ArrowLeft");
      await expect(tree.getByRole("treeitem", { name })).toHaveAttribute("aria-expanded", "false");
    }
  }
  await page.evaluate((count) => {
    const folders = Array.from({ length: count }, (_, index) => `Folder ${String(index).padStart(2, "0")}/`);
    localStorage.setItem("tidenote-open-folders", JSON.stringify(folders));
  }, FOLDERS);
  await page.reload();
  await expect(tree.getByRole("treeitem", { name: "Note 00000" })).toBeVisible();

  // Scroll through all of it, a screen a frame, and look at how long the frames take.
  const { frames, most } = await tree.evaluate(async (element) => {
    const viewport = element.firstElementChild as HTMLElement;
    const frames: number[] = [];
    let most = 0;
    let last = performance.now();
    while (viewport.scrollTop + viewport.clientHeight < viewport.scrollHeight - 1) {
      viewport.scrollTop += viewport.clientHeight * 4;
      await new Promise(requestAnimationFrame);
      const now = performance.now();
      frames.push(now - last);
      last = now;
      most = Math.max(most, element.querySelectorAll('[role="treeitem"]').length);
    }
    return { frames, most };
  });
  expect(most).toBeLessThan(80);
  await expect(tree.getByRole("treeitem", { name: "Note 09999" })).toBeVisible();
  const sorted = frames.toSorted((a, b) => a - b);
  console.log(
    `${String(NOTES)} notes: filled in ${filled.toFixed(0)} ms, opened again in ${opened.toFixed(0)} ms; ` +
      `${String(frames.length)} frames, p50 ${(sorted[sorted.length >> 1] ?? 0).toFixed(1)} ms, longest ${(sorted.at(-1) ?? 0).toFixed(1)} ms`,
  );

  await page.keyboard.press("Control+k");
  await page.keyboard.type("note04242");
  await expect(page.getByRole("option", { name: "Note 04242" })).toBeVisible();
  await page.keyboard.press("Enter");
  await expect(page.locator(".cm-content")).toContainText("Note 04242");
});
