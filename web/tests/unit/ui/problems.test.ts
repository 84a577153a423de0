import { describe, expect, it } from "vitest";

import { CODES } from "../../../src/sync";
import { ApiError } from "../../../src/ui/api";
import { messages } from "../../../src/ui/messages";
import { sayProblem } from "../../../src/ui/problems";

describe("sayProblem", () => {
  it("has words of its own for what people can do something about", () => {
    expect(sayProblem(new ApiError("read_only", "this device may only read", 403))).toBe(messages.problems.read_only);
  });

  it("names the code of everything else, and what the server said", () => {
    expect(sayProblem(new ApiError("bad_offset", "go on at 7", 409))).toContain("go on at 7 (bad_offset)");
    expect(sayProblem(new ApiError("toString", "odd", 400))).toContain("odd (toString)");
    expect(sayProblem(new TypeError("x is undefined"))).toContain("internal_error");
  });

  it("has words for codes that there are, and for no others", () => {
    const { other, ...known } = messages.problems;
    expect(Object.keys(known).filter((code) => !Object.hasOwn(CODES, code))).toEqual([]);
    expect(other("a", "b")).toContain("a");
  });
});
