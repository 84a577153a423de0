/**
 * What becomes of this device's own changes until the server confirms them. Pure: rows in, rows out; journal.ts keeps
 * them. Saves of one key coalesce as docs/decisions/0011-unsent-saves.md says.
 */

import { LamportClock, MAX_TIMESTAMP } from "./clock";
import { actionOf, type Action } from "./errors";
import { nextIncarnation, ownerOf } from "./keys";
import type { Rejected } from "./messages";
import { joinAll, winnerOf } from "./register";
import { dotId, dotOf, names, sameDot, sortedDots, type Change, type Dot, type Stub } from "./version";

/** How often a refused change gets a new dot before it is parked: a server that always refuses must not keep us busy. */
export const MAX_NEW_DOTS = 10;

/** How many replaced dots are remembered: for as long as somebody may hold a note open that names them. */
const MAX_REMEMBERED = 1000;

/** For how long a change that was never sent gives way to the next save of the same note. */
export const REPLACED_WITHIN_MS = 60_000;

/** A change of this device that the server has not confirmed. */
export interface OutboxRow {
  /** The order of sending. */
  readonly seq: number;
  readonly key: string;
  readonly change: Change;
  /** Whether the server has all bytes that the change names, as far as we know. */
  readonly uploaded: boolean;
  /** Whether it is kept but no longer sent; then `code` and `message` say why. */
  readonly parked: boolean;
  /** Of the last refusal. */
  readonly code: string | null;
  readonly message: string | null;
  /** How often it got a new dot after a refusal. */
  readonly attempts: number;
  /** How often it may have been sent without an answer. */
  readonly handed: number;
  /** When its first text was saved, ms since 1970. */
  readonly since: number;
  /** The tab that wrote it: others' saves do not replace it. */
  readonly writer: string;
  /** The dots that gave way to this one; they had the same base. */
  readonly replaced: readonly Dot[];
}

/** A row that has no place in the order yet. */
export type NewRow = Omit<OutboxRow, "seq"> & { readonly seq?: number };

/** Return a new change as a row. */
export function rowOf(change: Change, writer: string, now: number): NewRow {
  return {
    key: change.key,
    change,
    uploaded: true,
    parked: false,
    code: null,
    message: null,
    attempts: 0,
    handed: 0,
    since: now,
    writer,
    replaced: [],
  };
}

/**
 * Return the siblings of a key with our own changes on top of the confirmed ones, and the one that is shown: our own
 * text as long as the server has not confirmed it, so that nothing remote takes its place; else the winner.
 */
export function overlay<S extends Stub>(
  confirmed: readonly S[],
  own: readonly S[],
): { readonly siblings: readonly S[]; readonly shown: S | null } {
  if (own.length === 0) return { siblings: confirmed, shown: winnerOf(confirmed) };
  const { siblings } = joinAll([...confirmed, ...own]);
  const mine = siblings.filter((sibling) => !sibling.deleted && names(own, sibling));
  return { siblings, shown: winnerOf(mine) ?? winnerOf(siblings) };
}

/** Say whether a row that the server cannot have gives way to a change of a tab that has seen it. */
export function isReplaceable(row: OutboxRow, change: Change, writer: string, now: number): boolean {
  if (!names(change.base, row.change)) return false;
  if (row.parked) return true;
  // The halves of a rename keep their order: a target goes before the tombstone that names it.
  const renames = row.change.moved_to !== undefined || change.moved_to !== undefined;
  // Never sent, and nobody has seen its bytes.
  if (!row.uploaded) return !renames;
  // What was written and then deleted is to be found in the history.
  if (renames || change.deleted || row.handed > 0) return false;
  return row.writer === writer && now - row.since < REPLACED_WITHIN_MS;
}

/** Return the row that takes the place of another, with its base; at its place in the order, if the order allows. */
export function takeOver(row: OutboxRow, successor: NewRow): NewRow {
  const { change } = successor;
  const base =
    change.base && row.change.base
      ? sortedDots([...change.base.filter((dot) => !sameDot(dot, row.change)), ...row.change.base])
      : undefined;
  const taken = {
    ...successor,
    change: base ? { ...change, base } : change,
    since: row.since,
    replaced: [...row.replaced, dotOf(row.change), ...successor.replaced],
  };
  return change.moved_to === undefined ? { ...taken, seq: row.seq } : taken;
}

/** Say whether a change deletes another one, and nothing else but what that was made of. */
export function deletes(change: Change, other: Change): boolean {
  const { base } = change;
  if (change.value !== null || change.moved_to !== undefined || !names(base, other)) return false;
  return base?.every((dot) => sameDot(dot, other) || names(other.base, dot)) ?? false;
}

