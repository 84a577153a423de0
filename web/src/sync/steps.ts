/** What the journal's transactions are made of: steps inside of one, over its head, one key, or the bytes. */

import type { Meta, Reading, Transaction } from "./database";
import { TidenoteError } from "./errors";
import { overlay, type NewRow, type OutboxRow } from "./outbox";
import { joinAll } from "./register";
import type { Received, Siblings } from "./session";
import { names, sameDot, stubOf, type Change, type Dot } from "./version";

const META: Meta = {
  deviceId: "",
  vault: "",
  epoch: null,
  cursor: 0,
  clock: 0,
  confirmedAt: null,
  leader: null,
  leaderUntil: 0,
  newDots: [],
  nonces: [],
};

/** How many bytes of blobs that the server has, too, are kept here. */
const MAX_KEPT_BYTES = 64 * 2 ** 20;

/** Return whose journal this is, and how far it got. */
export async function metaOf(tx: Reading): Promise<Meta> {
  return (await tx.objectStore("meta").get("meta")) ?? META;
}

/** Return the changes of a key that the server last told. */
export async function confirmedOf(tx: Reading, key: string): Promise<readonly Change[]> {
  return (await tx.objectStore("confirmed").get(key))?.changes ?? [];
}

/** Return our own changes of a key, and what is shown of it. */
export async function overlaid(tx: Reading, key: string): Promise<{ rows: OutboxRow[]; shown: Change | null }> {
  const [rows, confirmed] = await Promise.all([rowsOf(tx, key), confirmedOf(tx, key)]);
  const own = rows.map(({ change }) => change);
  return { rows, shown: overlay(confirmed, own).shown };
}

/** Alter some of the head. */
export async function setMeta(tx: Transaction, values: Partial<Meta>): Promise<void> {
  await tx.objectStore("meta").put({ ...(await metaOf(tx)), ...values }, "meta");
}

/**
 * Check that a tab is the one whose messages are applied.
 *
 * @throws TidenoteError `replaced`.
 */
export async function checkLeads(tx: Transaction, tab: string): Promise<void> {
  if ((await metaOf(tx)).leader !== tab) throw new TidenoteError("replaced", "another tab talks to the server");
}

/** Return our own changes of a key, in the order of sending. */
export function rowsOf(tx: Reading, key: string): Promise<OutboxRow[]> {
  return tx.objectStore("outbox").index("key").getAll(key);
}

/** Put a change into the outbox, or back to its place there. */
export async function putRow(tx: Transaction, row: NewRow): Promise<void> {
  // The database numbers a row that has no number yet.
  await tx.objectStore("outbox").put(row as OutboxRow);
}

/** Let go of the bytes that were used longest ago, if there are too many that no change of the outbox needs. */
export async function makeRoom(tx: Transaction): Promise<void> {
  const needed = new Set((await tx.objectStore("outbox").getAll()).map(({ change }) => change.blob?.sha256));
  const kept = (await tx.objectStore("blobs").getAll()).sort((first, second) => second.usedAt - first.usedAt);
  let room = MAX_KEPT_BYTES;
  for (const blob of kept) {
    if (needed.has(blob.sha256)) continue;
    room -= blob.size;
    if (room < 0) await tx.objectStore("blobs").delete(blob.sha256);
  }
}

/** Move a change from the outbox to the confirmed state. */
export async function accept(tx: Transaction, change: Change): Promise<void> {
  const confirmed = await confirmedOf(tx, change.key);
  // What the server has told of it already may bear a mark that we did not give it.
  const told = confirmed.some((sibling) => sameDot(sibling, change));
  const joined = told ? confirmed : joinAll([...confirmed, change]).siblings;
  const row = (await rowsOf(tx, change.key)).find((own) => sameDot(own.change, change));
  if (row && row.handed > 1 && !sameDots(joined, confirmed)) {
    // It may have been taken in long ago, and replaced by versions of which we saw only the last.
    await tx.objectStore("doubts").put({ key: change.key });
  }
  await putConfirmed(tx, change.key, joined);
  await tx.objectStore("quarantine").delete(change.key);
  if (row) await tx.objectStore("outbox").delete(row.seq);
}

/** Replace what is confirmed of some keys by what the server told: none removes the key. */
export async function replaceConfirmed(tx: Transaction, siblings: Siblings): Promise<void> {
  await Promise.all(
    [...siblings].map(async ([key, changes]) => {
      await putConfirmed(tx, key, changes);
      await Promise.all([tx.objectStore("doubts").delete(key), tx.objectStore("quarantine").delete(key)]);
    }),
  );
}

async function putConfirmed(tx: Transaction, key: string, changes: readonly Change[]): Promise<void> {
  const confirmed = tx.objectStore("confirmed");
  const heads = tx.objectStore("heads");
  if (changes.length === 0) await Promise.all([confirmed.delete(key), heads.delete(key)]);
  else await Promise.all([confirmed.put({ key, changes }), heads.put({ key, siblings: changes.map(stubOf) })]);
}

/** Move the cursor and the clock behind what was received. */
export async function advance(tx: Transaction, received: Received, now: number): Promise<void> {
  const meta = await metaOf(tx);
  const cursor = Math.max(meta.cursor, received.cursor);
  const seen = [...received.accepted, ...[...received.siblings.values()].flat()];
  const clock = seen.reduce((most, { timestamp }) => Math.max(most, timestamp), Math.max(meta.clock, cursor));
  await setMeta(tx, { epoch: received.epoch ?? meta.epoch, cursor, clock, confirmedAt: now });
}

/** Say whether two lists name the same changes, in whatever order. */
export function sameDots(first: readonly Dot[], second: readonly Dot[]): boolean {
  return first.length === second.length && first.every((dot) => names(second, dot));
}
