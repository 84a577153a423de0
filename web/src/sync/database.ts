/**
 * A device's durable memory as IndexedDB sees it: what is stored, and transactions over all of it. What the rows mean
 * is journal.ts's matter.
 */

import { deleteDB, openDB, type DBSchema, type IDBPDatabase, type IDBPTransaction } from "idb";

import { TidenoteError } from "./errors";
import type { OutboxRow } from "./outbox";
import type { Change, Dot, Stub } from "./version";

/** Whose journal this is, and how far it got. */
export interface Meta {
  /** The current incarnation. */
  readonly deviceId: string;
  readonly vault: string;
  /** Of the log that `cursor` counts in; null before the first contact. */
  readonly epoch: string | null;
  /** The receipt up to which everything is applied. */
  readonly cursor: number;
  /** The Lamport clock. */
  readonly clock: number;
  /** When the server last confirmed anything, ms since 1970; null if never. */
  readonly confirmedAt: number | null;
  /** The tab that talks to the server: only its messages are applied. */
  readonly leader: string | null;
  /** Until when it leads if nothing else tells, ms since 1970. */
  readonly leaderUntil: number;
  /** Own dots that were replaced after a refusal, and by which: who holds a note open may still name the old ones. */
  readonly newDots: readonly (readonly [Dot, Dot])[];
  /** What the tabs called their latest connections (docs/protocol.md 2.4). */
  readonly nonces: readonly string[];
}

/** Bytes that are kept here: until they are uploaded, and for as long as there is room. */
interface KeptBlob {
  readonly sha256: string;
  readonly bytes: Blob;
  readonly size: number;
  /** ms since 1970. */
  readonly usedAt: number;
}

/** A note that the server may have deleted and forgotten: held back since then, ms since 1970. */
export interface Quarantined {
  readonly key: string;
  readonly since: number;
}

/** The stores. */
interface Schema extends DBSchema {
  meta: { key: string; value: Meta };
  confirmed: { key: string; value: { key: string; changes: readonly Change[] } };
  /** What `confirmed` holds without the texts: read whole when a tab opens. */
  heads: { key: string; value: { key: string; siblings: readonly Stub[] } };
  outbox: { key: number; value: OutboxRow; indexes: { key: string } };
  /** Keys whose confirmed state is a guess. */
  doubts: { key: string; value: { key: string } };
  quarantine: { key: string; value: Quarantined };
  blobs: { key: string; value: KeptBlob };
}

type StoreName = "meta" | "confirmed" | "heads" | "outbox" | "doubts" | "quarantine" | "blobs";
const STORES: StoreName[] = ["meta", "confirmed", "heads", "outbox", "doubts", "quarantine", "blobs"];
const VERSION = 1;
/** Everything, to be read and written. */
export type Transaction = IDBPTransaction<Schema, StoreName[], "readwrite">;
/** Everything, to be read. */
export type Reading = IDBPTransaction<Schema, StoreName[], "readonly" | "readwrite">;

/** One open database. */
export class Database {
  private constructor(private readonly db: IDBPDatabase<Schema>) {}

  /**
   * Open a database, and create it if it is missing.
   *
   * @param onGone - called when it was closed from outside.
   * @throws TidenoteError `storage_failed`.
   */
  static async open(name: string, onGone: () => void): Promise<Database> {
    try {
      const db = await openDB<Schema>(name, VERSION, {
        upgrade: create,
        // A later version of the app, or who clears the site's data, waits for everybody to let go.
        blocking: () => {
          db.close();
          onGone();
        },
        terminated: onGone,
      });
      return new Database(db);
    } catch (error) {
      throw storageError(error);
    }
  }

  /** Close it, once what is under way is done. */
  close(): void {
    this.db.close();
  }

  /**
   * Run a function over the state of one moment.
   *
   * @throws TidenoteError `storage_failed`; what the function throws.
   */
  async read<T>(work: (tx: Reading) => Promise<T>): Promise<T> {
    try {
      return await work(this.db.transaction(STORES, "readonly"));
    } catch (error) {
      throw storageError(error);
    }
  }

  /**
   * Run a function as one transaction over everything; what it throws takes all of it back.
   *
   * @param durability - `relaxed` for what may be lost with the machine's power, as a whole: the server tells it again.
   * @throws TidenoteError `storage_full`, `storage_failed`; what the function throws.
   */
  async commit<T>(work: (tx: Transaction) => Promise<T>, durability: IDBTransactionDurability = "strict"): Promise<T> {
    let tx: Transaction | undefined;
    try {
      tx = this.db.transaction(STORES, "readwrite", { durability });
      const result = await work(tx);
      await tx.done;
      return result;
    } catch (error) {
      await abort(tx);
      throw storageError(error);
    }
  }
}

/**
 * Delete databases, but for those with something that nobody else may have: what was not sent, or is held back.
 *
 * Emptied in the same transaction that looks: what another tab writes is there before, and kept, or refused after.
 */
export async function deleteSent(names: readonly string[]): Promise<void> {
  const done = await Promise.allSettled(names.map(deleteOneSent));
  const failed = done.find((one) => one.status === "rejected");
  if (failed) throw storageError(failed.reason);
}

async function deleteOneSent(name: string): Promise<void> {
  const db = await openDB<Schema>(name, VERSION, { upgrade: create });
  try {
    const tx = db.transaction(STORES, "readwrite");
    const kept = (await tx.objectStore("outbox").count()) + (await tx.objectStore("quarantine").count());
    if (kept > 0) return;
    await Promise.all([...STORES.map((store) => tx.objectStore(store).clear()), tx.done]);
  } finally {
    db.close();
  }
  await deleteDB(name);
}

async function abort(tx: Transaction | undefined): Promise<void> {
  try {
    tx?.abort();
  } catch {
    // It has ended already.
  }
  await tx?.done.catch(() => undefined);
}

function create(db: IDBPDatabase<Schema>): void {
  db.createObjectStore("meta");
  for (const name of ["confirmed", "heads", "doubts", "quarantine"] as const) {
    db.createObjectStore(name, { keyPath: "key" });
  }
  db.createObjectStore("outbox", { keyPath: "seq", autoIncrement: true }).createIndex("key", "key");
  db.createObjectStore("blobs", { keyPath: "sha256" });
}

/** Return an error of the database as one of ours. */
function storageError(error: unknown): unknown {
  if (!(error instanceof DOMException)) return error;
  const full = error.name === "QuotaExceededError";
  return new TidenoteError(
    full ? "storage_full" : "storage_failed",
    full ? "this browser has no room left for notes" : `this browser cannot store notes: ${error.message}`,
  );
}
