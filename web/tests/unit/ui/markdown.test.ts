// @vitest-environment jsdom
import { expect, test } from "vitest";

import { LinkIndex } from "../../../src/ui/preview/links";
import { findHeading, tasksOf, toHtml } from "../../../src/ui/preview/markdown";
import { sanitize } from "../../../src/ui/preview/sanitize";

const index = new LinkIndex(["Ideas/boat.md", "Daily/2026-01-01.md", "attachments/plan.png", "Ideas/old/boat.md"]);

function show(text: string): HTMLElement {
  const element = document.createElement("div");
  element.append(sanitize(toHtml(text, { path: "Ideas/sail.md", index })));
  return element;
}

test("a wikilink leads to the nearest note of that name", () => {
  const link = show("see [[boat|the boat]]").querySelector("a");
  expect(link?.getAttribute("href")).toBe("#/note/Ideas/boat.md");
  expect(link?.textContent).toBe("the boat");
});

test("a byte order mark hides neither a heading nor properties, and every place counts it", () => {
  expect(show("\ufeff# Boat").querySelector("h1")?.textContent).toBe("Boat");
  expect(show("\ufeff---\na: 1\n---\n# Boat").querySelector("pre.front-matter")?.textContent).toBe("a: 1");
  const place = { path: "Ideas/sail.md", index };
  expect(tasksOf("\ufeff- [ ] hull", place)).toEqual([4]);
  expect(findHeading("\ufeff# Boat", "Boat", place)).toEqual({ number: 0, at: 1 });
});

test("<br> breaks a line, in a table, too; it is the only tag that does anything", () => {
  expect(show("one<br>two<BR/>three<br />four").querySelectorAll("br")).toHaveLength(3);
  expect(show("| a |\n|---|\n| one<br>two |").querySelector("td")?.innerHTML).toBe("one<br>\ntwo");
  const text = show("`<br>` \\<br> <br class=x> <b>bold</b>");
  expect(text.querySelector("br, b")).toBeNull();
  expect(text.textContent).toContain("<br> <br> <br class=x> <b>bold</b>");
});

test("a wikilink to nothing says so, and leads to where it would be", () => {
  const link = show("[[Oars]]").querySelector("a");
  expect(link?.className).toBe("wikilink missing");
  expect(link?.getAttribute("href")).toBe("#/note/Oars.md");
});

test("a tag leads to the search for it; a heading, a number and code are none", () => {
  const tags = show("# Head\n\n#boat #2026 (#wood/oak) `#code` a#b").querySelectorAll("a.tag");
  expect([...tags].map((tag) => tag.textContent)).toEqual(["#boat", "#wood/oak"]);
});

test("a relative link and a picture are found from the note's folder", () => {
  const page = show("[day](../Daily/2026-01-01.md) ![plan](../attachments/plan.png) ![[plan.png]]");
  expect(page.querySelector("a")?.getAttribute("href")).toBe("#/note/Daily/2026-01-01.md");
  expect([...page.querySelectorAll("img")].map((img) => img.dataset.path)).toEqual(
    Array(2).fill("attachments/plan.png"),
  );
});

test("a link to a heading keeps it", () => {
  const links = show("[y](#the-keel) [[#The keel]] [x](boat.md#the%20keel) [[boat#Keel & oars|k]] [[none#x]]");
  expect([...links.querySelectorAll("a")].map((link) => link.getAttribute("href"))).toEqual([
    "#/note/Ideas/sail.md?heading=the-keel",
    "#/note/Ideas/sail.md?heading=The+keel",
    "#/note/Ideas/boat.md?heading=the+keel",
    "#/note/Ideas/boat.md?heading=Keel+%26+oars",
    "#/note/none.md",
  ]);
});

