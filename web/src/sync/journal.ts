/**
 * A device's durable memory in IndexedDB: what the server confirmed, and what still has to be sent. Every method is one
 * transaction, so that a crash leaves the state before or after it, and any tab may write. What a key shows is always
 * join(confirmed, outbox). When to send is link.ts's matter; what a refusal does to the outbox stands in outbox.ts.
 */

import { LamportClock } from "./clock";
import { Database, type Meta, type Quarantined, type Transaction } from "./database";
import { TidenoteError } from "./errors";
import { checkDeviceId, ownerOf } from "./keys";
import { MAX_MESSAGE_BYTES, MAX_MESSAGE_CHANGES, toChange } from "./messages";
import {
  currentBase,
  deletes,
  deletionBase,
  isReplaceable,
  Outbox,
  rowOf,
  takeOver,
  type NewRow,
  type OutboxRow,
} from "./outbox";
import { sizeOfChange, type Received, type Siblings } from "./session";
import {
  accept,
  advance,
  checkLeads,
  confirmedOf,
  makeRoom,
  metaOf,
  overlaid,
  putRow,
  replaceConfirmed,
  rowsOf,
  sameDots,
  setMeta,
} from "./steps";
import { sameDot, stubOf, type BlobRef, type Change, type Dot, type Stub } from "./version";

/** A change to be: what `Journal.write` gives a dot. */
export interface Write {
  readonly key: string;
  /** The text; null for a deletion and for a blob. */
  readonly value: string | null;
  readonly blob?: BlobRef;
  /** The dots that the author had in front of them; by default the one that is shown. */
  readonly base?: readonly Dot[];
  readonly moved_to?: string;
  readonly modified_at?: number;
  readonly live?: boolean;
  /** The bytes of the blob, kept here until the server has them; absent if it has. */
  readonly bytes?: Blob;
}

/** What the journal holds of a key: in memory without texts (`Stub`), on demand with them (`Change`). */
export interface Held<S extends Stub = Stub> {
  readonly key: string;
  readonly confirmed: readonly S[];
  readonly own: readonly (Omit<OutboxRow, "change"> & { readonly change: S })[];
  /** Whether the server may have deleted and forgotten it (docs/protocol.md 9.5). */
  readonly quarantined: boolean;
}

/** What the server has lost and will not take back. */
export interface Lost {
  /** Changes, each with the code and the message of the refusal. */
  readonly parked: readonly (readonly [Change, string, string])[];
  readonly anew: readonly Write[];
  /** ms since 1970. */
  readonly now: number;
}

/** Who writes, in one transaction. */
interface Author {
  readonly meta: Meta;
  readonly clock: LamportClock;
  readonly writer: string;
  readonly now: number;
}

/** How many heads are read at once. */
const PAGE = 2000;
/** How many of our own connections are known again: far more than may be on their way to a server at once. */
const MAX_NONCES = 64;
/** How exactly it is remembered when bytes were last used. */
const USED_WITHIN_MS = 3_600_000;

/** One device's replica of one vault, and its outbox. */
export class Journal {
  private constructor(private readonly db: Database) {}

  /**
   * Open a journal, and create it if it is missing.
   *
   * @param name - of the database.
   * @param onGone - called when the database was closed from outside: the page must open it again.
   * @throws TidenoteError `storage_failed`.
   */
  static async open(name: string, onGone: () => void = () => undefined): Promise<Journal> {
    return new Journal(await Database.open(name, onGone));
  }

  /** Close the database; everything that a method resolved is durable without it. */
  close(): void {
    this.db.close();
  }

  // -- who we are

  /** Return whose journal this is, and how far it got. */
  async meta(): Promise<Meta> {
    return this.db.read(metaOf);
  }

  /**
   * Say whose journal this is. If the browser has become another device, what was not confirmed goes on as that one's.
   *
   * @throws TidenoteError `bad_device`; `bad_config`, if it is another vault's.
   */
  async bind(deviceId: string, vault: string): Promise<void> {
    checkDeviceId(deviceId);
    await this.db.commit(async (tx) => {
      const meta = await metaOf(tx);
      if (meta.vault !== "" && meta.vault !== vault) {
        throw new TidenoteError("bad_config", `this journal belongs to the vault ${meta.vault}, not ${vault}`);
      }
      // What is known is not written again: a browser without room for more still shows its notes.
      if (meta.deviceId === "") await setMeta(tx, { vault, deviceId });
      else if (ownerOf(meta.deviceId) !== ownerOf(deviceId)) {
        await this.alterOutbox(tx, (outbox) => {
          outbox.adopt(deviceId);
        });
      }
    });
  }

