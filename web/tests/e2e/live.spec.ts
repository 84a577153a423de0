/** Several writers at one note. */
import { siblings, write } from "./concurrent";
import { anotherBrowser, editorOf, eventually, expect, expectSaved, openApp, openNote, test, textOf } from "./fixtures";

const ROUNDS = 7;

/** Return the middle one of some times, as people read it. */
function p50(times: readonly number[]): string {
  return `${String(Math.round(times.toSorted((a, b) => a - b)[times.length >> 1] ?? 0))} ms`;
}

test("an edit in the folder appears in the open editor, and the reverse", async ({ page, folder }) => {
  await folder.write("Ideas/boat.md", "# A boat\n");
  await openNote(page, "Ideas/boat.md");
  await expect(editorOf(page)).toContainText("A boat");
  const [there, back]: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUNDS; round += 1) {
    let start = performance.now();
    await folder.write("Ideas/boat.md", `# A boat\nround ${String(round)} from the folder\n`);
    await page.waitForFunction(
      (text) => document.querySelector(".editor")?.shadowRoot?.textContent.includes(text),
      `round ${String(round)} from the folder`,
    );
    there.push(performance.now() - start);
    await editorOf(page).focus();
    await page.keyboard.press("Control+End");
    start = performance.now();
    await page.keyboard.insertText(`round ${String(round)} from the browser`);
    await eventually(
      async () => (await folder.read("Ideas/boat.md"))?.includes(`round ${String(round)} from the browser`) ?? false,
      "the folder has what the browser wrote",
    );
    back.push(performance.now() - start);
  }
  console.log(`p50 of ${String(ROUNDS)}: folder to editor ${p50(there)}, editor to folder ${p50(back)}`);
});

test("two browsers type into one note at the same time, and both texts arrive whole", async ({
  page,
  context,
  server,
  folder,
}) => {
  await server.put("both.md", "first line\n\nlast line\n");
  await openNote(page, "both.md");
  const other = await anotherBrowser(context);
  await openNote(other, "both.md");
  await Promise.all([
    (async () => {
      await editorOf(page).focus();
      await page.keyboard.press("Control+Home");
      await page.keyboard.type("Ada wrote this sentence at the top. ", { delay: 25 });
    })(),
    (async () => {
      await editorOf(other).focus();
      await other.keyboard.press("Control+End");
      await other.keyboard.type("Ben wrote this one at the very end.", { delay: 25 });
    })(),
  ]);
  const wanted = "Ada wrote this sentence at the top. first line\n\nlast line\nBen wrote this one at the very end.";
  await expect.poll(() => textOf(page)).toBe(wanted);
  await expect.poll(() => textOf(other)).toBe(wanted);
  await eventually(async () => (await folder.read("both.md")) === wanted, "the folder has both texts");
  await expect(page.getByText(/Several devices changed/)).toBeHidden();
  await other.context().close();
});

test("two browsers type into one line, and no word is lost", async ({ page, context, server }) => {
  await server.put("line.md", "start end");
  await openNote(page, "line.md");
  const other = await anotherBrowser(context);
  await openNote(other, "line.md");
  await Promise.all([
    (async () => {
      await editorOf(page).focus();
      await page.keyboard.press("Control+Home");
      await page.keyboard.type("alpha beta gamma delta ", { delay: 40 });
    })(),
    (async () => {
      await editorOf(other).focus();
      await other.keyboard.press("Control+End");
      await other.keyboard.type(" epsilon zeta eta theta", { delay: 40 });
    })(),
  ]);
  await expectSaved(page);
  await expect.poll(async () => (await textOf(page)) === (await textOf(other))).toBe(true);
  const text = await textOf(page);
  for (const word of "alpha beta gamma delta start end epsilon zeta eta theta".split(" ")) expect(text).toContain(word);
  await other.context().close();
});

