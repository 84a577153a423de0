import { describe, expect, it } from "vitest";

import { list, nameOf } from "../../../../src/ui/parts/names";

describe("names", () => {
  it("are listed as people do", () => {
    expect([list([]), list(["a"]), list(["a", "b"]), list(["a", "b", "c"])]).toEqual([
      "",
      "a",
      "a and b",
      "a, b, and c",
    ]);
  });

  it.each([
    ["note:a/b: c.md", "a/b: c.md", "b: c.md"],
    ["file:photo.png", "photo.png", "photo.png"],
  ])("are cut out of keys: %s", (key, path, name) => {
    expect([nameOf(key), nameOf(path)]).toEqual([name, name]);
  });
});
