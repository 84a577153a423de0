import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { diffLines, diffWords, splitLines } from "../../../../src/ui/diff/lines";

const line = fc.constantFrom("", "a", "b", "c d", "\u{1f30a} e");
const lines = fc.array(line, { maxLength: 12 });

describe("diffLines", () => {
  it("finds what was put in, taken out and replaced", () => {
    expect(diffLines(["a", "b", "c"], ["a", "x", "b"])).toEqual([
      { fromA: 1, toA: 1, fromB: 1, toB: 2 },
      { fromA: 2, toA: 3, fromB: 3, toB: 3 },
    ]);
    expect(diffLines(["a", "b"], ["a", "c"])).toEqual([{ fromA: 1, toA: 2, fromB: 1, toB: 2 }]);
    expect(diffLines(["a"], ["a"])).toEqual([]);
  });

  it("makes the other text of the one, with a common line between any two hunks", () => {
    fc.assert(
      fc.property(lines, lines, (a, b) => {
        const hunks = diffLines(a, b);
        const made: string[] = [];
        let at = 0;
        for (const { fromA, toA, fromB, toB } of hunks) {
          expect(at === 0 ? fromA >= at : fromA > at).toBe(true);
          made.push(...a.slice(at, fromA), ...b.slice(fromB, toB));
          at = toA;
        }
        expect([...made, ...a.slice(at)]).toEqual(b);
      }),
    );
  });

  it("has a hunk for all that differs where there are more lines than codes", () => {
    const many = Array.from({ length: 70_000 }, (_, number) => String(number));
    const other = [...many.slice(0, 10), "new", ...many.slice(10, -1), "end"];
    expect(diffLines(many, other)).toEqual([{ fromA: 10, toA: 70_000, fromB: 10, toB: 70_001 }]);
  });
});

describe("diffWords", () => {
  it("marks whole words", () => {
    const [one, other] = diffWords("call Bob at five", "call Ada at five");
    expect(one).toEqual([
      { text: "call ", mark: false },
      { text: "Bob", mark: true },
      { text: " at five", mark: false },
    ]);
    expect(other[1]).toEqual({ text: "Ada", mark: true });
  });

  it("covers both texts", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 40 }), fc.string({ maxLength: 40 }), (a, b) => {
        const [one, other] = diffWords(a, b);
        expect(one.map(({ text }) => text).join("")).toBe(a);
        expect(other.map(({ text }) => text).join("")).toBe(b);
      }),
    );
  });
});

describe("splitLines", () => {
  it("keeps the last line, though empty, and splits at line feeds only", () => {
    expect(splitLines("a\r\nb\u2028c\n")).toEqual(["a\r", "b\u2028c", ""]);
  });
});
