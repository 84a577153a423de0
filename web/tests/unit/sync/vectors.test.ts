/** Runs the golden vectors (tests/vectors/README.md): the same files as the Python implementation. */

import { readFileSync } from "node:fs";

import { describe, expect, test } from "vitest";

import { TidenoteError } from "../../../src/sync/errors";
import { keyOfPath } from "../../../src/sync/keys";
import { decodeChange, decodeFromServer, encode, MAX_TEXT_BYTES } from "../../../src/sync/messages";
import { joinAll, winnerOf } from "../../../src/sync/register";
import { ClientSession, type ClientEvent } from "../../../src/sync/session";
import { dotOf, type Change } from "../../../src/sync/version";

type Json = Record<string, unknown>;
interface Step {
  push?: Json[];
  takes?: number;
  receive?: Json;
  applied?: number;
  sends?: Json[];
  events?: Json[];
  breaks?: string;
}

const messages = load("messages") as {
  paths: { about: string; path: string; key: string | null }[];
  changes: { about: string; text: string; result: { change?: Json; refused?: string } }[];
  server_messages: { about: string; text: string; result: Json }[];
};
const registers = load("registers") as {
  registers: { about: string; changes: Json[]; result: { siblings: Json[]; winner: Json | null } }[];
};
const sessions = load("sessions") as {
  client: { about: string; cursor: number; epoch: string | null; offer?: string; steps: Step[] }[];
};

describe("messages.json", () => {
  test.each(messages.paths)("paths: $about", ({ path, key }) => {
    expect(codeOr(() => keyOfPath(path))).toEqual(key ?? "bad_key");
  });

  test.each(messages.changes)("changes: $about", ({ text, result }) => {
    const found = codeOr(() => decodeChange(JSON.parse(text), { maxTextBytes: MAX_TEXT_BYTES }));
    expect(found).toEqual(result.change ?? result.refused);
  });

  test.each(messages.server_messages)("server messages: $about", ({ text, result }) => {
    const found = codeOr(() => decodeFromServer(text));
    if (found === null) expect(result).toEqual({ ignored: true });
    else if (typeof found === "string") expect({ error: found }).toEqual(result);
    else {
      const name = found.type === "sync_ack" ? "ack" : found.type === "error" ? "failure" : found.type;
      expect({ [name]: withoutProse(found) }).toMatchObject(result);
    }
  });
});

describe("registers.json", () => {
  test.each(registers.registers)("$about", ({ changes, result }) => {
    const { siblings } = joinAll(changes.map(changeOf));
    expect(siblings.map(dotOf)).toEqual(result.siblings);
    const winner = winnerOf(siblings);
    expect(winner && dotOf(winner)).toEqual(result.winner);
    expect(joinAll([...changes, ...changes].reverse().map(changeOf)).siblings).toEqual(siblings);
  });
});

describe("sessions.json", () => {
  test.each(sessions.client)("client: $about", ({ cursor, epoch, offer, steps }) => {
    const session = new ClientSession(cursor, epoch, offer ?? null);
    for (const step of steps) {
      if (step.push) expect(session.push(step.push.map(changeOf))).toBe(step.takes);
      else if (step.applied !== undefined) session.applied(step.applied);
      else {
        const broken = codeOr(() => {
          session.receive(JSON.stringify(step.receive));
        });
        expect(broken).toBe(step.breaks);
        expect(session.events().map(shown)).toEqual(step.events);
      }
      expect(session.outgoing().map((push) => JSON.parse(encode(push)) as Json)).toEqual(step.sends);
    }
  });
});

function load(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`../../../../tests/vectors/${name}.json`, import.meta.url), "utf8"));
}

function changeOf(wire: Json): Change {
  return decodeChange(wire, { allowServer: true });
}

function codeOr<T>(work: () => T): T | string {
  try {
    return work();
  } catch (error) {
    if (error instanceof TidenoteError) return error.code;
    if (error instanceof SyntaxError) return "bad_change";
    throw error;
  }
}

/** Leave out what is written for people: the wording is every implementation's own. */
function withoutProse(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutProse);
  if (typeof value !== "object" || value === null) return value;
  const fields = Object.entries(value).filter(([name]) => name !== "message");
  return Object.fromEntries(fields.map(([name, inner]) => [name, withoutProse(inner)]));
}

function shown(event: ClientEvent): Json {
  if (event.kind === "failed") return { failed: { code: event.code, epoch: event.epoch } };
  if (event.kind === "noticed") return { noticed: { topic: event.topic } };
  const { epoch, cursor, behind, answered } = event;
  return {
    received: {
      epoch,
      cursor,
      behind,
      answered,
      siblings: Object.fromEntries([...event.siblings].map(([key, changes]) => [key, changes.map(dotOf)])),
      accepted: event.accepted.map(dotOf),
      ...(event.unlisted.length > 0 && { unlisted: [...event.unlisted].sort() }),
      rejected: event.rejected.map(([change, { code, clock }]) => [dotOf(change), code, clock ?? null]),
      skipped: event.skipped.map(([key]) => key),
    },
  };
}
