/** Changes for tests, and how fast-check makes them. */

import fc from "fast-check";

import { sortedDots, type Change, type Dot } from "../../../src/sync/version";

/** Return a change of one key; its text says who wrote it when. */
export function change(timestamp: number, device_id: string, base: readonly Dot[] | null, more: object = {}): Change {
  return {
    key: "note:a.md",
    value: `${String(timestamp)}${device_id}`,
    timestamp,
    device_id,
    ...(base && { base: sortedDots(base) }),
    ...more,
  };
}

/** Return a deletion. */
export function deletion(timestamp: number, device_id: string, base: readonly Dot[] | null): Change {
  return change(timestamp, device_id, base, { value: null, deleted: true });
}

/** Changes of one key, each of another dot; each names some of the smaller ones as its base, or is blind. */
export const histories: fc.Arbitrary<Change[]> = fc
  .uniqueArray(fc.record({ timestamp: fc.integer({ min: 1, max: 12 }), device_id: fc.constantFrom("a", "b", "c") }), {
    maxLength: 10,
    selector: ({ timestamp, device_id }) => `${String(timestamp)}${device_id}`,
  })
  .chain((dots) => fc.tuple(...dots.map((dot) => changeOf(dot, dots))));

function changeOf(dot: Dot, dots: readonly Dot[]): fc.Arbitrary<Change> {
  const older = dots.filter(({ timestamp }) => timestamp < dot.timestamp);
  return fc
    .tuple(fc.subarray(older), fc.constantFrom("based", "based", "based", "blind"), fc.boolean())
    .map(([base, kind, deleted]) =>
      (deleted ? deletion : change)(dot.timestamp, dot.device_id, kind === "blind" ? null : base),
    );
}
