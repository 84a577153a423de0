import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { Renamed } from "../../../src/ui/editor/relink";
import { LinkIndex } from "../../../src/ui/preview/links";

const PATHS = [
  "Boat.md",
  "Index.md",
  "Trips/Sweden.md",
  "Trips/Index.md",
  "Trips/img/a b.png",
  "Trips/img/map.png",
  "Trips/Notes (old).md",
  "Other/Trips.md",
  "Other/plan.png",
  "Ärger.md",
];

function renamed(...moves: [string, string][]): Renamed {
  return new Renamed(PATHS, new Map(moves));
}

function folder(from: string, to: string): Renamed {
  return renamed(
    ...PATHS.filter((path) => path.startsWith(from)).map((path): [string, string] => [
      path,
      to + path.slice(from.length),
    ]),
  );
}

describe("a note that is called something else", () => {
  const boat = renamed(["Boat.md", "Ship.md"]);

  test.each([
    ["[[Boat]] and [[boat|my boat]]", "[[Ship]] and [[Ship|my boat]]"],
    ["![[Boat#Wood]], [[ Boat ]]", "![[Ship#Wood]], [[ Ship ]]"],
    ["[[Boat.md]]", "[[Ship.md]]"],
    ['[it](../Boat.md) [it](../Boat.md#wood "title")', '[it](../Ship.md) [it](../Ship.md#wood "title")'],
    ["[it](../Boat) [it](/Boat.md) [it](<../Boat.md>)", "[it](../Ship) [it](/Ship.md) [it](<../Ship.md>)"],
    ["[it][b]\r\n\r\n[b]: ../Boat.md 'x'\r\n", "[it][b]\r\n\r\n[b]: ../Ship.md 'x'\r\n"],
    ["[it](../%42oat.md) and [[Boat]]", "[it](../Ship.md) and [[Ship]]"],
  ])("is led to by %s", (before, after) => {
    expect(boat.relink(before, "Other/Trips.md")).toBe(after);
  });

  test.each([
    "Boat, and [Boat], and Boat.md",
    "`[[Boat]]` and `[it](../Boat.md)`",
    "```\n[[Boat]] [it](../Boat.md)\n```\n",
    "    [[Boat]]\n",
    "<!-- [[Boat]] -->\n",
    "[it](https://example.org/Boat.md) <https://example.org/Boat>",
    "[[Boats]] [it](Boat.md5)",
    "[[Trips/Boat]]x".replace("Trips/Boat", "Sailing/Boatswain"),
  ])("is not meant by %j", (text) => {
    expect(boat.relink(text, "Other/Trips.md")).toBe(text);
  });

  test("keeps the links to itself", () => {
    expect(boat.relink("[[Boat#Wood]] [[#Wood]] [x](#wood) [x](Boat.md#wood)", "Boat.md")).toBe(
      "[[Ship#Wood]] [[#Wood]] [x](#wood) [x](Ship.md#wood)",
    );
  });

  test("is led to by its path if its name is another note's", () => {
    expect(renamed(["Boat.md", "Old/Index.md"]).relink("[[Boat]]", "Ärger.md")).toBe("[[Old/Index]]");
  });

  test("may have a name that no wikilink can have", () => {
    const odd = renamed(["Boat.md", "a|b (1).md"]);
    expect(odd.relink("[[Boat]] [x](Boat.md)", "Ärger.md")).toBe("[[Boat]] [x](a%7Cb%20%281%29.md)");
  });

  test("may have had a name with an accent, written in two characters", () => {
    expect(renamed(["Ärger.md", "Joy.md"]).relink("[[A\u0308rger]]", "Boat.md")).toBe("[[Joy]]");
    expect(renamed(["Ärger.md", "Joy.md"]).relink("[x](%C3%84rger.md)", "Boat.md")).toBe("[x](Joy.md)");
  });
});

