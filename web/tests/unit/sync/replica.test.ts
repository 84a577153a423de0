import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import { expect, test, vi } from "vitest";

import { Replica, type BlobRef } from "../../../src/sync";

import { open, textOf } from "./world";

const options = { endpoint: "http://127.0.0.1:1", vault: "main", deviceId: "browser" };

test("what is written is there again after a reload", async () => {
  const first = await Replica.open(options);
  const heard: string[][] = [];
  first.subscribe(({ keys }) => heard.push(keys));
  await first.put("note:b.md", "two");
  await first.put("note:a.md", "one");
  await first.putBlob("file:c.png", new Blob(["bytes"]), "image/png");
  await first.rename("note:b.md", "note:d.md");
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
  await second.delete("note:a.md");
  expect(second.list()).toHaveLength(2);
  const { blob } = (await second.get("file:c.png")) ?? {};
  expect(await (await second.blob(blob as BlobRef)).text()).toBe("bytes");
  await second.close();
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
  await Replica.forget(endpoint);
  expect(await names()).toEqual([`tidenote/${endpoint}/unsent`]);
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