/**
 * Return the base of a deletion of what was not confirmed: it goes along with that, and may be taken in without it. So
 * it has seen what that was made of, too.
 */
export function deletionBase(base: readonly Dot[], unconfirmed: Change): Dot[] {
  return sortedDots(names(base, unconfirmed) ? [...base, ...(unconfirmed.base ?? [])] : base);
}

/**
 * Return the dots of a base as they are called now: own ones get new names after a refusal, and those that gave way to
 * a later save were never told to the server; it knows what they were made of.
 */
export function currentBase(base: readonly Dot[], rows: readonly OutboxRow[], newDots: Meta["newDots"]): Dot[] {
  const renamed = new Map(newDots.map(([old, now]) => [dotId(old), now]));
  return sortedDots(
    base.flatMap((seen) => {
      let dot = seen;
      for (let next = renamed.get(dotId(dot)); next; next = renamed.get(dotId(dot))) dot = next;
      const row = rows.find(({ replaced }) => names(replaced, dot));
      return row?.change.base ? [...row.change.base] : [dot];
    }),
  );
}

/** What of the journal's head a refusal may alter. */
export interface Meta {
  readonly deviceId: string;
  readonly clock: number;
  readonly cursor: number;
  readonly newDots: readonly (readonly [Dot, Dot])[];
}

/** The whole outbox while the server's refusals are worked into it. */
export class Outbox {
  private readonly rows: Map<number, OutboxRow>;
  private readonly changed = new Set<number>();
  /** Whose changes are ours: parked ones that a server has lost may be others'. */
  private readonly owner: string;

  /**
   * @param rows - all of them, in order.
   * @param meta - altered by what is done; to be stored with the rows.
   */
  constructor(
    rows: readonly OutboxRow[],
    public meta: Meta,
  ) {
    this.rows = new Map(rows.map((row) => [row.seq, row]));
    this.owner = ownerOf(meta.deviceId);
  }

  /** Return the rows to store, and the numbers of those to remove. */
  outcome(): { readonly put: OutboxRow[]; readonly removed: number[] } {
    const put: OutboxRow[] = [];
    const removed: number[] = [];
    for (const seq of this.changed) {
      const row = this.rows.get(seq);
      if (row) put.push(row);
      else removed.push(seq);
    }
    return { put, removed };
  }

  /** Do with each refused change what its code demands; others may have been taken in with it. */
  refuse(rejected: readonly (readonly [Change, Rejected])[], accepted: readonly Change[] = []): void {
    const stamped: Record<"re-stamp" | "re-incarnate", [OutboxRow, Rejected][]> = {
      "re-stamp": [],
      "re-incarnate": [],
    };
    const deleted: number[] = [];
    for (const [change, rejection] of rejected) {
      const found = this.of(change.key).find((row) => sameDot(row.change, change));
      if (!found) continue;
      // The server does not have it: whatever was sent before is void.
      const row = this.put({ ...found, handed: 0 });
      const action = this.actionFor(row, rejection);
      // Under a new dot a note would come back whose deletion went along and was taken in. Only what was sent just now
      // tells that: others may name this dot, too, and mean the text that it was used for before.
      const isDeleted = accepted.some((other) => other.key === row.key && deletes(other, row.change));
      if (isDeleted && action !== "retry" && action !== "upload") deleted.push(row.seq);
      if (action === "re-stamp" || action === "re-incarnate") stamped[action].push([row, rejection]);
      else if (action === "park") {
        if (!isDeleted) this.park(row, rejection.code, rejection.message);
      } else {
        const uploaded = action !== "upload" && row.uploaded;
        this.put({ ...row, uploaded, code: rejection.code, message: rejection.message });
      }
    }
    if (stamped["re-stamp"].length > 0) this.restamp(stamped["re-stamp"]);
    if (stamped["re-incarnate"].length > 0) this.reincarnate(stamped["re-incarnate"]);
    for (const seq of deleted) this.remove(seq);
  }

  /** Keep a row without sending it; a later change that replaced it takes its place instead. */
  park(row: OutboxRow, code: string, message: string): void {
    const successor = this.of(row.key).find((later) => later.seq > row.seq && names(later.change.base, row.change));
    if (successor) {
      this.remove(row.seq);
      this.remove(successor.seq);
      const taken = takeOver(row, successor);
      this.put({ ...taken, seq: taken.seq ?? successor.seq });
    } else {
      this.put({ ...row, parked: true, code, message });
    }
  }

