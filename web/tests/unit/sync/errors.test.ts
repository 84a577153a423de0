import { readFileSync } from "node:fs";

import { describe, expect, it } from "vitest";

import { actionOf, CODES } from "../../../src/sync";

describe("CODES", () => {
  it("is the table of docs/protocol.md 14", () => {
    const page = readFileSync(new URL("../../../../docs/protocol.md", import.meta.url), "utf-8");
    const rows =
      page
        .split("\n## 14. Codes")[1]
        ?.split("\n## ")[0]
        ?.matchAll(/^\| `(\w+)` \| ([\w-]+) \|/gm) ?? [];
    expect(CODES).toEqual(Object.fromEntries([...rows].map(([, code, action]) => [code, action])));
  });

  it("has every later code tried again", () => {
    expect(actionOf("of_a_later_version")).toBe("retry");
  });
});
