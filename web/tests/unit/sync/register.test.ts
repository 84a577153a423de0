import fc from "fast-check";
import { expect, test } from "vitest";

import { EMPTY, join, joinAll, winnerOf, type Register } from "../../../src/sync/register";
import { compareDots, dotId, type Change } from "../../../src/sync/version";

import { change, deletion, histories } from "./changes";

const registers = histories.map((changes) => joinAll(changes));
/** Three replicas that heard of parts of the same history: a dot has the same content everywhere. */
const three = histories.chain((changes) => {
  const part = fc.subarray(changes).map((known) => joinAll(known));
  return fc.tuple(part, part, part);
});
const RUNS = { numRuns: 500 };

/** Return a register so that equal ones are equal: the context of one is a map in any order. */
function plain({ siblings, context }: Register<Change>): unknown {
  return [siblings, context.floor, [...context.dots.keys()].sort()];
}

test("join is commutative", () => {
  fc.assert(
    fc.property(three, ([first, second]) => {
      expect(plain(join(first, second))).toEqual(plain(join(second, first)));
    }),
    RUNS,
  );
});

test("join is associative", () => {
  fc.assert(
    fc.property(three, ([first, second, third]) => {
      expect(plain(join(join(first, second), third))).toEqual(plain(join(first, join(second, third))));
    }),
    RUNS,
  );
});

test("join is idempotent, and has a neutral element", () => {
  fc.assert(
    fc.property(registers, (register) => {
      expect(plain(join(register, register))).toEqual(plain(register));
      expect(plain(join(register, EMPTY))).toEqual(plain(register));
    }),
    RUNS,
  );
});

test("any order and any duplication of the same changes gives the same register", () => {
  const told = histories.chain((changes) =>
    fc.tuple(
      fc.constant(changes),
      fc.shuffledSubarray([...changes, ...changes], {
        minLength: changes.length * 2,
      }),
    ),
  );
  fc.assert(
    fc.property(told, ([changes, again]) => {
      expect(plain(joinAll(again))).toEqual(plain(joinAll(changes)));
    }),
    RUNS,
  );
});

test("a register that has a sibling never becomes empty, and its winner is one of the siblings", () => {
  fc.assert(
    fc.property(histories, (changes) => {
      const { siblings } = joinAll(changes);
      expect(siblings.length > 0).toBe(changes.length > 0);
      const winner = winnerOf(siblings);
      if (!winner) return;
      expect(siblings.map(dotId)).toContain(dotId(winner));
      const rivals = siblings.filter(({ deleted }) => deleted === winner.deleted);
      expect(rivals.every((rival) => compareDots(rival, winner) <= 0)).toBe(true);
      if (winner.deleted) expect(siblings.every(({ deleted }) => deleted)).toBe(true);
    }),
    RUNS,
  );
});

test("a text wins over a later deletion", () => {
  expect(winnerOf([change(3, "a", []), deletion(9, "b", [])])?.value).toBe("3a");
});
