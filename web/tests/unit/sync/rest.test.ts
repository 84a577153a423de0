/** What the device asks of the server's REST. */

import { createHash } from "node:crypto";

import { afterEach, expect, test, vi } from "vitest";

import { Rest } from "../../../src/sync/rest";

const MIB = 2 ** 20;
const BYTES = new Uint8Array(2.5 * MIB).map((_, at) => at % 251);
const BLOB = { sha256: createHash("sha256").update(BYTES).digest("hex"), size: BYTES.length };

afterEach(() => {
  vi.unstubAllGlobals();
});

/** Answer each request for a part of the blob, from a byte to another, and remember them. */
function serve(answer: (start: number, stop: number) => Uint8Array<ArrayBuffer>): number[][] {
  const asked: number[][] = [];
  vi.stubGlobal("fetch", (_: URL, { headers }: { headers: Headers }) => {
    const [start = 0, last = BYTES.length - 1] = (headers.get("Range") ?? "").match(/\d+/g)?.map(Number) ?? [];
    asked.push([start, last + 1]);
    return Promise.resolve(new Response(answer(start, last + 1), { status: 206 }));
  });
  return asked;
}

test("a blob comes in pieces, so that it may take as long as it takes", async () => {
  const asked = serve((start, stop) => BYTES.slice(start, stop));
  const bytes = await new Rest("http://host", "main").download(BLOB);
  expect(Buffer.compare(new Uint8Array(await bytes.arrayBuffer()), BYTES)).toBe(0);
  expect(asked).toEqual([
    [0, MIB],
    [MIB, 2 * MIB],
    [2 * MIB, 3 * MIB],
  ]);
});

test("a blob whose server gives it whole, whatever is asked for, is asked for once", async () => {
  const asked = serve(() => BYTES);
  expect((await new Rest("http://host", "main").download(BLOB)).size).toBe(BLOB.size);
  expect(asked).toHaveLength(1);
});

test.each([
  ["nothing", () => new Uint8Array()],
  ["other bytes", (start: number, stop: number) => new Uint8Array(stop - start)],
])("a server that sends %s in place of a blob is not believed, nor asked for ever", async (_, answer) => {
  serve(answer);
  await expect(new Rest("http://host", "main").download(BLOB)).rejects.toMatchObject({ code: "bad_blob" });
});

test("a blob of no bytes is not asked for", async () => {
  const asked = serve(() => new Uint8Array());
  const sha256 = createHash("sha256").digest("hex");
  expect((await new Rest("http://host", "main").download({ sha256, size: 0 })).size).toBe(0);
  expect(asked).toEqual([]);
});
