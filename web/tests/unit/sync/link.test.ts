/** What a link does about a server that does not do what it should. */

import { expect, test, vi } from "vitest";

import { Journal } from "../../../src/sync/journal";
import { Link } from "../../../src/sync/link";
import { DEFAULT_CONFIG, type LinkConfig } from "../../../src/sync/policy";
import { Rest } from "../../../src/sync/rest";

import { ack, scripted, type Said } from "./scripted";
import { ending, until } from "./world";

const QUICK: LinkConfig = { ...DEFAULT_CONFIG, backoffInitialMs: 20, backoffMaxMs: 50, pollMs: 50 };

interface Linked {
  readonly link: Link;
  readonly journal: Journal;
  readonly notices: string[];
  readonly touched: string[];
  /** What the link calls; a test may listen in. */
  readonly owner: { onNews: () => void };
}

/** A link of a tab that leads, which ends with the test. */
async function linked(endpoint: string, config: Partial<LinkConfig> = {}, token?: string): Promise<Linked> {
  const journal = await Journal.open(`journal-${String(Math.random())}`);
  await journal.bind("browser", "main");
  await journal.lead("tab", 0, Number.MAX_SAFE_INTEGER, true);
  const notices: string[] = [];
  const touched: string[] = [];
  const owner = {
    endpoint,
    vault: "main",
    token,
    config: { ...QUICK, ...config },
    tab: "tab",
    onTouched: (keys: Iterable<string>) => Promise.resolve(void touched.push(...keys)),
    onNews: (): void => undefined,
    onNotice: (topic: string) => notices.push(topic),
  };
  const rest = new Rest(endpoint, "main", token);
  const link = new Link(owner, journal, rest);
  const done = link.run();
  ending(async () => {
    link.close();
    rest.close();
    await done;
    journal.close();
  });
  return { link, journal, notices, touched, owner };
}

async function write(journal: Journal, key: string, value: string): Promise<void> {
  await journal.write([{ key, value }], "tab", 0);
}

test("a socket that falls silent is left for another", async () => {
  const connections = new Set<number>();
  const endpoint = await scripted({
    onMessage: ({ message, connection, say }) => {
      // The first one answers once and never again.
      if (!connections.has(connection) || connection > 1) say(ack(message));
      connections.add(connection);
    },
  });
  await linked(endpoint, { heartbeatMs: 30, answerTimeoutMs: 60 });
  await until("there is a second connection", () => connections.has(2));
});

test("silence where nothing is due is probed, and the answer keeps the connection", async () => {
  const said: Said[] = [];
  const endpoint = await scripted({
    onMessage: (heard) => {
      said.push(heard);
      heard.say(ack(heard.message));
    },
  });
  await linked(endpoint, { heartbeatMs: 20 });
  await until("there were probes", () => said.length > 4);
  expect(new Set(said.map(({ connection }) => connection))).toEqual(new Set([1]));
  // Probes are pushes that have to be answered, and the cursor is acknowledged once.
  expect(said.filter(({ message }) => message["id"] === undefined)).toHaveLength(1);
});

test("a change in the network is found out about at once", async () => {
  const said: Said[] = [];
  const endpoint = await scripted({
    onMessage: (heard) => {
      said.push(heard);
      heard.say(ack(heard.message));
    },
  });
  const { link } = await linked(endpoint);
  await until("it is connected", () => link.status().state === "connected" && said.length === 2);
  link.doubt();
  await until("there was a probe", () => said.length === 3);
});

test("what is written while a push is under way goes with the next one", async () => {
  const pushes: string[][] = [];
  let first: Said | undefined;
  const endpoint = await scripted({
    onMessage: (said) => {
      const changes = said.message["changes"] as { key: string; value: string }[];
      if (changes.length > 0) pushes.push(changes.map(({ value }) => value));
      if (changes.length > 0 && !first) first = said;
      else if (said.message["id"] !== undefined) said.say(ack(said.message));
    },
  });
  const { link, journal } = await linked(endpoint);
  await write(journal, "note:a.md", "one");
  link.wake();
  await until("it is on its way", () => first !== undefined);
  await write(journal, "note:a.md", "two");
  await write(journal, "note:b.md", "three");
  link.wake();
  first?.say(ack(first.message, { ack_timestamp: 2 }));
  await until("all is confirmed", async () =>
    (await journal.heads(["note:a.md", "note:b.md"])).every(({ own }) => own.length === 0),
  );
  expect(pushes).toEqual([["one"], ["two", "three"]]);
});

