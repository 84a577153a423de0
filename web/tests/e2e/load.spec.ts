/** The first visit: what it costs, and whether it stands still. */
import { editorOf, expect, openApp, openNote, test } from "./fixtures";

const BUDGET_BYTES = 350 * 1024;

declare global {
  interface Window {
    shifts: number;
  }
}

test("the first visit is small, compressed and kept for good", async ({ page, server }) => {
  await server.put("note.md", "# A note\n");
  const responses: { url: string; encoding: string | undefined; cache: string | undefined }[] = [];
  page.on("response", (response) => {
    const headers = response.headers();
    responses.push({ url: response.url(), encoding: headers["content-encoding"], cache: headers["cache-control"] });
  });
  await openNote(page, "note.md");
  await expect(editorOf(page)).toContainText("A note");
  const { bytes, drawn } = await page.evaluate(() => {
    const files = performance.getEntriesByType("resource") as PerformanceResourceTiming[];
    return {
      bytes: files.filter(({ name }) => name.includes("/assets/")).reduce((sum, file) => sum + file.encodedBodySize, 0),
      drawn: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0,
    };
  });
  console.log(`first visit: ${(bytes / 1024).toFixed(0)} KiB of code, first words after ${drawn.toFixed(0)} ms`);
  expect(bytes).toBeGreaterThan(0);
  expect(bytes).toBeLessThan(BUDGET_BYTES);
  const code = responses.filter(({ url }) => /\/assets\/.*\.(?:js|css)$/.test(url));
  expect(code.length).toBeGreaterThan(3);
  for (const { url, encoding, cache } of code) {
    expect(encoding, url).toMatch(/^(?:br|gzip)$/);
    expect(cache, url).toContain("immutable");
  }
});

test("before all notes are there, none is said to be missing", async ({ page, server }) => {
  await server.put("boat.md", "here at last\n");
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  await page.routeWebSocket(/ws\/sync/, (socket) => {
    const there = socket.connectToServer();
    socket.onMessage((message) => there.send(message));
    there.onMessage((message) => void released.then(() => socket.send(message)));
  });
  await page.goto("/#/notes");
  const notYet = page.getByText("This browser does not have the notes yet.");
  await expect(notYet).toBeVisible();
  await page.goto("/#/note/boat.md");
  await expect(notYet).toBeVisible();
  await expect(page.getByRole("button", { name: "Create it" })).toBeHidden();
  release();
  await expect(page.locator(".cm-content")).toContainText("here at last");
  await page.goto("/#/note/none.md");
  await expect(page.getByText("There is no note of this name.")).toBeVisible();
});

test("nothing jumps while a note opens", async ({ page, server }) => {
  await server.put("Ideas/boat.md", "# A boat\n\nwords\n\n- [ ] more\n".repeat(20));
  await page.addInitScript(() => {
    window.shifts = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) window.shifts += (entry as PerformanceEntry & { value: number }).value;
    }).observe({ type: "layout-shift", buffered: true });
  });
  await openApp(page);
  await page.getByRole("treeitem", { name: "Ideas" }).click();
  await page.getByRole("treeitem", { name: "boat" }).click();
  await expect(editorOf(page)).toContainText("A boat");
  await expect(page.getByText(/^On the server/)).toBeVisible();
  // What Chrome's own reports call good.
  expect(await page.evaluate(() => window.shifts)).toBeLessThan(0.1);
});

test("a bug in the app is told, once", async ({ context }) => {
  const page = await context.newPage();
  await openApp(page);
  await page.evaluate(() => {
    for (let count = 0; count < 2; count += 1) setTimeout(() => Promise.reject(new Error("a bug")));
  });
  await expect(page.getByText("Something in the app failed.")).toHaveCount(1);
});
