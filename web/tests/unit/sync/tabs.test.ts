/** Several tabs of one browser: one talks to the server, all show and write the same. */

import { afterEach, describe, expect, test, vi } from "vitest";

import { TidenoteError } from "../../../src/sync";
import { Journal } from "../../../src/sync/journal";

import { ack, scripted } from "./scripted";
import { ending, open, shows, textOf, until } from "./world";

/** The locks of a browser, as far as tabs use them: one holder, the others wait in line. */
class Locks {
  private readonly lines = new Map<string, Promise<unknown>>();

  request(name: string, { signal }: { signal: AbortSignal }, work: () => Promise<void>): Promise<void> {
    const before = this.lines.get(name) ?? Promise.resolve();
    const turn = before.then(() => {
      if (signal.aborted) throw new DOMException("aborted", "AbortError");
      return work();
    });
    this.lines.set(
      name,
      turn.catch(() => undefined),
    );
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => {
        reject(new DOMException("aborted", "AbortError"));
      });
    });
    // As in a browser: who holds the lock is waited for, who still waits for it is not.
    return Promise.race([
      turn,
      aborted.catch((error: unknown) => Promise.race([turn, Promise.reject(error as Error)])),
    ]);
  }
}

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

/** A server that takes everything in and remembers which connections there were. */
async function obliging(): Promise<{ endpoint: string; values: string[]; connections: Set<number> }> {
  const values: string[] = [];
  const connections = new Set<number>();
  let clock = 0;
  const endpoint = await scripted({
    onMessage: ({ message, connection, say }) => {
      connections.add(connection);
      const changes = message["changes"] as { value: string; timestamp: number }[];
      values.push(...changes.map(({ value }) => value));
      for (const { timestamp } of changes) clock = Math.max(clock, timestamp) + 1;
      if (message["id"] !== undefined) say(ack(message, { ack_timestamp: clock }));
    },
  });
  return { endpoint, values, connections };
}

describe.each([
  ["with locks", true],
  ["without locks", false],
])("%s", (_, withLocks) => {
  test("one leads, all write and show the same, and another takes over", async () => {
    vi.stubGlobal("navigator", withLocks ? { locks: new Locks() } : {});
    const { endpoint, values, connections } = await obliging();
    const name = `shared-${String(Math.random())}`;
    const first = await open({ endpoint, name });
    await until("the first leads", () => first.status().state === "connected");
    const second = await open({ endpoint, name });
    await until("the second knows how things stand", () => second.status().state === "connected");
    expect([first.status().leader, second.status().leader]).toEqual([true, false]);

    await second.put("note:a.md", "by the second");
    await second.flush();
    await shows(first, "note:a.md", "by the second");
    await first.put("note:a.md", "by the first");
    await shows(second, "note:a.md", "by the first");
    await first.flush();
    await until("nothing is pending anywhere", () => second.status().pending === 0);
    expect(values).toEqual(["by the second", "by the first"]);
    expect(connections.size).toBe(1);

    await first.close();
    await until("the second takes over", () => second.status().leader && second.status().state === "connected");
    await second.put("note:b.md", "alone");
    await second.flush();
    expect(values.at(-1)).toBe("alone");
    expect(connections.size).toBe(2);
  });
});

test("saves of two tabs do not replace each other, and both name what their authors saw", async () => {
  const name = `shared-${String(Math.random())}`;
  const locks = new Locks();
  vi.stubGlobal("navigator", { locks });
  // Somebody else leads and does nothing: no save may have been sent.
  void locks.request(name, { signal: new AbortController().signal }, () => new Promise(() => undefined));
  const first = await open({ endpoint: "http://127.0.0.1:1", name });
  const second = await open({ endpoint: "http://127.0.0.1:1", name });
  const seen = await first.put("note:a.md", "one");
  await shows(second, "note:a.md", "one");
  // The first tab saves again before anything was sent, while the second still has the first save in front.
  const replacing = await first.put("note:a.md", "one and more");
  await second.put("note:a.md", "one, edited", { base: [seen] });
  const note = await first.get("note:a.md");
  expect(note?.siblings.map(({ value, base }) => [value, base])).toEqual([
    ["one and more", []],
    ["one, edited", []],
  ]);
  expect(note?.siblings[0]?.timestamp).toBe(replacing.timestamp);
  expect(await textOf(second, "note:a.md")).toBe("one, edited");
  expect(first.status().pending).toBe(2);
});