test("refused for now: it is sent again later, and nothing else waits for it", async () => {
  let refusals = 0;
  const endpoint = await scripted({
    onMessage: ({ message, say }) => {
      const rejected = (message["changes"] as { key: string }[])
        .filter(({ key }) => key === "note:a.md" && refusals++ < 3)
        .map((change) => ({ ...change, code: "storage_full", message: "full" }));
      if (message["id"] !== undefined) say(ack(message, { rejected }));
    },
  });
  const { journal, link } = await linked(endpoint);
  await write(journal, "note:a.md", "one");
  await write(journal, "note:b.md", "two");
  link.wake();
  await until("all is confirmed", async () =>
    (await journal.heads(["note:a.md", "note:b.md"])).every(({ own }) => own.length === 0),
  );
  expect(refusals).toBe(4);
});

test("a code that trying again does not cure stops the link, and says why", async () => {
  const endpoint = await scripted({
    accepts: () => false,
    onRequest: () => [401, { type: "error", code: "unauthorized", message: "no token, or an unknown one" }],
  });
  const { link } = await linked(endpoint, {}, "wrong");
  await until("it has stopped", () => link.status().state === "stopped");
  expect(link.status().problem).toEqual({ code: "unauthorized", message: "no token, or an unknown one" });
});

test("somebody else's answers are no reason to stop", async () => {
  let asked = 0;
  const endpoint = await scripted({
    accepts: () => false,
    onRequest: ({ path }) => (path === "/api/v1/sync" ? (asked++, [403, { portal: "please log in" }]) : undefined),
  });
  const { link } = await linked(endpoint);
  await until("it asked again", () => asked > 1);
  expect(link.status()).toMatchObject({ state: "offline", problem: { code: "unreachable" } });
});

test("where sockets are blocked it polls, and returns to a socket that works", async () => {
  let open = false;
  let polls = 0;
  const endpoint = await scripted({
    accepts: () => open,
    onMessage: ({ message, say }) => {
      say(ack(message));
    },
    onRequest: ({ path, body }) => {
      if (path !== "/api/v1/sync") return undefined;
      polls++;
      return [200, ack(JSON.parse(body) as Record<string, unknown>)];
    },
  });
  const { link, journal } = await linked(endpoint);
  await write(journal, "note:a.md", "one");
  await until("it was confirmed by polling", async () => (await journal.heads(["note:a.md"]))[0]?.own.length === 0);
  await until("it polls", () => link.status().polling && polls > 2);
  expect(link.status().state).toBe("connected");
  open = true;
  link.doubt();
  await until("it is back at a socket", () => !link.status().polling && link.status().state === "connected");
});

test("a server that always has more to come and never gets on is asked less and less often", async () => {
  let polls = 0;
  const endpoint = await scripted({
    accepts: () => false,
    onRequest: ({ path, body }) => {
      if (path !== "/api/v1/sync") return undefined;
      polls++;
      return [200, ack(JSON.parse(body) as Record<string, unknown>, { behind: 1 })];
    },
  });
  const { link, owner } = await linked(endpoint);
  // Counted when it gives up, not when we come to look: by then it may have tried again.
  let asked = 0;
  owner.onNews = () => {
    if (link.status().problem?.message === "the server does not get on") asked ||= polls;
  };
  await until("it gave up for now", () => asked > 0);
  expect(asked).toBeLessThanOrEqual(3);
});

test("an answer to changes that has no room for what is new is no reason to give up", async () => {
  const seen: string[] = [];
  const endpoint = await scripted({
    accepts: () => {
      seen.push("socket");
      return false;
    },
    onRequest: ({ path, body }) => {
      if (path !== "/api/v1/sync") return undefined;
      const push = JSON.parse(body) as { changes: unknown[]; id: number };
      seen.push(push.changes.length > 0 ? "changes" : "news");
      return [200, ack(push, push.changes.length > 0 ? { ack_timestamp: 0, behind: 1 } : { ack_timestamp: 9 })];
    },
  });
  const { journal } = await linked(endpoint);
  await write(journal, "note:a.md", "one");
  await until("it asked for what was new", () => /changes.*news/.test(seen.join()));
  expect(seen[seen.indexOf("changes") + 1]).toBe("news");
});

test("notices are handed on, messages of another kind ignored", async () => {
  const endpoint = await scripted({
    onMessage: ({ message, say }) => {
      say({ type: "weather", of: "tomorrow" });
      say({ type: "notice", topic: "conflicts" });
      if (message["id"] !== undefined) say(ack(message));
    },
  });
  const { notices } = await linked(endpoint);
  await until("a notice came", () => notices.includes("conflicts"));
});

test("a key that must not be is skipped and named, the others are applied", async () => {
  const good = { key: "note:a.md", value: "text", timestamp: 5, device_id: "phone" };
  const endpoint = await scripted({
    onMessage: ({ message, say }) => {
      const changes = [{ ...good, key: "note:../a.md" }, good];
      if (message["id"] !== undefined) say(ack(message, { changes, ack_timestamp: 7 }));
    },
  });
  const { link, journal } = await linked(endpoint);
  await until("the cursor is there", async () => (await journal.meta()).cursor === 7);
  expect((await journal.read("note:a.md")).confirmed).toMatchObject([{ value: "text" }]);
  expect(link.status().skipped).toMatchObject([{ key: "note:../a.md", code: "bad_change" }]);
});

