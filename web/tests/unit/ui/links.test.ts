import { expect, test } from "vitest";

import { LinkIndex, linkTo } from "../../../src/ui/preview/links";

const index = new LinkIndex([
  "README.md",
  "Web/README.md",
  "Web/note.md",
  "a/b.md",
  "b",
  "C#.md",
  "C.md",
  "x|[1].md",
  "# old/boat.md",
  " odd.md",
  "plan.png",
]);

test.each([
  ["Web/note.md", "[[note]]"],
  ["README.md", "[[README]]"],
  ["Web/README.md", "[[Web/README|README]]"],
  ["plan.png", "[[plan.png]]"],
  ["a/b.md", "[[a/b|b]]"],
  ["C#.md", "[C#](../C%23.md)"],
  ["C.md", "[[C]]"],
  ["x|[1].md", "[x|\\[1\\]](../x%7C%5B1%5D.md)"],
  ["# old/boat.md", "[[boat]]"],
  [" odd.md", "[ odd](../%20odd.md)"],
])("a link to %s leads there", (path, link) => {
  expect(linkTo(path, "Web/here.md", index)).toBe(link);
  const address = /\]\((.*)\)$/.exec(link)?.[1];
  if (address !== undefined) expect(index.address(address, "Web/here.md")).toBe(path);
});