  /** Go on as the next incarnation, because another device lives under our id; what was not sent goes with it. */
  goOn(): void {
    this.goOnAs(nextIncarnation(this.meta.deviceId), new Set());
  }

  /** Go on under another device's id: what was not confirmed is sent again as that device's. */
  adopt(deviceId: string): void {
    this.meta = { ...this.meta, deviceId };
    this.giveNewDots(() => true, new LamportClock(this.meta.clock));
  }

  private actionFor(row: OutboxRow, rejection: Rejected): Action {
    const action = actionOf(rejection.code);
    const target = row.change.moved_to;
    if (rejection.code === "move_target_missing" && target && this.of(target).some(({ parked }) => !parked)) {
      return "retry";
    }
    const renamed = action === "re-stamp" || action === "re-incarnate";
    return renamed && row.attempts >= MAX_NEW_DOTS ? "park" : action;
  }

  /** Set the clock to the server's, and give new dots to all own changes that are ahead of it. */
  private restamp(refused: readonly [OutboxRow, Rejected][]): void {
    const told = Math.max(...refused.map(([, { clock }]) => clock ?? 0));
    // Every receipt that we saw bounds it from below: no dot that the server has comes again.
    const clock = new LamportClock(Math.min(Math.max(told, this.meta.cursor), (MAX_TIMESTAMP - 1) / 2));
    const wanted = this.countAttempts(refused);
    const bound = clock.time;
    this.giveNewDots((row) => wanted.has(row.seq) || row.change.timestamp > bound, clock);
  }

  /** Go on as the next incarnation; what was never sent goes with it, for its dots may be taken too. */
  private reincarnate(refused: readonly [OutboxRow, Rejected][]): void {
    const { deviceId } = this.meta;
    const isOurs = refused.some(([row]) => row.change.device_id === deviceId);
    this.goOnAs(isOurs ? nextIncarnation(deviceId) : deviceId, this.countAttempts(refused));
  }

  private goOnAs(deviceId: string, refused: ReadonlySet<number>): void {
    this.meta = { ...this.meta, deviceId };
    this.giveNewDots((row) => refused.has(row.seq) || row.handed === 0, new LamportClock(this.meta.clock));
  }

  private countAttempts(refused: readonly [OutboxRow, Rejected][]): Set<number> {
    for (const [row, { code, message }] of refused) this.put({ ...row, attempts: row.attempts + 1, code, message });
    return new Set(refused.map(([row]) => row.seq));
  }

  /** Give rows, and the later ones that build on them, new dots. */
  private giveNewDots(wanted: (row: OutboxRow) => boolean, clock: LamportClock): void {
    const { deviceId } = this.meta;
    const renamed = new Map<string, Dot>();
    const pairs: (readonly [Dot, Dot])[] = [];
    const chosen = this.inOrder().map((row) => [row, wanted(row)] as const);
    for (const [row, isWanted] of chosen) {
      const old = row.change;
      const builds = [...(old.base ?? []), ...(old.merged_from ?? [])].some((dot) => renamed.has(dotId(dot)));
      if (ownerOf(old.device_id) !== this.owner || !(isWanted || builds)) continue;
      const dot = { timestamp: clock.tick(), device_id: deviceId };
      renamed.set(dotId(old), dot);
      pairs.push([dotOf(old), dot]);
      const map = (dots: readonly Dot[]): Dot[] => sortedDots(dots.map((seen) => renamed.get(dotId(seen)) ?? seen));
      // What is not older than the new dot cannot be in the server's log: nothing is there to be covered.
      const base = old.base && map(old.base).filter((seen) => seen.timestamp < dot.timestamp);
      const merged = old.merged_from && map(old.merged_from);
      this.put({ ...row, change: { ...old, ...dot, ...(base && { base }), ...(merged && { merged_from: merged }) } });
    }
    this.meta = { ...this.meta, clock: clock.time, newDots: [...this.meta.newDots, ...pairs].slice(-MAX_REMEMBERED) };
  }

  private inOrder(): OutboxRow[] {
    return [...this.rows.values()].sort((first, second) => first.seq - second.seq);
  }

  private of(key: string): OutboxRow[] {
    return this.inOrder().filter((row) => row.key === key);
  }

  private put(row: OutboxRow): OutboxRow {
    this.rows.set(row.seq, row);
    this.changed.add(row.seq);
    return row;
  }

  private remove(seq: number): void {
    this.rows.delete(seq);
    this.changed.add(seq);
  }
}
