import fc from "fast-check";
import { describe, expect, it } from "vitest";

import type { ConflictDetails } from "../../../../src/ui/api";
import { splitLines } from "../../../../src/ui/diff/lines";
import {
  inEditor,
  linesIn,
  pickedOf,
  picksOf,
  placesOf,
  rangeOf,
  render,
  textsOf,
  type Pick,
  type Place,
  type Texts,
} from "../../../../src/ui/conflicts/places";

function texts(given: Partial<Texts>): Texts {
  return { first: "", second: "", base: null, merged: null, spots: [], ...given };
}

/** Put a pick at every place, the last first, so that ranges stay right. */
function pickAll(proposal: string, places: readonly Place[], pick: Pick): string {
  let text = proposal;
  for (const place of [...places].reverse()) {
    const range = rangeOf(splitLines(text), place.start, place.end);
    text = text.slice(0, range.from) + render(place.lines[pick] ?? [], range.edge) + text.slice(range.to);
  }
  return text;
}

describe("placesOf", () => {
  it("has a place where both changed a line, with the merge's reason", () => {
    const merged = "# Trip\nat six\nat seven\nbring tea";
    const places = placesOf(
      merged,
      texts({
        base: "# Trip\nat five\nbring tea",
        first: "# Trip\nat six\nbring tea",
        second: "# Trip\nat seven\nbring tea",
        merged,
        spots: [{ start: 1, end: 3, reason: "both_changed", base: "at five", first: "at six", second: "at seven" }],
      }),
    );
    expect(places).toEqual([
      {
        start: 1,
        end: 3,
        lines: { first: ["at six"], second: ["at seven"], base: ["at five"], both: ["at six", "at seven"] },
        changedBy: "both",
        reason: "both_changed",
      },
    ]);
    expect(picksOf(places[0] as Place)).toEqual(["first", "second", "both", "base"]);
    expect(pickedOf(places[0] as Place, ["at six", "at seven"])).toBe("both");
    expect(pickedOf(places[0] as Place, ["at noon"])).toBeNull();
  });

  it("has a place where one side changed something, which is no choice of four", () => {
    const places = placesOf(
      "eggs\nmilk\ntea",
      texts({ base: "milk", first: "eggs\nmilk", second: "milk\ntea", merged: "eggs\nmilk\ntea" }),
    );
    expect(places.map(({ changedBy, reason }) => [changedBy, reason])).toEqual([
      ["first", null],
      ["second", null],
    ]);
    expect(picksOf(places[0] as Place)).toEqual(["first", "second"]);
    expect(places[0]?.lines).toMatchObject({ first: ["eggs"], second: [], base: [] });
  });

  it("has none where both changed the same", () => {
    expect(placesOf("b", texts({ base: "a", first: "b", second: "b", merged: "b" }))).toEqual([]);
  });

  it("finds the merge's places again in a note that was edited since", () => {
    const places = placesOf(
      "new first line\nat six\nat seven\nend",
      texts({
        base: "at five\nend",
        first: "at six\nend",
        second: "at seven\nend",
        merged: "at six\nat seven\nend",
        spots: [{ start: 0, end: 2, reason: "both_changed", base: "at five", first: "at six", second: "at seven" }],
      }),
    );
    expect(places).toHaveLength(1);
    expect(places[0]).toMatchObject({ start: 0, end: 3, reason: "both_changed" });
  });

  const line = fc.constantFrom("", "a", "b", "c", "d");
  const text = fc.array(line, { minLength: 1, maxLength: 8 }).map((lines) => lines.join("\n"));

  it("makes each version of the proposal, if that is picked at every place", () => {
    fc.assert(
      fc.property(text, text, text, text, (proposal, first, second, base) => {
        const places = placesOf(proposal, texts({ first, second, base, merged: proposal }));
        expect(pickAll(proposal, places, "first")).toBe(first);
        expect(pickAll(proposal, places, "second")).toBe(second);
        expect(pickAll(proposal, places, "both")).toBe(proposal);
        for (const [one, next] of places.slice(1).map((place, index) => [places[index], place])) {
          expect((one as Place).end).toBeLessThan((next as Place).start);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("reads from a range what it rendered there", () => {
    fc.assert(
      fc.property(text, fc.nat(8), fc.nat(8), fc.array(line, { maxLength: 3 }), (proposal, a, b, lines) => {
        const all = splitLines(proposal);
        const [start, end] = [Math.min(a, b, all.length), Math.min(Math.max(a, b), all.length)];
        const { edge } = rangeOf(all, start, end);
        if (edge === "whole" && lines.length === 0) return;
        expect(linesIn(render(lines, edge), edge)).toEqual(lines);
      }),
    );
  });
});

const change = { key: "note:a.md", timestamp: 2, device_id: "a", value: "x" };
const conflict: ConflictDetails = {
  epoch: "1-a",
  key: "note:a.md",
  kind: "siblings",
  siblings: [],
  sources: [],
  since: 0,
};

describe("inEditor", () => {
  const deleted = { ...change, value: null };

  it("has line feeds only where all texts have the same other line end", () => {
    const sources = [{ ...change, value: "x\r\ny\r\n" }, deleted];
    const base = { ...change, value: "x\r\n" };
    expect(inEditor({ ...conflict, sources, base, merged: "z\r\n", proposal: "z\r\n" })).toEqual([
      {
        ...conflict,
        sources: [{ ...change, value: "x\ny\n" }, deleted],
        base: { ...change, value: "x\n" },
        merged: "z\n",
        proposal: "z\n",
      },
      "\r\n",
    ]);
  });

  it("leaves texts of different line ends as they are: the difference is something to choose", () => {
    const mixed = { ...conflict, sources: [{ ...change, value: "x\r\n" }, deleted], proposal: "x\n" };
    expect(inEditor(mixed)).toEqual([mixed, "\n"]);
  });
});

describe("textsOf", () => {
  it("takes exactly two texts", () => {
    expect(textsOf({ ...conflict, sources: [change, { ...change, value: "y" }], merged: "xy" })).toEqual(
      texts({ first: "x", second: "y", merged: "xy" }),
    );
    expect(textsOf({ ...conflict, sources: [change] })).toBeNull();
    expect(textsOf({ ...conflict, sources: [change, change, change] })).toBeNull();
    expect(textsOf({ ...conflict, sources: [change, { ...change, value: null }] })).toBeNull();
    const blob = { sha256: "0".repeat(64), size: 1 };
    expect(textsOf({ ...conflict, sources: [change, { ...change, value: "", blob }] })).toBeNull();
  });
});