test.each([
  ["The keel", 2, "## The *keel*"],
  ["the-keel", 2, "## The *keel*"],
  ["the-keel-1", 3, "# The keel"],
  ["Boat#Größe, in m!", 4, "Größe, in m!"],
  ["größe-in-m", 4, "Größe, in m!"],
  ["no such", undefined, undefined],
])("the heading %s is found in the page and in the text", (wanted, number, line) => {
  const text =
    "---\na: 1\n---\n# Boat\n\n- # In a list\n\n## The *keel*\r\n```\n# code\n```\n# The keel\nGröße, in m!\n---\n";
  const found = findHeading(text, wanted, { path: "a.md", index });
  expect(found?.number).toBe(number);
  expect(found && text.slice(found.at).split(/\r?\n/, 1)[0]).toBe(line ?? null);
  const shown = show(text).querySelectorAll("h1, h2, h3")[found?.number ?? -1];
  expect(shown?.textContent).toBe(line?.replace(/[#*] ?/g, ""));
});

test("a relative link to nothing leads nowhere, not even to this page", () => {
  const link = show("[gone](no/such.md) [odd](about:blank)").querySelectorAll("a");
  expect([...link].map((one) => [one.className, one.hasAttribute("href")])).toEqual(Array(2).fill(["missing", false]));
});

test("a picture from elsewhere is a link, so that nobody learns who reads the note", () => {
  const page = show("![cat](https://example.org/cat.png)");
  expect(page.querySelector("img")).toBeNull();
  expect(page.querySelector("a")?.getAttribute("rel")).toContain("noreferrer");
});

test("tables are aligned by class, tasks are boxes", () => {
  const page = show("| a | b |\n|--:|:-:|\n| 1 | 2 |\n\n- [x] done\n- [ ] open");
  expect(page.querySelector("[style]")).toBeNull();
  expect(page.querySelectorAll(".align-right")).toHaveLength(2);
  expect([...page.querySelectorAll("input")].map((box) => box.hasAttribute("checked"))).toEqual([true, false]);
});

test("front matter is shown as it is written", () => {
  expect(show("---\ntags: [a]\n---\n# T").querySelector(".front-matter")?.textContent).toBe("tags: [a]");
});

const HOSTILE = [
  "<script>alert(1)</script>",
  "<img src=x onerror=alert(1)>",
  "[x](javascript:alert(1))",
  "[x](data:text/html,<script>alert(1)</script>)",
  "[x](JaVaScRiPt&colon;alert(1))",
  '[x](https://e.org/"onmouseover="alert(1))',
  "![x](javascript:alert(1))",
  '![" onerror="alert(1)](attachments/plan.png)',
  '![[plan.png|" onerror="alert(1)]]',
  '[[x" onclick="alert(1)|<img src=x onerror=alert(1)>]]',
  "<svg onload=alert(1)>",
  "<iframe srcdoc='<script>alert(1)</script>'>",
  "---\na: </pre><script>alert(1)</script>\n---\n",
  "```<script>\n</code></pre><script>alert(1)</script>\n```",
  '<a href="vbscript:alert(1)">x</a>',
  "<https://e.org/'><img src=x onerror=alert(1)>>",
  "[ref]: javascript:alert(1)\n[ref]",
  "#<img/src=x/onerror=alert(1)>",
];

test.each(HOSTILE)("nothing of %s can run", (text) => {
  const page = show(text);
  for (const element of page.querySelectorAll("*")) {
    expect(element.tagName).not.toMatch(/SCRIPT|IFRAME|SVG|OBJECT|EMBED|STYLE|FORM|BASE|LINK|META/);
    for (const { name, value } of element.attributes) {
      expect(name).not.toMatch(/^on|style|srcdoc/);
      if (name === "href" || name === "src") expect(value).toMatch(/^(?:#|https?:|mailto:|tel:|data:image\/|$)/);
    }
  }
});

test("a box is where the text has it, whatever stands before it", () => {
  const text = [
    "---\ntitle: [ ] none\n---",
    "# Trip",
    "- [ ] pack",
    "  > 1. [x] passport",
    "> - - [X] deep  ",
    ">     and more",
    "```\n- [ ] code\n```",
    "* no box",
    "10) [ ] last [ ] word\r",
    "-\t[x]\u00a0tabs",
  ].join("\n");
  const place = { path: "a.md", index };
  const found = tasksOf(text, place);
  expect(found.map((at) => at !== null && text.slice(at - 1, at + 3))).toEqual([
    "[ ] ",
    "[x] ",
    "[X] ",
    "[ ] ",
    "[x]\u00a0",
  ]);
  const page = document.createElement("div");
  page.append(sanitize(toHtml(text, { ...place, mayTick: true })));
  const boxes = [...page.querySelectorAll<HTMLInputElement>("li.task input")];
  expect(boxes.map((box) => box.checked)).toEqual([false, true, true, false, true]);
  expect(boxes.every((box) => !box.disabled)).toBe(true);
});