  /**
   * Become the tab whose messages are applied, if no other is, or if the lock says that none can be.
   *
   * @returns whether this tab leads now.
   */
  async lead(tab: string, now: number, until: number, force: boolean): Promise<boolean> {
    return this.db.commit(async (tx) => {
      const { leader, leaderUntil } = await metaOf(tx);
      // Who asked before us has a lease that ends before ours would; else the clock was put back, and it says nothing.
      const isTaken = leader !== null && leader !== tab && now < leaderUntil && leaderUntil <= until;
      if (isTaken && !force) return false;
      await setMeta(tx, { leader: tab, leaderUntil: until });
      return true;
    }, "relaxed");
  }

  /** Note the name of a new connection, and return whose it is and where it goes on. */
  async connecting(nonce: string): Promise<Meta> {
    return this.db.commit(async (tx) => {
      const { nonces } = await metaOf(tx);
      await setMeta(tx, { nonces: [...nonces, nonce].slice(-MAX_NONCES) });
      return metaOf(tx);
    }, "relaxed");
  }

  /**
   * Make room if it was no connection of this browser's that came in the place of ours: another device has our id.
   *
   * @returns the keys that have a change with a new dot.
   */
  async replacedBy(nonce: string): Promise<Set<string>> {
    return this.db.commit(async (tx) => {
      if ((await metaOf(tx)).nonces.includes(nonce)) return new Set<string>();
      return this.alterOutbox(tx, (outbox) => {
        outbox.goOn();
      });
    });
  }

  /** Let another tab lead. */
  async resign(tab: string): Promise<void> {
    await this.db.commit(async (tx) => {
      if ((await metaOf(tx)).leader === tab) await setMeta(tx, { leader: null, leaderUntil: 0 });
    }, "relaxed");
  }

  // -- what keys hold

  /** Return what a key holds, texts included. */
  async read(key: string): Promise<Held<Change>> {
    return this.db.read(async (tx) => {
      const [row, own, quarantined] = await Promise.all([
        tx.objectStore("confirmed").get(key),
        rowsOf(tx, key),
        tx.objectStore("quarantine").getKey(key),
      ]);
      const isHeld = quarantined !== undefined && own.length === 0;
      return { key, confirmed: row?.changes ?? [], own, quarantined: isHeld };
    });
  }

  /** Return what some keys hold, without their texts. */
  async heads(keys: Iterable<string>): Promise<Held[]> {
    return this.db.read(async (tx) => {
      return Promise.all(
        [...keys].map(async (key) => {
          const [row, own, quarantined] = await Promise.all([
            tx.objectStore("heads").get(key),
            rowsOf(tx, key),
            tx.objectStore("quarantine").getKey(key),
          ]);
          return held(key, row?.siblings ?? [], own, quarantined !== undefined);
        }),
      );
    });
  }

  /** Return what all keys hold at one moment, without their texts. */
  async allHeads(): Promise<Held[]> {
    return this.db.read(async (tx) => {
      const own = new Map<string, OutboxRow[]>();
      for (const row of await tx.objectStore("outbox").getAll()) own.set(row.key, [...(own.get(row.key) ?? []), row]);
      const quarantined = new Set(await tx.objectStore("quarantine").getAllKeys());
      const found: Held[] = [];
      let after: string | undefined;
      do {
        const range = after === undefined ? null : IDBKeyRange.lowerBound(after, true);
        const page = await tx.objectStore("heads").getAll(range, PAGE);
        for (const { key, siblings } of page) {
          found.push(held(key, siblings, own.get(key) ?? [], quarantined.has(key)));
          own.delete(key);
        }
        after = page.at(-1)?.key;
      } while (after !== undefined);
      for (const [key, rows] of own) found.push(held(key, [], rows, false));
      return found;
    });
  }

  /** Return the changes of a key that the server last told, with their texts. */
  async confirmed(key: string): Promise<readonly Change[]> {
    return this.db.read((tx) => confirmedOf(tx, key));
  }

  // -- the outbox

