/** Devices that write without having seen each other: plain clients of the protocol, with Lamport times as they please. */
import type { Change, Dot } from "../../src/sync";
import type { Server } from "./processes";

/** Write as a device, with the timestamp and base that the changes say. */
export async function push(server: Server, device: string, changes: readonly Change[]): Promise<void> {
  const body = JSON.stringify({ type: "sync_push", changes, last_ack: 0, id: 1 });
  const response = await fetch(`${server.origin}/api/v1/sync?device_id=${device}`, { method: "POST", body });
  const answer = (await response.json()) as { rejected?: unknown[] };
  if (!response.ok || answer.rejected) throw new Error(JSON.stringify(answer));
}

/** Return all versions of a note that no other has replaced. */
export async function siblings(server: Server, key: string): Promise<Change[]> {
  const body = JSON.stringify({ keys: [key] });
  const response = await fetch(`${server.origin}/api/v1/fetch`, { method: "POST", body });
  return ((await response.json()) as { changes: Change[] }).changes;
}

/**
 * Let `phone` and `tablet` write at the same Lamport time, both over what the note is now; over nothing if it is not
 * there.
 */
export async function tie(server: Server, key: string, phone: string, tablet: string): Promise<void> {
  const base = (await siblings(server, key)).map(({ timestamp, device_id }): Dot => ({ timestamp, device_id }));
  const timestamp = Math.max(0, ...base.map((dot) => dot.timestamp)) + 1000;
  const modified_at = Date.now();
  for (const [device_id, value] of [
    ["phone", phone],
    ["tablet", tablet],
  ] as const) {
    await push(server, device_id, [{ key, value, timestamp, device_id, base, modified_at }]);
  }
}

/** Write a note as a device, after all that it is now. */
export async function write(server: Server, device_id: string, key: string, value: string | null): Promise<void> {
  const before = await siblings(server, key);
  const base = before.map((change): Dot => ({ timestamp: change.timestamp, device_id: change.device_id }));
  const timestamp = Math.max(0, ...base.map((dot) => dot.timestamp)) + 1;
  await push(server, device_id, [{ key, value, timestamp, device_id, base, modified_at: Date.now() }]);
}
