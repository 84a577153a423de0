import { describe, expect, it } from "vitest";

import { fromInput, toInput } from "../../../../src/ui/past/inputs";

describe("inputs", () => {
  const at = new Date(2026, 2, 14, 9, 5, 7).getTime();

  it("say the time where the reader is", () => {
    expect(toInput(at)).toBe("2026-03-14T09:05:07");
    expect(fromInput(toInput(at), at)).toBe(at);
  });

  it("take no time that is none, or still to come", () => {
    expect(fromInput("", at)).toBeNull();
    expect(fromInput("2026-03-14T09:05:08", at)).toBeNull();
  });
});
