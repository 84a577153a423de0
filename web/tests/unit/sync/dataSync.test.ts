/** What a full reconcile fetches and offers. */

import "fake-indexeddb/auto";

import { expect, test } from "vitest";

import { DataSync, difference } from "../../../src/sync/dataSync";
import { TidenoteError } from "../../../src/sync/errors";
import { Journal } from "../../../src/sync/journal";
import type { SyncPush } from "../../../src/sync/messages";
import type { Rest } from "../../../src/sync/rest";
import { sha256Hex } from "../../../src/sync/sha256";
import type { BlobRef, Change, Stub } from "../../../src/sync/version";
import { change } from "./changes";
import { ending } from "./world";

const A = "note:a.md";

/**
 * Return the heads of a note by their short names: `5x` is timestamp 5 of device x, `5x*` the same with the mark,
 * `5x=one` the same with a hash.
 */
function heads(names: string | undefined): Map<string, (Stub & { sha256?: string })[]> {
  const found = (names?.split(" ") ?? []).map((name) => {
    const [, timestamp, device_id = "", mark, sha256] = /^(\d+)([a-z])(\*?)(?:=(\w+))?$/.exec(name) ?? [];
    return {
      key: A,
      timestamp: Number(timestamp),
      device_id,
      ...(mark && { conflict: true as const }),
      ...(sha256 !== undefined && { sha256 }),
    };
  });
  return new Map(found.length > 0 ? [[A, found]] : []);
}

test.each([
  { ours: undefined, theirs: undefined, pulls: false, offers: "" },
  { ours: "1x", theirs: "1x", pulls: false, offers: "" },
  { ours: "1x 2y", theirs: "2y 1x", pulls: false, offers: "" },
  { ours: "1x", theirs: undefined, pulls: false, offers: "1x" },
  { ours: undefined, theirs: "1x", pulls: true, offers: "" },
  { ours: "1x", theirs: "2x", pulls: true, offers: "1x" },
  { ours: "1x 2y", theirs: "1x", pulls: true, offers: "2y" },
  { ours: "1x", theirs: "1x 2y", pulls: true, offers: "" },
  { ours: "1x*", theirs: "1x*", pulls: false, offers: "" },
  { ours: "1x", theirs: "1x*", pulls: true, offers: "" },
  { ours: "1x*", theirs: "1x", pulls: true, offers: "" },
  { ours: "1x* 2y", theirs: "1x 2y*", pulls: true, offers: "" },
  { ours: "1x=one", theirs: "1x=one", pulls: false, offers: "" },
  { ours: "1x=one", theirs: "1x=another", pulls: true, offers: "1x" },
  { ours: "1x=one", theirs: "1x", pulls: true, offers: "1x" },
  { ours: "1x=one 2y", theirs: "1x=another 2y", pulls: true, offers: "1x" },
])("of $ours and $theirs, dots, marks and hashes tell the difference", ({ ours, theirs, pulls, offers }) => {
  const found = difference(heads(ours), heads(theirs));
  expect(found.pull).toEqual(pulls ? [A] : []);
  expect(found.offer.map(({ timestamp, device_id }) => `${String(timestamp)}${device_id}`).join(" ")).toBe(offers);
});

test("what was written under a dot that is used again is sent anew", async () => {
  const before = [change(5, "other", null, { value: "before" }), change(7, "x", [], { key: "note:b.md" })];
  const journal = await following(before);
  const after = change(5, "other", [], { value: "after" });
  const server = restored([after, ...before.slice(1)]);
  await new DataSync(journal, server.rest, "tab", () => Promise.resolve()).run(false);
  expect(server.offered).toEqual([before[0]]);
  const { confirmed, own } = await journal.read(A);
  expect(confirmed).toEqual([after]);
  expect(own).toMatchObject([{ parked: false, change: { value: "before", device_id: "browser", base: [] } }]);
  expect((await journal.meta()).epoch).toBe("2-y");
});

test("bytes that are over the limit by now are parked and hold up nothing", async () => {
  const blob = { sha256: "0".repeat(64), size: 5 };
  const before = ["a", "b"].map((name, at) => change(at + 5, "x", [], { key: `file:${name}.png`, value: "", blob }));
  const journal = await following(before);
  await journal.keep(blob.sha256, new Blob(["bytes"]), 0);
  const server = restored([], "blob_missing");
  await new DataSync(journal, server.rest, "tab", () => Promise.resolve()).run(false);
  for (const each of before) {
    expect((await journal.read(each.key)).own).toMatchObject([
      { parked: true, code: "message_too_large", change: each },
    ]);
  }
  expect(server.uploads).toEqual([blob]);
  expect((await journal.meta()).epoch).toBe("2-y");
});

/** Return a journal that holds these versions of a log that the server lost. */
async function following(changes: readonly Change[]): Promise<Journal> {
  const journal = await Journal.open(`data-sync-${String(Math.random())}`);
  ending(() => Promise.resolve(journal.close()));
  await journal.bind("browser", "main");
  await journal.lead("tab", 0, Number.MAX_SAFE_INTEGER, true);
  await journal.reconcile(new Map(changes.map((each) => [each.key, [each]])), "tab");
  await journal.resynced("1-x", 9, "tab", 0);
  return journal;
}

/** Return a server that has these versions, refuses every offer, by default for its dot, and takes no bytes. */
function restored(
  changes: readonly Change[],
  code = "dot_reused",
): { rest: Rest; offered: Change[]; uploads: BlobRef[] } {
  const uploads: BlobRef[] = [];
  const offered: Change[] = [];
  const rest = {
    manifest: async () => ({
      epoch: "2-y",
      clock: 99,
      entries: await Promise.all(
        changes.map(async ({ key, value, timestamp, device_id }) => ({
          key,
          dots: [{ timestamp, device_id, sha256: await sha256Hex(new Blob([value ?? ""])) }],
        })),
      ),
    }),
    sync: ({ id, changes: pushed }: SyncPush) => {
      offered.push(...pushed);
      const rejected = pushed.map(({ key, timestamp, device_id }) => {
        return { key, timestamp, device_id, code, message: "no" };
      });
      return Promise.resolve(JSON.stringify({ type: "sync_ack", ack_timestamp: 99, changes: [], id, rejected }));
    },
    fetch: (keys: readonly string[]) =>
      Promise.resolve({ epoch: "2-y", changes: changes.filter(({ key }) => keys.includes(key)) }),
    upload: (blob: BlobRef) => {
      uploads.push(blob);
      return Promise.reject(new TidenoteError("message_too_large", "a blob has at most 4 bytes"));
    },
  };
  return { rest: rest as unknown as Rest, offered, uploads };
}