  /**
   * Put changes of this device into the state and the outbox: one transaction, and durable when it resolves.
   * A change of the same key that this tab saved within the last minute and never sent is replaced by one that saw it
   * and deletes nothing. One that is parked, or whose bytes were not uploaded, is replaced by a deletion, too: no history
   * will ever show it.
   *
   * @param writes - in order; the creation of a rename goes before its tombstone.
   * @param writer - the tab.
   * @param now - ms since 1970.
   * @returns the changes, in the order of the writes; one whose text is shown already is not written again.
   * @throws TidenoteError `bad_key`, `bad_value`, `storage_full`, `storage_failed`: nothing was written.
   */
  async write(writes: readonly Write[], writer: string, now: number): Promise<Change[]> {
    return this.db.commit(async (tx) => {
      const author = await authorOf(tx, writer, now);
      const changes: Change[] = [];
      for (const write of writes) {
        const { shown } = await overlaid(tx, write.key);
        const isShown = shown && write.moved_to === undefined && sameContent(shown, write);
        changes.push(isShown ? shown : await this.writeOne(tx, write, author));
      }
      await setMeta(tx, { clock: author.clock.time });
      // A long note leaves bytes behind with every save.
      if (writes.some(({ bytes }) => bytes)) await makeRoom(tx);
      return changes;
    });
  }

  /**
   * Return about one message's worth of changes that may be sent now, in order, and note that they may have been.
   * At most one per key: its successor must not be taken in if it is refused. But a deletion goes along with the change
   * that it deletes, lest others see that come and go. What waits for an upload, or moves to a key that does, is left for
   * later and holds up nothing else.
   */
  async take(): Promise<Change[]> {
    return this.db.commit(async (tx) => {
      const found: Change[] = [];
      const passed = new Set<string>();
      const waiting = new Set<string>();
      const latest = new Map<string, Change>();
      let size = 0;
      for await (const cursor of tx.objectStore("outbox")) {
        const row = cursor.value;
        if (row.parked) continue;
        const before = latest.get(row.key);
        latest.delete(row.key);
        if (before && deletes(row.change, before)) {
          found.push(row.change);
          await cursor.update({ ...row, handed: row.handed + 1 });
          continue;
        }
        const target = row.change.moved_to;
        const waits = passed.has(row.key) || !row.uploaded || (target !== undefined && waiting.has(target));
        passed.add(row.key);
        if (waits) {
          waiting.add(row.key);
          continue;
        }
        size += sizeOfChange(row.change);
        const previous = found.at(-1);
        const endsRename = target !== undefined && target === previous?.key;
        if (previous && !endsRename && (found.length >= MAX_MESSAGE_CHANGES || size > MAX_MESSAGE_BYTES)) break;
        found.push(row.change);
        latest.set(row.key, row.change);
        await cursor.update({ ...row, handed: row.handed + 1 });
      }
      return found;
    });
  }

  /** Return the rows whose blobs are to be uploaded, in order. */
  async uploads(): Promise<OutboxRow[]> {
    const rows = await this.db.read((tx) => tx.objectStore("outbox").getAll());
    return rows.filter(({ uploaded, parked }) => !uploaded && !parked);
  }

  /** Note that the server has the bytes of a row's blob: the change that names it may be sent. */
  async uploaded(row: OutboxRow): Promise<void> {
    await this.db.commit(async (tx) => {
      const current = await tx.objectStore("outbox").get(row.seq);
      if (current && current.change.blob?.sha256 === row.change.blob?.sha256) {
        await tx.objectStore("outbox").put({ ...current, uploaded: true });
      }
    });
  }

  /** Keep a change but stop sending it, and remember why. */
  async park(row: OutboxRow, code: string, message: string): Promise<void> {
    await this.db.commit(async (tx) => {
      const current = await tx.objectStore("outbox").get(row.seq);
      if (!current || !sameDot(current.change, row.change)) return;
      await this.alterOutbox(tx, (outbox) => {
        outbox.park(current, code, message);
      });
    });
  }

  /** Send parked changes again, all or those of some keys; return the keys. */
  async retryParked(keys?: readonly string[]): Promise<string[]> {
    return this.db.commit(async (tx) => {
      const store = tx.objectStore("outbox");
      const rows = (await store.getAll()).filter(({ key, parked }) => parked && (keys?.includes(key) ?? true));
      for (const row of rows) {
        const kept = row.change.blob && (await tx.objectStore("blobs").getKey(row.change.blob.sha256));
        await store.put({
          ...row,
          parked: false,
          uploaded: kept === undefined,
          attempts: 0,
          code: null,
          message: null,
        });
      }
      return rows.map(({ key }) => key);
    });
  }

  /** Let parked changes of a key go, because their author says so. */
  async discardParked(key: string): Promise<void> {
    await this.db.commit(async (tx) => {
      for (const row of await rowsOf(tx, key)) if (row.parked) await tx.objectStore("outbox").delete(row.seq);
    });
  }

  // -- what the server says

