/**
 * The client's end of one connection, without any I/O: `receive`, intentions (`push`, `applied`), drains (`outgoing`,
 * `events`). One push is in flight at a time, and acknowledgements go out after what they name is durable here.
 */

import { MAX_TIMESTAMP } from "./clock";
import { TidenoteError } from "./errors";
import { utf8Length } from "./keys";
import {
  decodeFromServer,
  MAX_MESSAGE_BYTES,
  MAX_MESSAGE_CHANGES,
  toChange,
  type ErrorMessage,
  type Rejected,
  type SyncAck,
  type SyncPush,
  type WireChange,
} from "./messages";
import { compareDots, type Change } from "./version";

/** The code of a change that is in the log, but whose answer has no room for the state of its key. */
const NO_ROOM = "no_room";

/** All current siblings of keys. */
export type Siblings = ReadonlyMap<string, readonly Change[]>;

/**
 * Event: one message of the server's. Apply all of it in one transaction, then tell `applied`.
 * First `accepted` join the confirmed state, then `siblings` replace it.
 */
export interface Received {
  readonly kind: "received";
  /** The log's; null if the server does not tell. */
  readonly epoch: string | null;
  /** Everything up to here was sent or lies behind the cursor. */
  readonly cursor: number;
  readonly siblings: Siblings;
  /** How many keys are still to come. */
  readonly behind: number;
  /** Changes of the push in flight that are durable on the server. */
  readonly accepted: readonly Change[];
  /** Those of their keys whose state the answer had no room for: it is to be asked for. */
  readonly unlisted: readonly string[];
  /** Changes of the push in flight that are not, with the refusal. */
  readonly rejected: readonly (readonly [Change, Rejected])[];
  /** Whether the push in flight was answered. */
  readonly answered: boolean;
  /** Keys that the server must not send, with the reason; nothing is applied for them. */
  readonly skipped: readonly (readonly [string, string])[];
}

/** Event: the connection cannot go on; the code's action says what to do. */
export interface Failed {
  readonly kind: "failed";
  readonly code: string;
  readonly message: string;
  /** The server's, with `resync_required`. */
  readonly epoch: string | null;
  /** Whether we may hold notes whose deletion the server has forgotten. */
  readonly quarantine: boolean;
  /** With `replaced`: of the connection that came in this one's place, if it gave one. */
  readonly nonce: string | null;
}

/** Event: something other than notes is new; look again by REST. */
export interface Noticed {
  readonly kind: "noticed";
  readonly topic: string;
}

export type ClientEvent = Received | Failed | Noticed;

/** The client's end of one connection. */
export class ClientSession {
  private told: number;
  private nextId = 1;
  private inFlight: { readonly id: number; readonly changes: readonly Change[] } | null = null;
  private outbound: SyncPush[] = [];
  private happened: ClientEvent[] = [];
  private opened = false;
  private failed = false;

  /**
   * @param cursor - the receipt up to which the journal has applied the log.
   * @param epoch - of the log that the journal follows; null before the first contact.
   * @param offer - for a resync, the epoch that the pushes come from: other authors' changes are then accepted, and
   *   the first message may name another epoch.
   */
  constructor(
    public cursor: number,
    public epoch: string | null,
    private readonly offer: string | null = null,
  ) {
    this.told = cursor;
  }

  /** Whether no push waits for its answer. */
  get canPush(): boolean {
    return this.inFlight === null && !this.failed;
  }

  /**
   * Send as many changes as one message holds, in order, and return how many; a push may be empty.
   * A rename's creation and tombstone stay in one push.
   */
  push(pending: readonly Change[]): number {
    if (!this.canPush) throw new Error("a push waits for its answer");
    const changes = pending.slice(0, fitting(pending));
    const id = this.nextId++;
    this.inFlight = { id, changes };
    this.opened = true;
    this.told = this.cursor;
    this.outbound.push({
      type: "sync_push",
      changes,
      last_ack: this.cursor,
      id,
      ...(this.epoch !== null && { epoch: this.epoch }),
      ...(this.offer !== null && { offer: this.offer }),
    });
    return changes.length;
  }

  /** Note that everything up to a received cursor is durable here; acknowledge it if it rose. */
  applied(cursor: number): void {
    this.cursor = Math.max(this.cursor, cursor);
    if (this.cursor <= this.told || !this.opened || this.failed) return;
    this.told = this.cursor;
    this.outbound.push({
      type: "sync_push",
      changes: [],
      last_ack: this.cursor,
      ...(this.epoch !== null && { epoch: this.epoch }),
    });
  }

  /**
   * Take a message of the server's; it becomes an event.
   *
   * @throws TidenoteError `bad_message`; the connection is of no use any more.
   */
  receive(data: string): void {
    const message = decodeFromServer(data);
    if (message === null || this.failed) return;
    if (message.type === "notice") this.happened.push({ kind: "noticed", topic: message.topic });
    else if (message.type === "error") this.fail(message);
    else this.receiveAck(message);
  }