test("notices and the status reach the tabs that follow", async () => {
  vi.stubGlobal("navigator", { locks: new Locks() });
  let tell: ((message: Record<string, unknown>) => void) | null = null;
  const endpoint = await scripted({
    onMessage: ({ message, say }) => {
      tell = say;
      if (message["id"] !== undefined) say(ack(message, { ack_timestamp: 41, epoch: "1-x" }));
    },
  });
  const name = `shared-${String(Math.random())}`;
  const first = await open({ endpoint, name });
  const second = await open({ endpoint, name });
  const topics: string[] = [];
  second.onNotice((topic) => topics.push(topic));
  await until("the second knows the cursor", () => second.status().cursor === 41);
  expect(second.status()).toMatchObject({ state: "connected", epoch: "1-x", leader: false, deviceId: "browser" });
  (tell as unknown as (message: Record<string, unknown>) => void)({ type: "notice", topic: "devices" });
  await until("the notice came", () => topics.includes("devices"));
  expect(first.status().leader).toBe(true);
});

test("a tab that was asleep while another took over applies nothing any more", async () => {
  const journal = await Journal.open(`journal-${String(Math.random())}`);
  ending(() => Promise.resolve(journal.close()));
  await journal.bind("browser", "main");
  expect(await journal.lead("old", 0, 100, false)).toBe(true);
  expect(await journal.lead("new", 50, 150, false)).toBe(false);
  expect(await journal.lead("old", 60, 160, false)).toBe(true);
  expect(await journal.lead("new", 160, 260, false)).toBe(true);
  const received = {
    kind: "received",
    epoch: "1-x",
    cursor: 9,
    siblings: new Map([["note:a.md", []]]),
    behind: 0,
    accepted: [],
    unlisted: [],
    rejected: [],
    answered: true,
    skipped: [],
  } as const;
  await expect(journal.apply(received, "old", 0)).rejects.toEqual(
    new TidenoteError("replaced", "another tab talks to the server"),
  );
  expect((await journal.meta()).cursor).toBe(0);
  await journal.apply(received, "new", 0);
  expect((await journal.meta()).cursor).toBe(9);
  await journal.resign("old");
  expect((await journal.meta()).leader).toBe("new");
});

test("a lease that ends later than ours would is of before the clock was put back", async () => {
  const journal = await Journal.open(`journal-${String(Math.random())}`);
  ending(() => Promise.resolve(journal.close()));
  await journal.bind("browser", "main");
  expect(await journal.lead("old", 5000, 5100, false)).toBe(true);
  expect(await journal.lead("new", 50, 150, false)).toBe(true);
  expect(await journal.lead("old", 60, 160, false)).toBe(false);
});

test("a tab that cannot write to the journal leads as soon as it can", async () => {
  vi.stubGlobal("navigator", { locks: new Locks() });
  const { endpoint } = await obliging();
  const soon = globalThis.setTimeout;
  vi.spyOn(globalThis, "setTimeout").mockImplementation(((run: () => void, ms: number) =>
    soon(run, ms === 5000 ? 0 : ms)) as typeof setTimeout);
  vi.spyOn(Journal.prototype, "lead").mockRejectedValueOnce(new TidenoteError("storage_full", "no room"));
  const replica = await open({ endpoint });
  await until("it leads", () => replica.status().state === "connected");
});
