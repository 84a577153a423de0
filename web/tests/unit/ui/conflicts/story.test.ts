import { describe, expect, it } from "vitest";

import type { Change } from "../../../../src/sync";
import type { ConflictDetails } from "../../../../src/ui/api";
import { besideOf, namesOf, shownOf, storyOf } from "../../../../src/ui/conflicts/story";

function source(device_id: string, more: Partial<Change> = {}): Change {
  return { key: "note:a.md", timestamp: 7, device_id, value: device_id, ...more };
}

function conflict(given: Partial<ConflictDetails>): ConflictDetails {
  const sources = [source("laptop"), source("phone")];
  return { epoch: "1-a", key: "note:a.md", kind: "merged", siblings: [], sources, since: 0, ...given };
}

const spot = { start: 0, end: 1, reason: "both_changed" as const, base: "", first: "", second: "" };
/** A version that the log does not have: that of before a backup was restored. */
const gone = { timestamp: 5, device_id: "laptop" };
const blob = { sha256: "0".repeat(64), size: 1 };

describe("storyOf", () => {
  it.each<[string, Partial<ConflictDetails>]>([
    ["tie", {}],
    ["spots", { spots: [spot] }],
    ["merged", { sources: [source("laptop"), source("phone", { timestamp: 9 })] }],
    ["versions", { kind: "siblings", base: source("laptop") }],
    ["created", { kind: "siblings", sources: [source("laptop", { base: [] }), source("phone", { base: [] })] }],
    ["apart", { kind: "siblings", sources: [source("laptop", { base: [gone] }), source("phone", { base: [] })] }],
    ["apart", { kind: "siblings" }],
    [
      "files",
      { key: "file:a.png", kind: "siblings", sources: [source("laptop"), source("phone", { value: "", blob })] },
    ],
    ["large", { kind: "siblings", sources: [source("laptop"), source("phone", { value: "", blob })] }],
    ["deleted", { kind: "siblings", sources: [source("laptop", { value: null }), source("phone")] }],
    ["lone", { sources: [source("laptop")] }],
  ])("tells of %s", (story, given) => {
    expect(storyOf(conflict(given))).toBe(story);
  });
});

describe("namesOf", () => {
  it("names devices, this browser, merges and the server, each its own way", () => {
    const both = [gone, { timestamp: 6, device_id: "phone" }];
    const sources = [
      source("laptop"),
      source("web-1"),
      source("server.1-a", { base: both }),
      source("server.1-a", { base: [gone], merged_from: [gone] }),
      source("server.1-a", { base: [gone] }),
      source("server.1-a", { base: both, value: null }),
      source("laptop"),
    ];
    expect(namesOf(sources, "web-1", { here: "this browser", server: "the server", merge: "the merge" })).toEqual([
      "laptop",
      "this browser",
      "the merge",
      "the merge (2)",
      "the server",
      "the server (2)",
      "laptop (2)",
    ]);
  });
});

describe("shownOf", () => {
  it("is the greatest that is no deletion, while versions compete", () => {
    const sources = [source("laptop"), source("phone", { value: null })];
    expect(shownOf(conflict({ kind: "siblings", sources }))?.device_id).toBe("laptop");
    expect(shownOf(conflict({}))).toBeNull();
  });
});

describe("besideOf", () => {
  it.each([
    ["Trip.md", "Trip (2).md"],
    ["a.tar.gz", "a.tar (2).gz"],
    ["README", "README (2)"],
    [".env", ".env (2)"],
  ])("names a note beside %s", (name, beside) => {
    expect(besideOf(name)).toBe(beside);
  });
});
