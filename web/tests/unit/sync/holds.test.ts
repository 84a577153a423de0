import { expect, test } from "vitest";

import { Holds } from "../../../src/sync/holds";
import type { Journal } from "../../../src/sync/journal";
import type { Decisions } from "../../../src/sync/messages";
import type { Rest } from "../../../src/sync/rest";
import { until } from "./world";

test("what is decided while a report is on its way is asked for when it is back", async () => {
  const answers: ((decisions: Decisions) => void)[] = [];
  const released: boolean[] = [];
  let held = [{ key: "note:a.md", since: 1 }];
  const journal = {
    quarantined: () => Promise.resolve(held),
    meta: () => Promise.resolve({ deviceId: "browser" }),
    release: (_: unknown, keep: boolean) => {
      released.push(keep);
      held = [];
      return Promise.resolve();
    },
  } as unknown as Journal;
  const rest = {
    reportHolds: () => new Promise<Decisions>((resolve) => answers.push(resolve)),
  } as unknown as Rest;
  const holds = new Holds(journal, rest, "tab", () => undefined);
  holds.look();
  await until("the report is on its way", () => answers.length === 1);
  holds.again();
  answers[0]?.({ decisions: [] });
  await until("it is asked again", () => answers.length === 2);
  answers[1]?.({ decisions: [{ kind: "quarantine", decision: "confirm" }] });
  await until("it was done, and reported", () => answers.length === 3);
  answers[2]?.({ decisions: [] });
  await holds.close();
  expect(released).toEqual([true]);
});
