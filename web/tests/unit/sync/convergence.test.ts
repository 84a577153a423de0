/**
 * Replicas and a server in memory, with every message lost, doubled or late where chance wants it: in the end all hold
 * the same, and every text that was saved is in the server's log.
 */

import "fake-indexeddb/auto";

import fc from "fast-check";
import { expect, test } from "vitest";

import { Journal } from "../../../src/sync/journal";
import type { SyncPush } from "../../../src/sync/messages";
import { EMPTY, join, registerOf, type Register } from "../../../src/sync/register";
import { ClientSession } from "../../../src/sync/session";
import { dotId, dotOf, type Change } from "../../../src/sync/version";

const KEYS = ["note:a.md", "note:b.md", "note:c.md"];

/** The server's side as far as joining goes: it settles nothing, and tells every state again. */
class Model {
  readonly log = new Map<string, Change>();
  private readonly registers = new Map<string, { register: Register<Change>; changedAt: number }>();
  private clock = 0;

  answer({ changes, last_ack, id }: SyncPush): string {
    const rejected = [];
    for (const change of changes) {
      const name = `${change.key} ${dotId(change)}`;
      const known = this.log.get(name);
      if (known && JSON.stringify(known) !== JSON.stringify(change)) {
        rejected.push({ key: change.key, ...dotOf(change), code: "dot_reused", message: "why" });
      } else if (!known) {
        this.log.set(name, change);
        this.clock = Math.max(this.clock, change.timestamp) + 1;
        const before = this.registers.get(change.key)?.register ?? EMPTY;
        this.registers.set(change.key, { register: join(before, registerOf(change)), changedAt: this.clock });
      }
    }
    const news = [...this.registers.values()].filter(({ changedAt }) => changedAt > last_ack);
    const told = news.flatMap(({ register }) => register.siblings);
    return JSON.stringify({ type: "sync_ack", ack_timestamp: this.clock, changes: told, epoch: "1-x", id, rejected });
  }

  siblings(key: string): readonly Change[] {
    return this.registers.get(key)?.register.siblings ?? [];
  }
}

/** One device: a real journal and a real session, and a network that the test is. */
class Device {
  private constructor(
    private readonly name: string,
    private readonly server: Model,
    readonly journal: Journal,
  ) {}

  readonly saved = new Map<string, string>();
  readonly replaced = new Set<string>();
  private session: ClientSession | null = null;
  private late: string[] = [];

  static async open(name: string, server: Model): Promise<Device> {
    const journal = await Journal.open(`world-${name}-${String(Math.random())}`);
    await journal.bind(name, "main");
    await journal.lead(name, 0, Number.MAX_SAFE_INTEGER, true);
    return new Device(name, server, journal);
  }

  /** Save something new; what was shown is its base. */
  async write(key: string, number: number, deletes: boolean): Promise<void> {
    const value = deletes ? null : `${this.name} ${String(number)}`;
    const [written] = await this.journal.write([{ key, value }], this.name, number * 20_000);
    if (written && value !== null) this.saved.set(dotId(written), value);
    await this.noteReplaced(key);
  }

  /** Note which unsent texts gave way to what the same person wrote over them. */
  private async noteReplaced(key: string): Promise<void> {
    for (const { replaced } of (await this.journal.read(key)).own)
      for (const dot of replaced) this.replaced.add(dotId(dot));
  }

  async rename(from: string, to: string): Promise<void> {
    const { confirmed, own } = await this.journal.read(from);
    const shown = [...confirmed, ...own.map(({ change }) => change)].at(-1);
    if (!shown || shown.deleted || from === to) return;
    await this.journal.write([{ key: to, value: `${shown.value ?? ""} at ${to}` }], this.name, 0);
    await this.journal.write([{ key: from, value: null, moved_to: to, base: [shown] }], this.name, 0);
    for (const key of [from, to]) await this.noteReplaced(key);
  }

  /** Send what is pending; the answer arrives now, later, twice, or never. */
  async sync(fate: "now" | "late" | "twice" | "lost"): Promise<void> {
    if (!this.session?.canPush) {
      const { cursor, epoch } = await this.journal.meta();
      this.session = new ClientSession(cursor, epoch);
    }
    this.session.push(await this.journal.take());
    const answers = this.session.outgoing().map((push) => this.server.answer(push));
    if (fate === "late") this.late.push(...answers);
    else if (fate !== "lost")
      for (const answer of [...answers, ...(fate === "twice" ? answers : [])]) await this.hear(answer);
  }

  /** Hear what is late, if the connection that it belongs to is still there. */
  async hearLate(): Promise<void> {
    for (const answer of this.late.splice(0)) await this.hear(answer);
  }

  /** Lose the connection, and with it what is on its way. */
  breakOff(): void {
    this.session = null;
    this.late = [];
  }

  private async hear(answer: string): Promise<void> {
    this.session?.receive(answer);
    for (const event of this.session?.events() ?? []) {
      if (event.kind !== "received") throw new Error(`unexpected: ${event.kind}`);
      await this.journal.apply(event, this.name, 0);
      this.session?.applied(event.cursor);
    }
    this.session?.outgoing();
  }
}

const step = fc.oneof(
  fc.record({ kind: fc.constant("write" as const), key: fc.constantFrom(...KEYS), deletes: fc.boolean() }),
  fc.record({ kind: fc.constant("write" as const), key: fc.constantFrom(...KEYS), deletes: fc.constant(false) }),
  fc.record({ kind: fc.constant("rename" as const), key: fc.constantFrom(...KEYS), to: fc.constantFrom(...KEYS) }),
  fc.record({ kind: fc.constant("sync" as const), fate: fc.constantFrom("now", "late", "twice", "lost") }),
  fc.constant({ kind: "hear" as const }),
  fc.constant({ kind: "break" as const }),
);
const story = fc.array(fc.record({ who: fc.nat(2), step }), { maxLength: 40 });

test("whatever gets lost, all hold the same in the end, and nothing that was saved is missing", async () => {
  await fc.assert(
    fc.asyncProperty(story, async (steps) => {
      const server = new Model();
      const devices = await Promise.all(["a", "b", "c"].map((name) => Device.open(name, server)));
      try {
        for (const [number, { who, step }] of steps.entries()) {
          const device = devices[who] as Device;
          if (step.kind === "write") await device.write(step.key, number, step.deletes);
          else if (step.kind === "rename") await device.rename(step.key, step.to);
          else if (step.kind === "sync") await device.sync(step.fate);
          else if (step.kind === "hear") await device.hearLate();
          else device.breakOff();
        }
        for (const device of [...devices, ...devices]) {
          device.breakOff();
          // One change of a key goes at a time.
          for (let round = 0; round <= steps.length; round++) {
            if ((await device.journal.heads(KEYS)).every(({ own }) => own.length === 0)) break;
            await device.sync("now");
          }
          await device.sync("now");
        }
        for (const { journal } of devices) {
          for (const key of KEYS) {
            const { confirmed, own } = await journal.read(key);
            expect(own).toEqual([]);
            expect(confirmed).toEqual(server.siblings(key));
          }
        }
        const kept = new Set([...server.log.values()].map(({ value }) => value));
        for (const { saved, replaced } of devices) {
          for (const [dot, value] of saved) if (!replaced.has(dot)) expect(kept).toContain(value);
        }
      } finally {
        for (const { journal } of devices) journal.close();
      }
    }),
    { numRuns: 60 },
  );
});
