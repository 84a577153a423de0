/** Replicas against a real server, over real sockets. */

import { expect, test } from "vitest";

import type { BlobRef } from "../../../src/sync";
import { open, Server, shows, textOf, until } from "./world";

test("what one writes, the other shows", async () => {
  const server = await Server.start();
  const laptop = await open({ endpoint: server.endpoint, deviceId: "laptop" });
  const phone = await open({ endpoint: server.endpoint, deviceId: "phone" });
  await laptop.put("note:a.md", "one");
  await shows(phone, "note:a.md", "one");
  await phone.put("note:a.md", "two");
  await shows(laptop, "note:a.md", "two");
  await laptop.rename([["note:a.md", "note:b.md"]]);
  await until(
    "the note has moved",
    () =>
      phone
        .list()
        .map(({ key }) => key)
        .join() === "note:b.md",
  );
  await phone.delete(["note:b.md"]);
  await until("the note is gone", () => laptop.list().length === 0);
  await Promise.all([laptop.flush(), phone.flush()]);
  expect(laptop.status()).toMatchObject({ state: "connected", pending: 0, polling: false, leader: true });
});

test("a server that is killed loses nothing that was written", async () => {
  const server = await Server.start();
  const laptop = await open({ endpoint: server.endpoint, deviceId: "laptop" });
  const phone = await open({ endpoint: server.endpoint, deviceId: "phone" });
  await laptop.put("note:a.md", "before\n");
  await laptop.flush();
  await shows(phone, "note:a.md", "before\n");
  await server.kill();
  await laptop.put("note:b.md", "offline");
  await phone.put("note:c.md", "offline, too");
  expect(laptop.status().pending).toBe(1);
  await server.restart();
  await Promise.all([laptop.flush(), phone.flush()]);
  await shows(phone, "note:b.md", "offline");
  await shows(laptop, "note:c.md", "offline, too");
});

test("equal timestamps on two devices are a conflict on both", async () => {
  const server = await Server.start();
  const laptop = await open({ endpoint: server.endpoint, deviceId: "laptop" });
  const phone = await open({ endpoint: server.endpoint, deviceId: "phone" });
  await laptop.put("note:a.md", "first\n\nmiddle\n\nlast\n");
  await shows(phone, "note:a.md", "first\n\nmiddle\n\nlast\n");
  await laptop.flush();
  await until("both clocks agree", () => laptop.status().cursor === phone.status().cursor);
  await server.kill();
  const [one, two] = await Promise.all([
    laptop.put("note:a.md", "first of laptop\n\nmiddle\n\nlast\n"),
    phone.put("note:a.md", "first\n\nmiddle\n\nlast of phone\n"),
  ]);
  expect(one.timestamp).toBe(two.timestamp);
  await server.restart();
  for (const replica of [laptop, phone]) {
    await until("the conflict shows", () => replica.list()[0]?.conflict === true && !replica.list()[0]?.pending);
    expect(await textOf(replica, "note:a.md")).toBe("first of laptop\n\nmiddle\n\nlast of phone\n");
  }
});

test("2,000 notes are caught up with", async () => {
  const server = await Server.start();
  const laptop = await open({ endpoint: server.endpoint, deviceId: "laptop" });
  const keys = Array.from({ length: 2000 }, (_, number) => `note:folder/${String(number)}.md`);
  await Promise.all(keys.map((key) => laptop.put(key, `text of ${key}`)));
  await laptop.flush();
  const phone = await open({ endpoint: server.endpoint, deviceId: "phone" });
  const behind: number[] = [];
  phone.onStatus((status) => behind.push(status.behind));
  await until("all notes are there", () => phone.list().length === 2000 && phone.status().state === "connected");
  expect(Math.max(...behind)).toBeGreaterThan(0);
  expect(await textOf(phone, "note:folder/1999.md")).toBe("text of note:folder/1999.md");
});

test("files travel as bytes", async () => {
  const server = await Server.start();
  const laptop = await open({ endpoint: server.endpoint, deviceId: "laptop" });
  const phone = await open({ endpoint: server.endpoint, deviceId: "phone" });
  const bytes = new Uint8Array(2_500_000).map((_, at) => at % 251);
  await laptop.putBlob("file:a.bin", new Blob([bytes]), "application/octet-stream");
  await laptop.flush();
  await until("the file is there", () => phone.list().length === 1);
  const blob = phone.list()[0]?.blob as BlobRef;
  expect(Buffer.compare(bytes, new Uint8Array(await (await phone.blob(blob)).arrayBuffer()))).toBe(0);
});
