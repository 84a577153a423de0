import { expect, test } from "vitest";

import { pathFrom } from "../../../src/ui/notes/paths";

test.each([
  ["boat", "boat.md"],
  [" /Ideas/boat/ ", "Ideas/boat.md"],
  ["27.11.2026", "27.11.2026.md"],
  ["Release v1.2", "Release v1.2.md"],
  [".hidden", ".hidden.md"],
  ["plan.png", "plan.png.md"],
  ["Note.MD", "Note.MD"],
  ["list.json", "list.json"],
])("who types %s means %s", (typed, path) => {
  expect(pathFrom(typed)).toBe(path);
});

test.each(["", "..", "../x", "a:b"])("%j is no name, and becomes none", (typed) => {
  expect(pathFrom(typed)).toBe(typed);
});

test("a file keeps the ending that it is given, a note stays a note", () => {
  expect(pathFrom("Meeting 1.2", "a.md")).toBe("Meeting 1.2.md");
  expect(pathFrom("plan.jpg", "plan.png")).toBe("plan.jpg");
});