  /**
   * Apply one message of the server's: one transaction, after which its cursor may be acknowledged. Accepted changes
   * join the confirmed state and leave the outbox; the siblings told replace it; refused changes are treated as their
   * code demands.
   *
   * @returns the keys that it touched.
   * @throws TidenoteError `storage_full`, `storage_failed`; `replaced`, if another tab leads: nothing was applied.
   */
  async apply(received: Received, tab: string, now: number): Promise<Set<string>> {
    return this.db.commit(async (tx) => {
      await checkLeads(tx, tab);
      for (const change of received.accepted) await accept(tx, change);
      for (const key of received.unlisted) await tx.objectStore("doubts").put({ key });
      await replaceConfirmed(tx, received.siblings);
      await advance(tx, received, now);
      const touched = new Set([...received.accepted.map(({ key }) => key), ...received.siblings.keys()]);
      if (received.rejected.length > 0) {
        const altered = await this.alterOutbox(tx, (outbox) => {
          outbox.refuse(received.rejected, received.accepted);
        });
        for (const key of altered) touched.add(key);
      }
      return touched;
    }, "relaxed");
  }

  /**
   * Return the keys whose confirmed state is a guess, to be asked for: an answer was lost, and others wrote; or it had
   * no room.
   */
  async doubts(): Promise<string[]> {
    return this.db.read((tx) => tx.objectStore("doubts").getAllKeys());
  }

  /**
   * Replace the confirmed siblings of some keys by what a comparison found: one transaction.
   *
   * @param siblings - per key all that the server has; none removes the key from the confirmed state.
   * @param tab - the one that compares.
   * @param expected - per key what it held when the server was asked; where that has altered, what came is older.
   * @param lost - confirmed changes that the server has lost and will not take back: they are parked, with code and
   *   message, or written anew, so that no text is lost.
   * @returns the keys that it touched.
   */
  async reconcile(
    siblings: Siblings,
    tab: string,
    expected?: Siblings,
    lost: Lost = { parked: [], anew: [], now: 0 },
  ): Promise<Set<string>> {
    return this.db.commit(async (tx) => {
      await checkLeads(tx, tab);
      const found = new Map<string, readonly Change[]>();
      for (const [key, changes] of siblings) {
        const before = expected?.get(key);
        const now = await confirmedOf(tx, key);
        if (!before || sameDots(before, now)) found.set(key, changes);
      }
      await replaceConfirmed(tx, found);
      for (const [change, code, message] of lost.parked) {
        await putRow(tx, { ...rowOf(change, tab, 0), parked: true, code, message });
      }
      const { clock } = await metaOf(tx);
      const stamps = [...found.values()].flat().map(({ timestamp }) => timestamp);
      await setMeta(tx, { clock: stamps.reduce((most, stamp) => Math.max(most, stamp), clock) });
      const author = await authorOf(tx, tab, lost.now);
      for (const write of lost.anew) await this.writeOne(tx, write, author);
      await setMeta(tx, { clock: author.clock.time });
      return new Set([
        ...found.keys(),
        ...[...lost.parked.map(([change]) => change), ...lost.anew].map(({ key }) => key),
      ]);
    }, "relaxed");
  }

  /** Note that a full comparison is complete: from now on the log of this epoch is followed from the cursor. */
  async resynced(epoch: string, cursor: number, tab: string, now: number): Promise<void> {
    await this.db.commit(async (tx) => {
      await checkLeads(tx, tab);
      const { clock } = await metaOf(tx);
      await setMeta(tx, { epoch, cursor, clock: Math.max(clock, cursor), confirmedAt: now });
    });
  }

  // -- the quarantine

  /**
   * Hold back keys that the server lacks, instead of those before. They stay as they are, and are not sent, until
   * somebody writes them or the server tells of them again.
   *
   * @returns the keys that it touched.
   */
  async quarantine(keys: readonly string[], tab: string, now: number): Promise<Set<string>> {
    return this.db.commit(async (tx) => {
      await checkLeads(tx, tab);
      const store = tx.objectStore("quarantine");
      const before = new Map((await store.getAll()).map((held) => [held.key, held]));
      await store.clear();
      for (const key of keys) {
        const { shown } = await overlaid(tx, key);
        if (shown && !shown.deleted) await store.put(before.get(key) ?? { key, since: now });
      }
      return new Set([...before.keys(), ...keys]);
    });
  }

  /** Return what is held back because the server may have deleted and forgotten it, in the order of the keys. */
  async quarantined(): Promise<Quarantined[]> {
    return this.db.read(async (tx) => {
      const held = await tx.objectStore("quarantine").getAll();
      const own = await Promise.all(held.map(({ key }) => tx.objectStore("outbox").index("key").getKey(key)));
      return held.filter((_, at) => own[at] === undefined);
    });
  }

