import { describe, expect, it } from "vitest";

import { countLines, fold, rowsOf } from "../../../../src/ui/diff/rows";

describe("rowsOf", () => {
  it("covers both texts, with line numbers of each", () => {
    const rows = rowsOf("a\nb\nc", "a\nx\nb\nc");
    expect(rows).toEqual([
      { kind: "same", lines: ["a"], numbers: [1, 1] },
      { kind: "different", sides: [[], [{ text: "x", mark: true }]], numbers: [2, 2], sizes: [0, 1] },
      { kind: "same", lines: ["b", "c"], numbers: [2, 3] },
    ]);
    expect(countLines(rows)).toEqual({ added: 1, removed: 0 });
  });

  it("has no difference between equal texts", () => {
    expect(rowsOf("a\n", "a\n")).toEqual([{ kind: "same", lines: ["a", ""], numbers: [1, 1] }]);
  });
});

describe("fold", () => {
  const lines = ["1", "2", "3", "4", "5", "6"];
  it.each([
    [lines, false, false, { before: ["1", "2"], hidden: ["3", "4"], after: ["5", "6"] }],
    [lines, true, false, { before: [], hidden: ["1", "2", "3", "4"], after: ["5", "6"] }],
    [lines, false, true, { before: ["1", "2"], hidden: ["3", "4", "5", "6"], after: [] }],
    [lines.slice(0, 5), false, false, { before: lines.slice(0, 5), hidden: [], after: [] }],
    [lines.slice(0, 1), true, true, { before: ["1"], hidden: [], after: [] }],
  ])("hides what is far from differences: %j", (given, atStart, atEnd, folded) => {
    expect(fold(given, atStart, atEnd)).toEqual(folded);
  });
});
