// @vitest-environment jsdom
import "fake-indexeddb/auto";

import { afterEach, expect, test, vi } from "vitest";

import { Replica } from "../../../src/sync";
import { hasRoom, putAside, rescue } from "../../../src/ui/editor/rescue";

const KEY = "note:a.md";
let count = 0;
let replica: Replica;

afterEach(async () => {
  localStorage.clear();
  await replica.close();
});

async function openReplica(): Promise<void> {
  count += 1;
  replica = await Replica.open({ endpoint: "http://127.0.0.1:1", vault: `r${String(count)}`, deviceId: "phone" });
}

test("what was put aside becomes a change, once", async () => {
  await openReplica();
  const dot = await replica.put(KEY, "one");
  putAside("main", { key: KEY, text: "one two", base: [dot], saving: null });
  await rescue("other", replica);
  expect((await replica.get(KEY))?.text).toBe("one");
  await rescue("main", replica);
  const note = await replica.get(KEY);
  expect(note?.text).toBe("one two");
  expect(note?.siblings).toHaveLength(1);
  expect(localStorage).toHaveLength(0);
});

test("whether there is room is found out without putting anything aside", async () => {
  await openReplica();
  const rescued = { key: KEY, text: "one", base: [], saving: null };
  expect(hasRoom("main", rescued)).toBe(true);
  expect(localStorage).toHaveLength(0);
  const full = vi.spyOn(Storage.prototype, "setItem").mockImplementation(() => {
    throw new DOMException("full", "QuotaExceededError");
  });
  expect(hasRoom("main", rescued)).toBe(false);
  full.mockRestore();
});

test("it is written over a save that was under way and did arrive", async () => {
  await openReplica();
  const first = await replica.put(KEY, "one");
  await replica.put(KEY, "one t", { base: [first] });
  putAside("main", { key: KEY, text: "one two", base: [first], saving: "one t" });
  await rescue("main", replica);
  const note = await replica.get(KEY);
  expect(note?.siblings).toHaveLength(1);
  expect(note?.text).toBe("one two");
});

test("another tab's words are not what it is written over", async () => {
  await openReplica();
  const first = await replica.put(KEY, "one");
  await replica.put(KEY, "zero one", { base: [first] });
  putAside("main", { key: KEY, text: "one two", base: [first], saving: "one t" });
  await rescue("main", replica);
  expect((await replica.get(KEY))?.siblings.map(({ value }) => value)).toEqual(["zero one", "one two"]);
});

test("two tabs that had the same note open have both of their texts kept", async () => {
  await openReplica();
  const base = [await replica.put(KEY, "one")];
  putAside("main", { key: KEY, text: "one two", base, saving: null });
  putAside("main", { key: KEY, text: "zero one", base, saving: null });
  await rescue("main", replica);
  const texts = (await replica.get(KEY))?.siblings.map(({ value }) => value);
  expect(new Set(texts)).toEqual(new Set(["one two", "zero one"]));
});

test("what cannot be written stays aside, and keeps nothing else from being written", async () => {
  await openReplica();
  localStorage.setItem("tidenote-rescue/main/0", "{ half a");
  putAside("main", { key: "note:../a.md", text: "nowhere", base: [], saving: null });
  putAside("main", { key: KEY, text: "one", base: [], saving: null });
  expect(await rescue("main", replica)).toBe(false);
  expect((await replica.get(KEY))?.text).toBe("one");
  expect(localStorage).toHaveLength(2);
});

test("tabs that start together write what was put aside once", async () => {
  await openReplica();
  const dot = await replica.put(KEY, "one");
  for (const word of ["two", "three"])
    putAside("main", { key: `note:${word}.md`, text: word, base: [dot], saving: null });
  expect(await Promise.all([rescue("main", replica), rescue("main", replica)])).toEqual([true, true]);
  expect((await replica.get("note:two.md"))?.siblings).toHaveLength(1);
  expect((await replica.get("note:three.md"))?.siblings).toHaveLength(1);
  expect(localStorage).toHaveLength(0);
});

test("without room nothing is put aside, and that is said", async () => {
  await openReplica();
  const full = vi.spyOn(Storage.prototype, "setItem").mockImplementation(() => {
    throw new DOMException("full", "QuotaExceededError");
  });
  expect(putAside("main", { key: KEY, text: "one", base: [], saving: null })).toBe(false);
  full.mockRestore();
});