  /**
   * Write held notes anew, as a person decided; those of the keys that are not held are left alone.
   *
   * @param keep - whether they come back everywhere; if not, they are written and then deleted, so that they are in
   *   the trash.
   */
  async release(keys: readonly string[], keep: boolean, writer: string, now: number): Promise<void> {
    await this.db.commit(async (tx) => {
      const author = await authorOf(tx, writer, now);
      for (const key of keys) {
        const { rows, shown } = await overlaid(tx, key);
        if (!shown || rows.length > 0 || !(await tx.objectStore("quarantine").get(key))) continue;
        const { value, blob, modified_at } = shown;
        const base = await confirmedOf(tx, key);
        const write = { key, value, base, ...(blob && { blob }), ...(modified_at !== undefined && { modified_at }) };
        const again = await this.writeOne(tx, write, author);
        if (!keep) await this.writeOne(tx, { key, value: null, base: [again], modified_at: now }, author);
      }
      await setMeta(tx, { clock: author.clock.time });
    });
  }

  // -- bytes

  /** Return bytes that are kept here. */
  async blob(sha256: string, now: number): Promise<Blob | null> {
    const kept = await this.db.read((tx) => tx.objectStore("blobs").get(sha256));
    if (kept && now - kept.usedAt > USED_WITHIN_MS) {
      const used = this.db.commit((tx) => tx.objectStore("blobs").put({ ...kept, usedAt: now }), "relaxed");
      // That they were used may be forgotten; that they are here is what counts.
      await used.catch(() => undefined);
    }
    return kept?.bytes ?? null;
  }

  /** Keep bytes that the server has, too, for as long as there is room. */
  async keep(sha256: string, bytes: Blob, now: number): Promise<void> {
    await this.db.commit(async (tx) => {
      await tx.objectStore("blobs").put({ sha256, bytes, size: bytes.size, usedAt: now });
      await makeRoom(tx);
    }, "relaxed");
  }

  // -- inside a transaction

  private async writeOne(tx: Transaction, write: Write, author: Author): Promise<Change> {
    const { meta, clock, writer, now } = author;
    const { rows, shown } = await overlaid(tx, write.key);
    const seen = currentBase(write.base ?? (shown ? [shown] : []), rows, meta.newDots);
    const previous = rows.at(-1);
    const base = write.value === null && !write.moved_to && previous ? deletionBase(seen, previous.change) : seen;
    clock.observe(...base.map(({ timestamp }) => timestamp));
    const { bytes, ...fields } = write;
    const change = toChange({ ...fields, base, timestamp: clock.tick(), device_id: meta.deviceId });
    if (bytes && change.blob) {
      const { sha256, size } = change.blob;
      await tx.objectStore("blobs").put({ sha256, bytes, size, usedAt: now });
    }
    let row: NewRow = { ...rowOf(change, writer, now), uploaded: bytes === undefined };
    if (previous && isReplaceable(previous, change, writer, now)) {
      await tx.objectStore("outbox").delete(previous.seq);
      row = takeOver(previous, row);
    }
    await putRow(tx, row);
    await tx.objectStore("quarantine").delete(write.key);
    return row.change;
  }

  private async alterOutbox(tx: Transaction, alter: (outbox: Outbox) => void): Promise<Set<string>> {
    const store = tx.objectStore("outbox");
    const rows = await store.getAll();
    const outbox = new Outbox(rows, await metaOf(tx));
    alter(outbox);
    const { put, removed } = outbox.outcome();
    for (const seq of removed) await store.delete(seq);
    for (const row of put) await store.put(row);
    const { deviceId, clock, newDots } = outbox.meta;
    await setMeta(tx, { deviceId, clock, newDots });
    return new Set(
      rows
        .filter(({ seq }) => removed.includes(seq))
        .concat(put)
        .map(({ key }) => key),
    );
  }
}

async function authorOf(tx: Transaction, writer: string, now: number): Promise<Author> {
  const meta = await metaOf(tx);
  // Emptied by a tab that signed out, and about to go: what is written now would go with it.
  if (meta.deviceId === "") throw new TidenoteError("storage_failed", "this browser was signed out");
  return { meta, clock: new LamportClock(meta.clock), writer, now };
}

function held(key: string, confirmed: readonly Stub[], own: readonly OutboxRow[], quarantined: boolean): Held {
  const stubs = own.map((row) => ({ ...row, change: stubOf(row.change) }));
  // Who writes to a note has decided about it.
  return { key, confirmed, own: stubs, quarantined: quarantined && own.length === 0 };
}

function sameContent(shown: Change, write: Write): boolean {
  return shown.value === write.value && shown.blob?.sha256 === write.blob?.sha256;
}