test("a note that moves leads on to what is not beside it any more", () => {
  const moved = renamed(["Trips/Sweden.md", "Sweden.md"]);
  const before =
    "![](img/map.png) ![](<img/a b.png>) [o](Notes%20%28old%29.md) [up](../Boat.md) [[Index]] [i](Index.md)";
  const after =
    "![](Trips/img/map.png) ![](<Trips/img/a%20b.png>) [o](Trips/Notes%20%28old%29.md) [up](Boat.md) [[Index]] [i](Trips/Index.md)";
  expect(moved.relink(before, "Trips/Sweden.md")).toBe(after);
  expect(moved.relink("[[Sweden]] [s](Sweden.md)", "Trips/Index.md")).toBe("[[Sweden]] [s](../Sweden.md)");
});

describe("a folder that is called something else", () => {
  const trips = folder("Trips/", "Archive/Travel/");

  test("needs no other links inside", () => {
    const text = "![](img/map.png) [[Index]] [i](Index.md) [[Sweden#x]]";
    expect(trips.relink(text, "Trips/Sweden.md")).toBe(text);
  });

  test("is led to from outside, and leads there", () => {
    expect(trips.relink("[[Trips/Sweden|S]] [[Sweden]] ![](Trips/img/map.png)", "Boat.md")).toBe(
      "[[Archive/Travel/Sweden|S]] [[Sweden]] ![](Archive/Travel/img/map.png)",
    );
    expect(trips.relink("![](../Other/plan.png)", "Trips/Sweden.md")).toBe("![](../../Other/plan.png)");
  });
});

test("a note that comes nearer to the root is not taken for the one that a name meant", () => {
  const paths = ["a/b/Plan.md", "c/Plan.md", "here.md"];
  const moved = new Renamed(paths, new Map([["a/b/Plan.md", "Plan.md"]]));
  expect(moved.relink("[[Plan]]", "here.md")).toBe("[[c/Plan]]");
});

test("whatever is renamed, links lead where they led, and nothing else changes", () => {
  const name = fc.constantFrom("a", "b", "A", "x y", "ü", "a(1)");
  const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => `${parts.join("/")}.md`);
  const world = fc.record({
    paths: fc.uniqueArray(path, { minLength: 2, maxLength: 8 }),
    renames: fc.array(path, { minLength: 8, maxLength: 8 }),
    which: fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }),
    links: fc.array(fc.tuple(path, fc.constantFrom("wiki", "path", "address")), { maxLength: 6 }),
  });
  fc.assert(
    fc.property(world, ({ paths, renames, which, links }) => {
      const stays = new Set(paths);
      const moves = new Map<string, string>();
      paths.forEach((one, at) => {
        const to = renames[at] ?? one;
        if (which[at] && !stays.has(to)) {
          stays.add(to);
          moves.set(one, to);
        }
      });
      const now = (one: string): string => moves.get(one) ?? one;
      const before = new LinkIndex(paths);
      const after = new LinkIndex(paths.map(now));
      const [from = ""] = paths;
      const targets = links.map(([to, how]) => {
        if (how === "wiki") return `[[${to.replace(/^.*\/|\.md$/g, "")}]]`;
        return how === "path" ? `[[${to.replace(/\.md$/, "")}]]` : `[x](<${to}>)`;
      });
      const relinked = new Renamed(paths, moves).relink(targets.join("\n"), from).split("\n");
      expect(relinked).toHaveLength(Math.max(1, targets.length));
      targets.forEach((link, at) => {
        const read = (text: string, index: LinkIndex, place: string): string | null => {
          const wiki = /^\[\[(.*)\]\]$/.exec(text)?.[1];
          return wiki === undefined ? index.address(text.slice(5, -2), place) : index.wikilink(wiki, place);
        };
        const led = read(link, before, from);
        if (led !== null) expect(read(relinked[at] ?? "", after, now(from))).toBe(now(led));
        else expect(relinked[at]).toBe(link);
      });
    }),
    { numRuns: 2000 },
  );
});