  /** Return the messages to send, and forget them. */
  outgoing(): SyncPush[] {
    const messages = this.outbound;
    this.outbound = [];
    return messages;
  }

  /** Return what happened, and forget it. */
  events(): ClientEvent[] {
    const events = this.happened;
    this.happened = [];
    return events;
  }

  private receiveAck(message: SyncAck): void {
    if (!(message.ack_timestamp >= 0 && message.ack_timestamp <= MAX_TIMESTAMP)) {
      throw new TidenoteError("bad_message", "ack_timestamp is not an integer in 0..2^53-1");
    }
    const epoch = message.epoch ?? null;
    if (epoch !== null && epoch !== this.epoch && this.epoch !== null && this.epoch !== this.offer) {
      const why = `the server's log is ${epoch}, not ${this.epoch}`;
      this.fail({ type: "error", code: "resync_required", message: why, epoch });
      return;
    }
    this.epoch = epoch ?? this.epoch;
    const { siblings, skipped } = siblingsOf(message.changes);
    const push = this.inFlight?.id === message.id ? this.inFlight : null;
    const outcome = push
      ? outcomeOf(push.changes, message.rejected ?? [])
      : { accepted: [], unlisted: [], rejected: [] };
    if (push) this.inFlight = null;
    this.happened.push({
      kind: "received",
      epoch: this.epoch,
      cursor: message.ack_timestamp,
      siblings,
      behind: message.behind ?? 0,
      ...outcome,
      answered: push !== null,
      skipped,
    });
  }

  private fail(error: ErrorMessage): void {
    this.failed = true;
    this.happened.push({
      kind: "failed",
      code: error.code,
      message: error.message,
      epoch: error.epoch ?? null,
      quarantine: error.quarantine ?? false,
      nonce: error.nonce ?? null,
    });
  }
}

/**
 * Return the generation of an epoch `<generation>-<random>`.
 *
 * @throws TidenoteError `bad_message`.
 */
export function generationOf(epoch: string): number {
  const match = /^([0-9]+)-.+$/s.exec(epoch);
  if (!match || epoch.length > 64) throw new TidenoteError("bad_message", "an epoch is <generation>-<random>");
  return Number(match[1]);
}

/** Return about how many bytes a change takes in a message. */
export function sizeOfChange(change: Change): number {
  const dots = (change.base?.length ?? 0) + (change.merged_from?.length ?? 0);
  return 200 + change.key.length + utf8Length(change.value ?? "") + 100 * dots;
}

/** Group changes by key; a key with a change that must not be is left out whole, and named. */
export function siblingsOf(changes: readonly WireChange[]): {
  siblings: Map<string, Change[]>;
  skipped: [string, string][];
} {
  const siblings = new Map<string, Change[]>();
  const skipped = new Map<string, string>();
  for (const wire of changes) {
    try {
      const change = toChange(wire, { allowServer: true });
      siblings.set(wire.key, [...(siblings.get(wire.key) ?? []), change]);
    } catch (error) {
      if (!(error instanceof TidenoteError)) throw error;
      skipped.set(wire.key, error.message);
    }
  }
  for (const key of skipped.keys()) siblings.delete(key);
  for (const found of siblings.values()) found.sort(compareDots);
  return { siblings, skipped: [...skipped] };
}

/** Return how many of the changes, from the first, one push holds; at least one if there is one. */
function fitting(pending: readonly Change[]): number {
  let size = 0;
  for (const [number, change] of pending.entries()) {
    size += sizeOfChange(change);
    const endsRename = change.moved_to !== undefined && change.moved_to === pending[number - 1]?.key;
    if (number > 0 && !endsRename && (number >= MAX_MESSAGE_CHANGES || size > MAX_MESSAGE_BYTES)) return number;
  }
  return pending.length;
}

/** Part the changes of a push into accepted and rejected ones; between them, the keys that are to be asked for. */
function outcomeOf(
  sent: readonly Change[],
  rejections: readonly Rejected[],
): Pick<Received, "accepted" | "unlisted" | "rejected"> {
  const unlisted = new Set<string>();
  const refused = new Map<Change, Rejected>();
  for (const rejected of rejections) {
    const change = sent.find(
      ({ key, timestamp, device_id }) =>
        key === rejected.key && timestamp === rejected.timestamp && device_id === rejected.device_id,
    );
    // Then none counts as accepted.
    if (!change) throw new TidenoteError("bad_message", "a rejection names a change that was not sent");
    if (rejected.code === NO_ROOM) unlisted.add(change.key);
    else refused.set(change, rejected);
  }
  return {
    accepted: sent.filter((change) => !refused.has(change)),
    unlisted: [...unlisted],
    rejected: [...refused],
  };
}