test("two tabs of one browser are one device, and type into one note", async ({ page, context, server }) => {
  await server.put("tabs.md", "middle");
  await openNote(page, "tabs.md");
  const other = await context.newPage();
  await openNote(other, "tabs.md");
  await editorOf(page).focus();
  await page.keyboard.press("Control+Home");
  await page.keyboard.type("from the first tab ", { delay: 10 });
  await editorOf(other).focus();
  await other.keyboard.press("Control+End");
  await other.keyboard.type(" from the second tab", { delay: 10 });
  const wanted = "from the first tab middle from the second tab";
  for (const tab of [page, other]) await expect.poll(() => textOf(tab)).toBe(wanted);
  await expect.poll(async () => (await fetch(`${server.origin}/api/v1/notes/tabs.md`)).text()).toBe(wanted);
  // The tab that had the connection goes; the other one takes over.
  await page.close();
  await other.keyboard.type(", alone now");
  await expect
    .poll(async () => (await fetch(`${server.origin}/api/v1/notes/tabs.md`)).text())
    .toBe(`${wanted}, alone now`);
});

test("a remote edit moves neither the cursor nor the undo of the person who types", async ({ page, folder }) => {
  await folder.write("note.md", "one\ntwo\nthree\n");
  await openNote(page, "note.md");
  await editorOf(page).focus();
  await page.keyboard.press("Control+End");
  await page.keyboard.type("mine");
  await eventually(async () => (await folder.read("note.md")) === "one\ntwo\nthree\nmine", "the folder has the edit");
  await folder.write("note.md", "zero\none\n2\nthree\nmine");
  await expect(editorOf(page)).toContainText("zero");
  await page.keyboard.type(" again");
  expect(await textOf(page)).toBe("zero\none\n2\nthree\nmine again");
  // One's own two pieces of text may be one step of undo or two; nobody else's is ever one.
  await page.keyboard.press("Control+z");
  await page.keyboard.press("Control+z");
  expect(await textOf(page)).toBe("zero\none\n2\nthree\n");
});

test("what is composed with an input method stands there once, whatever arrives in its line meanwhile", async ({
  page,
  server,
}) => {
  await server.put("ime.md", "start end");
  await openNote(page, "ime.md");
  await editorOf(page).focus();
  await page.keyboard.press("Control+End");
  const input = await page.context().newCDPSession(page);
  const onServer = async () => (await fetch(`${server.origin}/api/v1/notes/ime.md`)).text();
  for (const text of ["に", "にほ", "にほん", "日本"]) {
    await input.send("Input.imeSetComposition", { text, selectionStart: text.length, selectionEnd: text.length });
    await expect.poll(onServer).toMatch(new RegExp(`${text}$`));
    await write(server, "laptop", "note:ime.md", (await onServer()).replace("start", "start more"));
  }
  await input.send("Input.insertText", { text: "日本語" });
  await expect.poll(() => textOf(page)).toBe("start more more more more end日本語");
  await expect.poll(onServer).toBe("start more more more more end日本語");
});

test("a note that another device deletes stays on the screen, and can be brought back", async ({ page, folder }) => {
  await folder.write("gone.md", "words\n");
  await openNote(page, "gone.md");
  await expect(editorOf(page)).toContainText("words");
  await folder.remove("gone.md");
  await expect(page.getByText("This note was deleted on another device.")).toBeVisible();
  await expect(editorOf(page)).toContainText("words");
  await page.getByRole("button", { name: "Bring it back" }).click();
  await eventually(async () => (await folder.read("gone.md")) === "words\n", "the folder has the note again");
});

test("who takes a deletion back overwrites nothing that was written there since", async ({ page, server }) => {
  await server.put("boat.md", "mine\n");
  await openNote(page, "boat.md");
  await page.getByRole("button", { name: "Note", exact: true }).click();
  await page.getByRole("menuitem", { name: "Delete" }).click();
  await eventually(async () => (await siblings(server, "note:boat.md"))[0]?.value === null, "the note is deleted");
  await write(server, "laptop", "note:boat.md", "written anew\n");
  await page.getByRole("button", { name: "Undo" }).click();
  await eventually(async () => {
    const all = (await siblings(server, "note:boat.md")).map(({ value }) => value).join("");
    return all.includes("mine") && all.includes("written anew");
  }, "both texts are there");
});

