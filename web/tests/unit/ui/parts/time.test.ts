import { expect, test } from "vitest";

import { clockTime, moment, since } from "../../../../src/ui/parts/time";

const MORNING = new Date(2026, 10, 25, 0, 5, 34).getTime();
const EVENING = new Date(2026, 10, 25, 21, 5, 34).getTime();

test("a page has one clock, of 24 hours", () => {
  expect([clockTime(MORNING), clockTime(EVENING)]).toEqual(["00:05", "21:05"]);
  expect([moment(MORNING), moment(EVENING)]).toEqual(["Nov 25, 2026, 00:05:34", "Nov 25, 2026, 21:05:34"]);
  expect(since(MORNING, EVENING)).toBe("00:05");
});
