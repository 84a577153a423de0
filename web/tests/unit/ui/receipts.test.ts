import { expect, test } from "vitest";

import type { Device } from "../../../src/ui/api";
import { describeReceipt } from "../../../src/ui/status/receipts";

const NOW = Date.UTC(2026, 10, 25, 12);
const DAY = 86_400_000;

function device(device_id: string, cursor: number | null, last_seen_at = NOW): Device {
  return {
    device_id,
    vault: "main",
    role: "editor",
    created_at: 0,
    last_seen_at,
    cursor,
    connected: true,
    web: false,
    this: false,
  };
}

test("says who has a version, and who has not been seen since when", () => {
  const devices = [device("laptop", 7), device("desk", 9), device("phone", 3, NOW - 2 * DAY), device("web-1", 1)];
  expect(describeReceipt(7, devices, "web-1", NOW)).toBe(
    "On the server; laptop and desk have it; phone not since Monday",
  );
});

test("a device that never came has it not yet", () => {
  expect(describeReceipt(7, [device("tablet", null, 0)], "web-1", NOW)).toBe("On the server; tablet not yet");
});

test("alone there is nothing more to say", () => {
  expect(describeReceipt(7, [device("web-1", 7)], "web-1", NOW)).toBe("On the server");
});
