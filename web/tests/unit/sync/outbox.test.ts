import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { Rejected } from "../../../src/sync/messages";
import {
  currentBase,
  isReplaceable,
  MAX_NEW_DOTS,
  Outbox,
  overlay,
  REPLACED_WITHIN_MS,
  rowOf,
  takeOver,
  type OutboxRow,
} from "../../../src/sync/outbox";
import { joinAll, winnerOf } from "../../../src/sync/register";
import { dotOf, names, type Change, type Dot } from "../../../src/sync/version";

import { change, deletion, histories } from "./changes";

const META = { deviceId: "me", clock: 100, cursor: 50, newDots: [] };

function row(seq: number, written: Change, more: Partial<OutboxRow> = {}): OutboxRow {
  return { ...rowOf(written, "tab", 1000), seq, ...more };
}

function refused(written: Change, code: string, clock?: number): readonly [Change, Rejected] {
  const { key, timestamp, device_id } = written;
  return [written, { key, timestamp, device_id, code, message: "why", ...(clock !== undefined && { clock }) }];
}

describe("the overlay", () => {
  const parted = histories.chain((changes) => fc.tuple(fc.constant(changes), fc.subarray(changes)));

  test("the siblings are the join of what is confirmed and our own, in any order", () => {
    fc.assert(
      fc.property(parted, ([changes, own]) => {
        const confirmed = joinAll(changes.filter((written) => !own.includes(written))).siblings;
        const { siblings } = overlay(confirmed, own);
        expect(siblings).toEqual(joinAll([...own, ...confirmed].reverse()).siblings);
        expect(siblings.length > 0).toBe(changes.length > 0);
      }),
      { numRuns: 500 },
    );
  });

  test("a text of our own that is not covered by a later one of ours is shown, whatever others wrote", () => {
    fc.assert(
      fc.property(parted, ([changes, own]) => {
        const confirmed = joinAll(changes.filter((written) => !own.includes(written))).siblings;
        const { siblings, shown } = overlay(confirmed, own);
        const mine = siblings.filter((sibling) => names(own, sibling) && !sibling.deleted);
        expect(shown).toEqual(winnerOf(mine) ?? winnerOf(siblings));
      }),
      { numRuns: 500 },
    );
  });

  test("an edit that was not sent stays in front of a later one of others", () => {
    const base = change(1, "x", []);
    const mine = change(2, "me", [base]);
    const theirs = change(9, "x", [base]);
    expect(overlay([theirs], [mine]).shown).toBe(mine);
    expect(overlay([theirs], [mine]).siblings).toEqual([mine, theirs]);
    expect(overlay([theirs, mine], []).shown).toBe(theirs);
  });

  test("a deletion that was not sent does not hide an edit of others", () => {
    const base = change(1, "x", []);
    const theirs = change(3, "x", [base]);
    expect(overlay([theirs], [deletion(5, "me", [base])]).shown).toBe(theirs);
    expect(overlay([base], [deletion(5, "me", [base])]).shown?.deleted).toBe(true);
  });
});

describe("saves that were never sent", () => {
  const base = change(1, "x", []);
  const first = change(2, "me", [base]);
  const second = change(3, "me", [first]);

  test("give way to the next one of the same tab, for a minute", () => {
    expect(isReplaceable(row(1, first), second, "tab", 1000 + REPLACED_WITHIN_MS - 1)).toBe(true);
    expect(isReplaceable(row(1, first), second, "tab", 1000 + REPLACED_WITHIN_MS)).toBe(false);
    expect(isReplaceable(row(1, first), second, "another", 1000)).toBe(false);
    expect(isReplaceable(row(1, first, { handed: 1 }), second, "tab", 1000)).toBe(false);
    expect(isReplaceable(row(1, first), change(3, "me", [base]), "tab", 1000)).toBe(false);
    expect(isReplaceable(row(1, first), deletion(3, "me", [first]), "tab", 1000)).toBe(false);
  });

  test("pass on their base, their place and their age", () => {
    const taken = takeOver(row(7, first), { ...rowOf(second, "tab", 5000) });
    expect(taken).toMatchObject({ seq: 7, since: 1000, replaced: [dotOf(first)] });
    expect(taken.change).toEqual({ ...second, base: [dotOf(base)] });
  });

  test("are known by their base to who still has them in front", () => {
    const taken = takeOver(row(7, first), { ...rowOf(second, "tab", 5000) });
    expect(currentBase([first], [{ ...taken, seq: 7 }], [])).toEqual([dotOf(base)]);
    expect(currentBase([second], [{ ...taken, seq: 7 }], [])).toEqual([dotOf(second)]);
  });

  test("what was refused gives way at any age, to a deletion too, a rename to nothing", () => {
    expect(isReplaceable(row(1, first, { parked: true, handed: 3 }), second, "another", 1e9)).toBe(true);
    const gone = deletion(3, "me", [first]);
    expect(isReplaceable(row(1, first, { parked: true }), gone, "tab", 1000)).toBe(true);
    expect(isReplaceable(row(1, first, { parked: true }), deletion(3, "me", [base]), "tab", 1000)).toBe(false);
    expect(isReplaceable(row(1, first), gone, "tab", 1000)).toBe(false);
    const moved = { ...deletion(2, "me", [base]), moved_to: "note:b.md" };
    expect(isReplaceable(row(1, moved), change(3, "me", [moved]), "tab", 1000)).toBe(false);
    expect(isReplaceable(row(1, moved, { uploaded: false }), change(3, "me", [moved]), "tab", 1000)).toBe(false);
    expect(isReplaceable(row(1, first, { uploaded: false }), second, "another", 1e9)).toBe(true);
  });
});

