import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import { expect, test, vi } from "vitest";

import { Replica, type BlobRef } from "../../../src/sync";
import { Journal } from "../../../src/sync/journal";

import { open, textOf } from "./world";

const options = { endpoint: "http://127.0.0.1:1", vault: "main", deviceId: "browser" };

test("what is written is there again after a reload", async () => {
  const first = await Replica.open(options);
  const heard: string[][] = [];
  first.subscribe(({ keys }) => heard.push(keys));
  await first.put("note:b.md", "two");
  await first.put("note:a.md", "one");
  await first.putBlob("file:c.png", new Blob(["bytes"]), "image/png");
  await first.rename([["note:b.md", "note:d.md"]]);
  await first.close();
  expect(heard).toEqual([["note:b.md"], ["note:a.md"], ["file:c.png"], ["note:d.md", "note:b.md"]]);

  const second = await Replica.open(options);
  expect(second.list().map(({ path, pending }) => [path, pending])).toEqual([
    ["a.md", true],
    ["c.png", true],
    ["d.md", true],
  ]);
  expect((await second.get("note:d.md"))?.text).toBe("two");
  expect(await second.get("note:b.md")).toBeNull();
  await second.delete(["note:a.md"]);
  expect(second.list()).toHaveLength(2);
  const { blob } = (await second.get("file:c.png")) ?? {};
  expect(await (await second.blob(blob as BlobRef)).text()).toBe("bytes");
  await second.close();
});

test("many notes are renamed some at a time, or none if one cannot be", async () => {
  const replica = await open({ endpoint: "http://127.0.0.1:1" });
  const keys = Array.from({ length: 45 }, (_, index) => `note:a/${String(index).padStart(2, "0")}.md`);
  for (const key of keys) await replica.put(key, `text of ${key}`);
  await replica.put("note:b/44.md", "in the way");
  const moves = keys.map((key) => [key, key.replace("a/", "b/")] as const);
  await expect(replica.rename(moves)).rejects.toMatchObject({ code: "bad_key" });
  await expect(replica.rename([...moves.slice(0, 3), ["note:a/99.md", "note:b/99.md"]])).rejects.toMatchObject({
    code: "not_found",
  });
  expect(replica.list().map(({ key }) => key)).toEqual([...keys, "note:b/44.md"]);

  await replica.delete(["note:b/44.md"]);
  const done: number[] = [];
  await replica.rename(moves, (count) => done.push(count));
  expect(done).toEqual([20, 40, 45]);
  expect(replica.list().map(({ key }) => key)).toEqual(moves.map(([, to]) => to));
  expect(await textOf(replica, "note:b/07.md")).toBe("text of note:a/07.md");
  expect(await replica.movedTo("note:a/07.md")).toBe("note:b/07.md");
});

test("what was deleted comes back, files too, over what is in its place now", async () => {
  const replica = await open({ endpoint: "http://127.0.0.1:1" });
  const keys = Array.from({ length: 25 }, (_, index) => `note:${String(index)}.md`);
  for (const key of keys) await replica.put(key, `text of ${key}`);
  await replica.putBlob("file:c.png", new Blob(["bytes"]), "image/png");
  const before = replica.list().map(({ key }) => key);
  const done: number[] = [];
  const deleted = await replica.delete([...keys, "note:absent.md", "file:c.png"], (count) => done.push(count));
  expect([deleted.length, done]).toEqual([26, [20, 27]]);
  expect(replica.list()).toEqual([]);
  await replica.bringBack(deleted);
  expect(replica.list().map(({ key }) => key)).toEqual(before);
  expect(await textOf(replica, "note:7.md")).toBe("text of note:7.md");
  const { blob } = (await replica.get("file:c.png")) ?? {};
  expect(await (await replica.blob(blob as BlobRef)).text()).toBe("bytes");
});

