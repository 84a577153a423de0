// @vitest-environment jsdom
import "fake-indexeddb/auto";

import { afterEach, expect, test } from "vitest";

import { Replica } from "../../../src/sync";
import { putAside, rescue } from "../../../src/ui/editor/rescue";

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
