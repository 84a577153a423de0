import "fake-indexeddb/auto";

import { expect, test, vi } from "vitest";

import { Journal } from "../../../src/sync/journal";
import type { Received } from "../../../src/sync/session";
import { type Change, dotOf } from "../../../src/sync/version";
import { ending } from "./world";

async function open(name = `journal-${String(Math.random())}`): Promise<Journal> {
  const journal = await Journal.open(name);
  ending(() => Promise.resolve(journal.close()));
  await journal.bind("browser", "main");
  return journal;
}

function accepting(changes: Received["accepted"]): Received {
  return {
    kind: "received",
    epoch: "1-x",
    cursor: 9,
    siblings: new Map(),
    behind: 0,
    accepted: changes,
    unlisted: [],
    rejected: [],
    answered: true,
    skipped: [],
  };
}

test("all heads are of one moment, whatever is written meanwhile", async () => {
  const journal = await open();
  await journal.lead("tab", 0, Number.MAX_SAFE_INTEGER, true);
  const changes = await journal.write([{ key: "note:a.md", value: "one" }], "tab", 0);
  const reading = journal.allHeads();
  await journal.apply(accepting(changes), "tab", 0);
  expect((await reading).map(({ confirmed, own }) => [confirmed.length, own.length])).toEqual([[0, 1]]);
  expect((await journal.allHeads()).map(({ confirmed, own }) => [confirmed.length, own.length])).toEqual([[1, 0]]);
});

test("a deletion goes along with the change that it deletes, and nothing else of that key does", async () => {
  const journal = await open();
  const key = "note:a.md";
  const [first] = await journal.write([{ key, value: "one" }], "tab", 0);
  if (!first) throw new Error("nothing was written");
  await journal.write([{ key, value: null, base: [first] }], "tab", 0);
  await journal.write([{ key: "note:b.md", value: "two" }], "another tab", 0);
  await journal.write([{ key, value: "three" }], "another tab", 0);
  expect((await journal.take()).map((change) => [change.key, change.value])).toEqual([
    [key, "one"],
    [key, null],
    ["note:b.md", "two"],
  ]);
});

test.each(["value_too_large", "dot_reused", "clock_too_far"])(
  "a deletion holds although what it deletes is refused: %s",
  async (code) => {
    const journal = await open();
    await journal.lead("tab", 0, Number.MAX_SAFE_INTEGER, true);
    const key = "note:a.md";
    const old: Change = { key, value: "old", timestamp: 4, device_id: "x", base: [] };
    await journal.apply({ ...accepting([]), siblings: new Map([[key, [old]]]) }, "tab", 0);
    await journal.write([{ key, value: "too much" }], "tab", 0);
    await journal.write([{ key, value: null }], "tab", 0);
    const [edit, deletion] = await journal.take();
    if (!edit || !deletion) throw new Error("nothing was written");
    const rejected = [[edit, { ...dotOf(edit), key, code, message: "no", clock: 3 }] as const];
    await journal.apply({ ...accepting([deletion]), rejected }, "tab", 0);
    const { confirmed, own } = await journal.read(key);
    expect([confirmed.map(dotOf), own]).toEqual([[dotOf(deletion)], []]);
    expect((await journal.meta()).deviceId).toBe(code === "dot_reused" ? "browser~2" : "browser");
  },
);

test("a text whose dot was used before is not taken for deleted", async () => {
  const journal = await open();
  await journal.lead("tab", 0, Number.MAX_SAFE_INTEGER, true);
  const key = "note:a.md";
  const [mine] = await journal.write([{ key, value: "after the data was set back" }], "tab", 0);
  await journal.take();
  if (!mine) throw new Error("nothing was written");
  const others: Change = { key, value: "theirs", timestamp: 9, device_id: "x", base: [dotOf(mine)] };
  await journal.apply({ ...accepting([]), siblings: new Map([[key, [others]]]) }, "tab", 0);
  const rejected = [[mine, { ...dotOf(mine), key, code: "dot_reused", message: "no" }] as const];
  await journal.apply({ ...accepting([]), rejected }, "tab", 0);
  const { own } = await journal.read(key);
  expect(own.map(({ change }) => [change.value, change.device_id])).toEqual([[mine.value, "browser~2"]]);
});

test("bytes can be had although there is no room to note that they were", async () => {
  const journal = await open();
  await journal.keep("0".repeat(64), new Blob(["bytes"]), 0);
  const put = vi.spyOn(IDBObjectStore.prototype, "put").mockImplementation(() => {
    throw new DOMException("full", "QuotaExceededError");
  });
  expect(await journal.blob("0".repeat(64), 24 * 3_600_000)).not.toBeNull();
  put.mockRestore();
});

test("a journal that is known opens without room for anything more", async () => {
  const name = `journal-${String(Math.random())}`;
  await (await open(name)).bind("browser", "main");
  const put = vi.spyOn(IDBObjectStore.prototype, "put").mockImplementation(() => {
    throw new DOMException("full", "QuotaExceededError");
  });
  const journal = await open(name);
  await expect(journal.write([{ key: "note:a.md", value: "one" }], "tab", 0)).rejects.toMatchObject({
    code: "storage_full",
  });
  put.mockRestore();
  expect(await journal.allHeads()).toEqual([]);
});

test("bytes that no change needs any more are kept up to a bound, however often a long note is saved", async () => {
  const journal = await open();
  const size = 20 * 2 ** 20;
  const kept = async (count: number): Promise<boolean[]> =>
    Promise.all(
      Array.from(
        { length: count },
        async (_, at) => (await journal.blob(`${String(at)}`.padStart(64, "0"), 0)) !== null,
      ),
    );
  for (let at = 0; at < 6; at += 1) {
    const blob = { sha256: `${String(at)}`.padStart(64, "0"), size };
    await journal.write([{ key: "note:a.md", value: "", blob, bytes: new Blob(["long"]) }], "tab", at);
  }
  // The last one is to be sent, and three more fit.
  expect(await kept(6)).toEqual([false, false, true, true, true, true]);
});