describe("refusals", () => {
  const base = change(1, "x", []);
  const first = change(60, "me", [base]);
  const second = change(61, "me", [first]);

  test("park keeps a change and says why", () => {
    const outbox = new Outbox([row(1, first)], META);
    outbox.refuse([refused(first, "bad_value")]);
    expect(outbox.outcome()).toEqual({
      put: [row(1, first, { parked: true, code: "bad_value", message: "why" })],
      removed: [],
    });
  });

  test("what was refused while the deletion of it was taken in is not kept", () => {
    const outbox = new Outbox([row(1, first, { handed: 1 })], META);
    outbox.refuse([refused(first, "bad_value")], [deletion(61, "me", [first])]);
    expect(outbox.outcome()).toEqual({ put: [], removed: [1] });
  });

  test("a later save takes the place of what would be parked", () => {
    const outbox = new Outbox([row(1, first, { handed: 1 }), row(2, second)], META);
    outbox.refuse([refused(first, "bad_value")]);
    const { put, removed } = outbox.outcome();
    expect(removed).toEqual([2]);
    expect(put).toHaveLength(1);
    expect(put[0]).toMatchObject({ seq: 1, parked: false, change: { ...second, base: [dotOf(base)] } });
  });

  test("retry and codes of the future are tried again", () => {
    for (const code of ["storage_full", "too_hot"]) {
      const outbox = new Outbox([row(1, first, { handed: 2 })], META);
      outbox.refuse([refused(first, code)]);
      expect(outbox.outcome().put).toMatchObject([{ parked: false, uploaded: true, handed: 0, code }]);
    }
  });

  test("upload waits for the bytes", () => {
    const outbox = new Outbox([row(1, first)], META);
    outbox.refuse([refused(first, "blob_missing")]);
    expect(outbox.outcome().put).toMatchObject([{ parked: false, uploaded: false }]);
  });

  test("re-stamp sets the clock back and gives new dots, to what builds on them, too", () => {
    const far = change(9000, "me", [base]);
    const later = change(9001, "me", [far]);
    const other = { ...change(40, "me", []), key: "note:b.md" };
    const outbox = new Outbox([row(1, far), row(2, later), row(3, other)], { ...META, clock: 9001 });
    outbox.refuse([refused(far, "clock_too_far", 70)]);
    const dots = outbox.outcome().put.map(({ change }) => [dotOf(change), change.base]);
    expect(dots).toEqual([
      [{ timestamp: 71, device_id: "me" }, [dotOf(base)]],
      [{ timestamp: 72, device_id: "me" }, [{ timestamp: 71, device_id: "me" }]],
    ]);
    expect(outbox.meta).toMatchObject({ clock: 72, deviceId: "me" });
    expect(currentBase([far], [], outbox.meta.newDots)).toEqual([{ timestamp: 71, device_id: "me" }]);
  });

  test("re-incarnate goes on under the next id with all that was never sent", () => {
    const other = { ...change(62, "me", []), key: "note:b.md" };
    const sent = { ...change(63, "me", []), key: "note:c.md" };
    const lost = { ...change(5, "x", []), key: "note:d.md" };
    const rows = [
      row(1, first, { handed: 1 }),
      row(2, other),
      row(3, sent, { handed: 1 }),
      row(4, lost, { parked: true }),
    ];
    const outbox = new Outbox(rows, META);
    outbox.refuse([refused(first, "dot_reused")]);
    expect(outbox.meta.deviceId).toBe("me~2");
    const dots = outbox.outcome().put.map(({ change }) => dotOf(change));
    expect(dots).toEqual([101, 102].map((timestamp) => ({ timestamp, device_id: "me~2" })));
    // A late answer about the former incarnation does not lead to yet another one.
    const again = new Outbox(rows, outbox.meta);
    again.refuse([refused(sent, "dot_reused")]);
    expect(again.meta.deviceId).toBe("me~2");
  });

  test("a server that always refuses does not keep us busy", () => {
    let rows = [row(1, first)];
    let meta: Outbox["meta"] = META;
    for (let times = 0; times <= MAX_NEW_DOTS; times++) {
      const outbox = new Outbox(rows, meta);
      const written = rows[0]?.change ?? first;
      outbox.refuse([refused(written, "dot_reused")]);
      rows = outbox.outcome().put;
      meta = outbox.meta;
    }
    expect(rows).toMatchObject([{ parked: true, code: "dot_reused" }]);
  });

  test("a rename waits for its target, if that is still to come", () => {
    const moved = { ...deletion(61, "me", [base]), moved_to: "note:b.md" };
    const target = { ...change(60, "me", []), key: "note:b.md" };
    const waiting = new Outbox([row(1, target), row(2, moved)], META);
    waiting.refuse([refused(moved, "move_target_missing")]);
    expect(waiting.outcome().put).toMatchObject([{ seq: 2, parked: false }]);
    const alone = new Outbox([row(2, moved)], META);
    alone.refuse([refused(moved, "move_target_missing")]);
    expect(alone.outcome().put).toMatchObject([{ seq: 2, parked: true }]);
  });

  test("another device's id takes all of our own along", () => {
    const outbox = new Outbox([row(1, first, { handed: 1 }), row(2, second)], META);
    outbox.adopt("you");
    const ours = outbox.outcome().put.map(({ change }): Dot => dotOf(change));
    expect(ours).toEqual([101, 102].map((timestamp) => ({ timestamp, device_id: "you" })));
    expect(outbox.outcome().put[1]?.change.base).toEqual([{ timestamp: 101, device_id: "you" }]);
  });
});