test("what a server has is forgotten, what it has not stays", async () => {
  const endpoint = "http://127.0.0.1:2";
  const names = async () =>
    (await indexedDB.databases()).map(({ name }) => name).filter((name) => name?.includes(":2/"));
  for (const vault of ["sent", "unsent"]) {
    const replica = await Replica.open({ endpoint, vault, deviceId: "browser" });
    if (vault === "unsent") await replica.put("note:a.md", "one");
    await replica.close();
  }
  expect(await names()).toHaveLength(2);
  await Replica.forget(endpoint, "sent");
  expect(await names()).toEqual([`tidenote/${endpoint}/unsent`]);
});

test("what is held back is not forgotten, and a database that another tab is making is no obstacle", async () => {
  const endpoint = "http://127.0.0.1:3";
  const name = `tidenote/${endpoint}/main`;
  const journal = await Journal.open(name);
  await journal.bind("browser", "main");
  await journal.lead("tab", 0, Number.MAX_SAFE_INTEGER, true);
  const change = { key: "note:a.md", value: "the only copy", timestamp: 1, device_id: "x", base: [] };
  await journal.reconcile(new Map([[change.key, [change]]]), "tab");
  await journal.quarantine([change.key], "tab", 0);
  journal.close();
  await Promise.all([Replica.forget(endpoint, "main"), Replica.forget(endpoint, "main")]);
  const replica = await Replica.open({ endpoint, vault: "main", deviceId: "browser" });
  expect(await textOf(replica, "note:a.md")).toBe("the only copy");
  await replica.close();
});

test("what another tab writes while a browser signs out is kept, or refused", async () => {
  const seen = new Set<string>();
  for (let round = 0; round < 30; round += 1) {
    const endpoint = `http://127.0.0.1:${String(100 + round)}`;
    const name = `tidenote/${endpoint}/main`;
    const tab = await Journal.open(name);
    await tab.bind("browser", "main");
    const forgotten = Replica.forget(endpoint, "main");
    for (let turn = 0; turn < round; turn += 1) await new Promise(setImmediate);
    const write = tab.write([{ key: "note:a.md", value: "words" }], "tab", 0);
    const outcome = await write.then(
      () => "written",
      () => "refused",
    );
    await forgotten;
    tab.close();
    const again = await Journal.open(name);
    expect((await again.read("note:a.md")).own).toHaveLength(outcome === "written" ? 1 : 0);
    again.close();
    seen.add(outcome);
  }
  expect([...seen]).toEqual(["written", "refused"]);
});

test("half of a surrogate pair becomes U+FFFD", async () => {
  const replica = await open({ endpoint: "http://127.0.0.1:1" });
  await replica.put("note:a.md", "\ud83d\ude00 \ud83d");
  expect(await textOf(replica, "note:a.md")).toBe("\u{1f600} \ufffd");
});

test("a database that has to go is let go of, and its owner hears of it", async () => {
  let gone = 0;
  const name = `browser-${String(Math.random())}`;
  const replica = await open({ endpoint: "http://127.0.0.1:1", name, onGone: () => gone++ });
  await replica.put("note:a.md", "one");
  await new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase(name);
    request.onsuccess = resolve;
    request.onerror = reject;
  });
  expect(gone).toBe(1);
  await expect(replica.put("note:a.md", "two")).rejects.toMatchObject({ code: "storage_failed" });
});

test("a replica whose server never answers closes without waiting for it", async () => {
  const silent = createServer(() => undefined);
  // Nor does it ever answer who wants a WebSocket.
  silent.on("upgrade", () => undefined);
  await new Promise<void>((listening) => silent.listen(0, "127.0.0.1", listening));
  const endpoint = `http://127.0.0.1:${String((silent.address() as AddressInfo).port)}`;
  const asked = once(silent, "request");
  // Nor does anything of ours lose its patience.
  vi.spyOn(AbortSignal, "timeout").mockReturnValue(new AbortController().signal);
  const replica = await open({ endpoint });
  await replica.putBlob("file:a.bin", new Blob(["bytes"]), "application/octet-stream");
  await asked;
  await replica.close();
  vi.restoreAllMocks();
  silent.closeAllConnections();
  silent.close();
});
