/** Which devices have a note, by their cursors and the receipt of its latest version. Pure. */
import type { Device } from "../api";
import { messages } from "../messages";
import { since } from "../parts/time";

const words = messages.status.note;

/** Say who else than `own` has a version with this receipt: "On the server; laptop has it; phone not since Monday". */
export function describeReceipt(receipt: number, devices: readonly Device[], own: string, now = Date.now()): string {
  const others = devices.filter((device) => device.device_id !== own);
  const has = others.filter((device) => (device.cursor ?? 0) >= receipt).map((device) => device.device_id);
  const lacks = others
    .filter((device) => !has.includes(device.device_id))
    .map((device) =>
      !device.last_seen_at
        ? words.lacksNever(device.device_id)
        : words.lacks(device.device_id, since(device.last_seen_at, now)),
    );
  return [words.onServer, ...(has.length ? [words.has(has)] : []), ...lacks].join("; ");
}
