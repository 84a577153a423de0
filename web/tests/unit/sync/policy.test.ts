import fc from "fast-check";
import { describe, expect, test } from "vitest";

import * as policy from "../../../src/sync/policy";

const config = policy.DEFAULT_CONFIG;

describe("the pause", () => {
  test("doubles its bound from 0.3 s to 30 s, with full jitter", () => {
    expect([1, 2, 3, 7, 8, 2000].map((failures) => policy.pause(failures, config, 1))).toEqual([
      300, 600, 1200, 19_200, 30_000, 30_000,
    ]);
    fc.assert(
      fc.property(fc.nat(5000), fc.double({ min: 0, max: 1, noNaN: true }), (failures, chance) => {
        const wait = policy.pause(failures + 1, config, chance);
        expect(wait).toBeGreaterThanOrEqual(0);
        expect(wait).toBeLessThanOrEqual(config.backoffMaxMs);
      }),
    );
  });
});

describe("the next step", () => {
  test("a new link connects, and asks by HTTP why it could not", () => {
    expect(policy.nextStep(policy.INITIAL, 0)).toEqual({ kind: "connect" });
    const once = policy.lost(policy.INITIAL, config, 1000, 1);
    expect(policy.nextStep(once, 1000)).toEqual({ kind: "wait", ms: 300 });
    expect(policy.nextStep(once, 1300)).toEqual({ kind: "poll" });
    const twice = policy.pollFailed(once, config, 1300, 0.5);
    expect(policy.nextStep(twice, 1300)).toEqual({ kind: "wait", ms: 300 });
    expect(policy.nextStep(twice, 1600)).toEqual({ kind: "connect" });
  });

  test("a connection that was open is opened again; after it was stable the pauses start over", () => {
    const state = { ...policy.opened(policy.INITIAL, 0), failures: 5 };
    const shaky = policy.lost(state, config, config.stableAfterMs - 1, 1);
    expect(shaky).toMatchObject({ failures: 6, httpIsNext: false, connectedAt: null });
    const stable = policy.lost(state, config, config.stableAfterMs, 1);
    expect(stable).toMatchObject({ failures: 1, dueAt: config.stableAfterMs + 300 });
  });

  test("who was replaced waits longest", () => {
    const state = policy.lost(policy.opened(policy.INITIAL, 0), config, 100, 0, true);
    expect(state.dueAt).toBe(100 + config.backoffMaxMs / 2);
  });

  test("polling goes on at its pace, hurries for a write, and tries the socket ever less often", () => {
    let state = policy.polled(policy.INITIAL, config, 0, 1);
    expect(policy.nextStep(state, 0)).toEqual({ kind: "wait", ms: 1000 });
    expect(policy.nextStep(policy.hurried(state), 10)).toEqual({ kind: "poll" });
    expect(policy.nextStep(policy.sending(policy.hurried(state)), 10)).toEqual({ kind: "wait", ms: 990 });
    expect(policy.nextStep(state, 1000)).toEqual({ kind: "connect" });
    const waits: number[] = [];
    for (let now = 1000, times = 0; times < 8; times++, now = state.socketDueAt) {
      state = policy.lost(state, config, now, 1);
      waits.push(state.socketDueAt - now);
    }
    expect(waits).toEqual([2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    expect(policy.nextStep({ ...state, socketDueAt: 1e9 }, config.pollMs)).toEqual({ kind: "poll" });
    expect(policy.polled(state, config, 7000, 1).socketDueAt).toBe(state.socketDueAt);
    expect(policy.opened(state, 1).polling).toBe(false);
  });

  test("the network coming back ends every pause", () => {
    const tired = policy.pollFailed({ ...policy.INITIAL, failures: 20 }, config, 0, 1);
    expect(policy.nextStep(policy.awakened(tired), 1)).toEqual({ kind: "connect" });
  });

  test("what is stopped stays so", () => {
    expect(policy.nextStep(policy.stopped(policy.opened(policy.INITIAL, 5)), 6)).toEqual({ kind: "stop" });
    expect(policy.closed(policy.opened(policy.INITIAL, 5)).connectedAt).toBeNull();
  });
});

describe("silence", () => {
  const heard = { heardAt: 1000, askedAt: null, doubtful: false };

  test("is probed after a while, and at once if the network changed", () => {
    expect(policy.watch(heard, config, 1000)).toEqual({ kind: "wait", ms: config.heartbeatMs });
    expect(policy.watch(heard, config, 1000 + config.heartbeatMs)).toEqual({ kind: "probe" });
    expect(policy.watch({ ...heard, doubtful: true }, config, 1000)).toEqual({ kind: "probe" });
  });

  test("is death where an answer is due", () => {
    const asked = { heardAt: 1000, askedAt: 5000, doubtful: false };
    expect(policy.watch(asked, config, 5000)).toEqual({ kind: "wait", ms: config.answerTimeoutMs });
    expect(policy.watch(asked, config, 5000 + config.answerTimeoutMs)).toEqual({ kind: "dead" });
    const doubted = { ...asked, doubtful: true };
    expect(policy.watch(doubted, config, 5000 + config.doubtTimeoutMs)).toEqual({ kind: "dead" });
    expect(policy.watch({ ...asked, heardAt: 9000 }, config, 9000)).toEqual({
      kind: "wait",
      ms: config.answerTimeoutMs,
    });
  });
});
