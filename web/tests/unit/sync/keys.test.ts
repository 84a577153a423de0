import { expect, test } from "vitest";

import { problemOfPath } from "../../../src/sync";

test.each([
  ["", "empty"],
  ["back\\slash", "backslash"],
  ["tab\there", "control"],
  ["half \ud83d", "unicode"],
  ["a/".repeat(600), "long"],
  ["a:b", "absolute"],
  ["x/../y", "dots"],
  [".Tidenote/x", "own"],
  ["n".repeat(256), "longName"],
  ["Ideas/a\u0308", null],
])("what is wrong with %j is %s", (path, problem) => {
  expect(problemOfPath(path)).toBe(problem);
});
