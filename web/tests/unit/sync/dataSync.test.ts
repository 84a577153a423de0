/** What a full reconcile fetches and offers. */

import { expect, test } from "vitest";

import { difference } from "../../../src/sync/dataSync";
import type { Stub } from "../../../src/sync/version";

const A = "note:a.md";

/** Return the heads of a note by their short names: `5x` is timestamp 5 of device x, `5x*` the same with the mark. */
function heads(names: string | undefined): Map<string, Stub[]> {
  const found = (names?.split(" ") ?? []).map((name) => {
    const [, timestamp, device_id = "", mark] = /^(\d+)(\w+)(\*?)$/.exec(name) ?? [];
    return { key: A, timestamp: Number(timestamp), device_id, ...(mark && { conflict: true as const }) };
  });
  return new Map(found.length > 0 ? [[A, found]] : []);
}

test.each([
  { ours: undefined, theirs: undefined, pulls: false, offers: "" },
  { ours: "1x", theirs: "1x", pulls: false, offers: "" },
  { ours: "1x 2y", theirs: "2y 1x", pulls: false, offers: "" },
  { ours: "1x", theirs: undefined, pulls: false, offers: "1x" },
  { ours: undefined, theirs: "1x", pulls: true, offers: "" },
  { ours: "1x", theirs: "2x", pulls: true, offers: "1x" },
  { ours: "1x 2y", theirs: "1x", pulls: true, offers: "2y" },
  { ours: "1x", theirs: "1x 2y", pulls: true, offers: "" },
  { ours: "1x*", theirs: "1x*", pulls: false, offers: "" },
  { ours: "1x", theirs: "1x*", pulls: true, offers: "" },
  { ours: "1x*", theirs: "1x", pulls: true, offers: "" },
  { ours: "1x* 2y", theirs: "1x 2y*", pulls: true, offers: "" },
])("of $ours and $theirs, dots and marks tell the difference", ({ ours, theirs, pulls, offers }) => {
  const found = difference(heads(ours), heads(theirs));
  expect(found.pull).toEqual(pulls ? [A] : []);
  expect(found.offer.map(({ timestamp, device_id }) => `${String(timestamp)}${device_id}`).join(" ")).toBe(offers);
});
