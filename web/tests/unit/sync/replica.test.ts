import "fake-indexeddb/auto";

import { expect, test } from "vitest";

import { Replica } from "../../../src/sync";

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
  expect(await (await second.blob(blob?.sha256 ?? "")).text()).toBe("bytes");
  await second.close();
});