test("text that was never sent outlives a deletion elsewhere, and its author is told", async ({
  page,
  context,
  folder,
}) => {
  await folder.write("kept.md", "old words\n");
  await openNote(page, "kept.md");
  await expectSaved(page);
  await context.setOffline(true);
  await editorOf(page).focus();
  await page.keyboard.press("Control+End");
  await page.keyboard.type("new words");
  await folder.remove("kept.md");
  await folder.stop();
  await folder.start();
  await context.setOffline(false);
  await eventually(async () => (await folder.read("kept.md")) === "old words\nnew words", "the folder has the text");
  await expect(editorOf(page)).toContainText("new words");
});

test("a note that another device renames is followed", async ({ page, context, folder }) => {
  await folder.write("before.md", "words\n");
  await openNote(page, "before.md");
  const other = await anotherBrowser(context);
  await openNote(other, "before.md");
  await other.keyboard.press("Alt+r");
  await other.getByRole("textbox", { name: "Name, with folders" }).fill("Ideas/after");
  await other.keyboard.press("Enter");
  await expect(page).toHaveURL(/#\/note\/Ideas\/after\.md$/);
  await expect(editorOf(page)).toContainText("words");
  await eventually(async () => (await folder.read("Ideas/after.md")) === "words\n", "the folder follows");
  await other.context().close();
});

test("a new name, of one's own or of others, leaves the cursor and the text in view where they are", async ({
  page,
  folder,
}) => {
  const text = Array.from({ length: 300 }, (_, line) => `line ${String(line)}`).join("\n");
  await folder.write("before.md", text);
  await openNote(page, "before.md");
  await editorOf(page).focus();
  await page.keyboard.press("Control+End");
  const inView = () => page.locator(".cm-scroller").evaluate((element) => element.scrollTop);
  await expect.poll(inView).toBeGreaterThan(1_000);
  const before = await inView();

  await page.keyboard.press("Alt+r");
  await page.getByRole("textbox", { name: "Name, with folders" }).fill("own");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/#\/note\/own\.md$/);
  await expect(page.getByRole("textbox", { name: "Text of own" })).toBeFocused();
  await page.keyboard.type(" own");
  await eventually(async () => (await folder.read("own.md")) === `${text} own`, "the folder has what was typed");
  expect(Math.abs((await inView()) - before)).toBeLessThan(100);

  await folder.rename("own.md", "theirs.md");
  await expect(page).toHaveURL(/#\/note\/theirs\.md$/);
  await expect(page.getByRole("textbox", { name: "Text of theirs" })).toBeFocused();
  await page.keyboard.type(" theirs");
  await eventually(async () => (await folder.read("theirs.md")) === `${text} own theirs`, "and after the other name");
  expect(Math.abs((await inView()) - before)).toBeLessThan(100);
});

test("carriage returns and what is at the end of the text survive an edit", async ({ page, folder }) => {
  await folder.write("windows.md", "one\r\ntwo\r\n");
  await openNote(page, "windows.md");
  await editorOf(page).focus();
  await page.keyboard.press("Control+End");
  await page.keyboard.type("three");
  await eventually(async () => (await folder.read("windows.md")) === "one\r\ntwo\r\nthree", "the folder has the edit");
});

test("a note says which devices have it", async ({ page, folder, server }) => {
  await folder.write("who.md", "words\n");
  await openNote(page, "who.md");
  await expect(page.getByText("On the server; laptop has it")).toBeVisible();
  await folder.stop();
  await server.put("other.md", "text");
  await openApp(page, "/#/note/other.md");
  await expect(page.getByText(/On the server; laptop not since/)).toBeVisible();
});
