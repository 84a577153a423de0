import { createHash } from "node:crypto";

import fc from "fast-check";
import { afterEach, expect, test, vi } from "vitest";

import { Sha256, sha256Hex } from "../../../src/sync/sha256";

afterEach(() => {
  vi.unstubAllGlobals();
});

function expected(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

test("pieces of any length have the hash of the whole", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 6 }), (pieces) => {
      const hash = new Sha256();
      for (const piece of pieces) hash.update(piece);
      expect(Buffer.from(hash.digest()).toString("hex")).toBe(expected(Buffer.concat(pieces)));
    }),
  );
});

test("a page without crypto.subtle hashes as well", async () => {
  const bytes = new Uint8Array(3_000_000).map((_, at) => at % 253);
  expect(await sha256Hex(new Blob([bytes]))).toBe(expected(bytes));
  vi.stubGlobal("crypto", { getRandomValues: () => undefined });
  expect(await sha256Hex(new Blob([bytes]))).toBe(expected(bytes));
});
