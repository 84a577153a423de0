import { expect, test } from "vitest";

import { Job } from "../../../src/sync/job";

test("a job is done once at a time, and once more if it was asked for meanwhile", async () => {
  const ends: (() => void)[] = [];
  const job = new Job(() => new Promise<void>((resolve) => ends.push(resolve)));
  await job.idle();
  job.start();
  job.start();
  job.start();
  expect(ends).toHaveLength(1);
  ends[0]?.();
  await new Promise((next) => setTimeout(next));
  expect(ends).toHaveLength(2);
  ends[1]?.();
  await job.idle();
  expect(ends).toHaveLength(2);
});

test("a job that fails is done again when it is asked for", async () => {
  let count = 0;
  const job = new Job(() => Promise.reject(new Error(`failure ${String(count++)}`)));
  job.start();
  await job.idle();
  job.start();
  await job.idle();
  expect(count).toBe(2);
});