test("a clone that takes our place makes us go on as the next incarnation", async () => {
  const ids: (string | null)[] = [];
  const endpoint = await scripted({
    onMessage: ({ message, connection, query, say, end }) => {
      if (ids.length < connection) ids.push(query.get("device_id"));
      if (message["id"] !== undefined) say(ack(message));
      if (connection > 1) return;
      say({ type: "error", code: "replaced", message: "another one", nonce: "unheard of" });
      end("replaced");
    },
  });
  await linked(endpoint);
  await until("it is connected again", () => ids.length === 2);
  expect(ids).toEqual(["browser", "browser~2"]);
});

test("a connection of our own in our place makes us wait, and no new incarnation", async () => {
  let nonce: string | null = null;
  const endpoint = await scripted({
    onMessage: ({ message, connection, query, say, end }) => {
      nonce ??= query.get("nonce");
      if (message["id"] !== undefined) say(ack(message));
      if (connection > 1) return;
      say({ type: "error", code: "replaced", message: "another one", nonce });
      end("replaced");
    },
  });
  const { link, journal } = await linked(endpoint);
  await until("it was replaced", () => link.status().problem?.code === "replaced");
  await until("it is back", () => link.status().state === "connected");
  expect((await journal.meta()).deviceId).toBe("browser");
});

test("a bug that shows in a comparison ends one attempt, not the link", async () => {
  let compared = 0;
  const endpoint = await scripted({
    onMessage: ({ message, connection, say }) => {
      if (connection === 1) say({ type: "error", code: "resync_required", message: "another log", epoch: "1-x" });
      else if (message["id"] !== undefined) say(ack(message));
    },
    onRequest: ({ path }) =>
      path === "/api/v1/manifest" && compared++ >= 0 ? [200, { epoch: "1-x", clock: 9, entries: [] }] : undefined,
  });
  const bug = vi.spyOn(Journal.prototype, "allHeads").mockRejectedValueOnce(new TypeError("a bug"));
  const { link } = await linked(endpoint);
  await until("it is connected", () => link.status().state === "connected");
  expect(compared).toBe(1);
  bug.mockRestore();
});

test("what a server forgot is held, not sent and not deleted, until somebody decides", async () => {
  const texts = new Map([
    ["note:a.md", "one"],
    ["note:b.md", "two"],
  ]);
  const known = [...texts].map(([key, value], at) => ({ key, value, timestamp: at + 1, device_id: "phone", base: [] }));
  const pushed: { key: string; value: string | null; base: unknown }[] = [];
  const reports: unknown[] = [];
  let decision: string | null = null;
  let speak: ((message: Record<string, unknown>) => void) | null = null;
  const endpoint = await scripted({
    onMessage: ({ message, connection, say }) => {
      const changes = message["changes"] as typeof pushed;
      pushed.push(...changes);
      if (connection === 1 && message["last_ack"] === 0) say(ack(message, { changes: known, ack_timestamp: 3 }));
      else if (connection === 1)
        say({ type: "error", code: "resync_required", message: "away too long", quarantine: true });
      else if (message["id"] !== undefined) say(ack(message, { ack_timestamp: 9 }));
      speak = say;
    },
    onRequest: ({ path, method, body }) => {
      if (path === "/api/v1/manifest")
        return [
          200,
          { epoch: "1-x", clock: 9, entries: [{ key: "note:b.md", dots: [{ timestamp: 2, device_id: "phone" }] }] },
        ];
      if (path !== "/api/v1/holds" || method !== "PUT") return undefined;
      const { holds } = JSON.parse(body) as { holds: { kind: string; keys: string[]; count: number }[] };
      reports.push(holds.map(({ kind, keys, count }) => ({ kind, keys, count })));
      return [200, { decisions: decision !== null && holds.length > 0 ? [{ kind: "quarantine", decision }] : [] }];
    },
  });
  const { journal } = await linked(endpoint);
  await until("the hold was reported", () => reports.length > 0 && (reports.at(-1) as unknown[]).length > 0);
  expect(reports.at(-1)).toEqual([{ kind: "quarantine", keys: ["note:a.md"], count: 1 }]);
  expect((await journal.read("note:a.md")).quarantined).toBe(true);
  expect((await journal.read("note:a.md")).confirmed).toMatchObject([{ value: "one" }]);
  expect(pushed).toEqual([]);
  decision = "confirm";
  (speak as unknown as (message: Record<string, unknown>) => void)({ type: "notice", topic: "holds" });
  await until("it comes back", () => pushed.length > 0);
  expect(pushed).toMatchObject([{ key: "note:a.md", value: "one", base: [{ timestamp: 1, device_id: "phone" }] }]);
  await until("nothing is held any more", () => (reports.at(-1) as unknown[]).length === 0);
});
