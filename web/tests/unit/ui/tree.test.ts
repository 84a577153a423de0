import { expect, test } from "vitest";

import type { NoteInfo } from "../../../src/sync";
import { fuzzy } from "../../../src/ui/notes/fuzzy";
import { foldersOf, rowsOf, titleOf, treeOf } from "../../../src/ui/notes/tree";

function info(path: string): NoteInfo {
  const dot = { timestamp: 1, device_id: "a" };
  return { key: `note:${path}`, path, dot, modifiedAt: null, conflict: false, pending: false };
}

const notes = ["b.md", "Ideas/boat.md", "Ideas/old/raft.md", "a10.md", "a2.md"].map(info);

test("folders come first, then notes, as people count", () => {
  expect(rowsOf(treeOf(notes), new Set()).map((row) => row.name)).toEqual(["Ideas", "a2", "a10", "b"]);
});

test("an open folder shows what is in it, one level deeper", () => {
  const rows = rowsOf(treeOf(notes), new Set(["Ideas/", "Ideas/old/"]));
  expect(rows.map((row) => `${String(row.level)} ${row.id}`)).toEqual([
    "1 Ideas/",
    "2 Ideas/old/",
    "3 Ideas/old/raft.md",
    "2 Ideas/boat.md",
    "1 a2.md",
    "1 a10.md",
    "1 b.md",
  ]);
  expect(rows[0]?.folder).toEqual({ open: true, count: 2 });
  expect(rows[3]).toMatchObject({ position: 2, setSize: 2 });
});

test("a path knows its folders and its title", () => {
  expect(foldersOf("Ideas/old/raft.md")).toEqual(["Ideas/", "Ideas/old/"]);
  expect(titleOf("Ideas/old/raft.md")).toBe("raft");
  expect(titleOf("picture.png")).toBe("picture.png");
});

test("fuzzy search prefers names to folders and runs to scattered letters", () => {
  const paths = ["boats/plan.md", "Ideas/boat.md", "big old attic.md", "Ägypten.md"];
  expect(fuzzy("boat", paths, (path) => path, 9).map((match) => match.item)).toEqual([
    "Ideas/boat.md",
    "boats/plan.md",
    "big old attic.md",
  ]);
  expect(fuzzy("agy", paths, (path) => path, 9).map((match) => match.item)).toEqual(["Ägypten.md"]);
  expect(fuzzy("zzz", paths, (path) => path, 9)).toEqual([]);
  expect(fuzzy("", paths, (path) => path, 2)).toHaveLength(2);
});
