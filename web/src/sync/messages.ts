/**
 * Every message of the protocol as a type: the one source of JSON names (docs/protocol.md 3 is the prose).
 * `toChange` is the door: whatever passes it is well-formed. When a message may come is session.ts's matter.
 */

import { isTimestamp, MAX_TIMESTAMP } from "./clock";
import { TidenoteError } from "./errors";
import { checkDeviceId, checkKey, isUnicode, utf8Length } from "./keys";
import { sortedDots, type BlobRef, type Change, type Dot } from "./version";

export const PROTOCOL_VERSION = 1;
export const SUBPROTOCOL = "tidenote";
/** About how many changes one message holds. */
export const MAX_MESSAGE_CHANGES = 500;
/** About how many bytes of text one message holds; a message with a single key may be larger. */
export const MAX_MESSAGE_BYTES = 2 ** 19;
/** The largest text, in bytes of UTF-8, that travels as a value; a larger one travels as a blob. */
export const MAX_TEXT_BYTES = 2 ** 20;
/** The most dots that a change may name as its base. */
const MAX_BASE_DOTS = 1000;

const SHA256 = /^[0-9a-f]{64}$/;
const MEDIA_TYPE = /^[\p{L}\p{N}_.+-]{1,100}\/[\p{L}\p{N}_.+-]{1,100}$/u;

/** Client to server: new changes, and up to where the client has durably applied the log. */
export interface SyncPush {
  readonly type: "sync_push";
  readonly changes: readonly Change[];
  readonly last_ack: number;
  readonly id?: number;
  readonly epoch?: string;
  /** The epoch under which the client synced before a resync: changes of other authors are accepted. */
  readonly offer?: string;
}

/** A change as it arrived: its fields have their types, what they mean is still to be checked. */
export interface WireChange extends Dot {
  readonly key: string;
  readonly value: string | null;
  readonly base?: readonly Dot[] | null;
  readonly deleted?: boolean;
  readonly moved_to?: string | null;
  readonly blob?: { readonly sha256: string; readonly size: number; readonly media_type?: string | null } | null;
  readonly modified_at?: number | null;
  readonly live?: boolean;
  readonly conflict?: boolean;
  readonly merged_from?: readonly Dot[] | null;
}

/** A change of a push that is not in the log; its name is as the client sent it. */
export interface Rejected {
  readonly key: unknown;
  readonly timestamp: unknown;
  readonly device_id: unknown;
  readonly code: string;
  readonly message: string;
  /** The server's Lamport clock, for a re-stamp. */
  readonly clock?: number | null;
}

/** Server to client: an answer, a page of catch-up or a live delivery, all the same message. */
export interface SyncAck {
  readonly type: "sync_ack";
  readonly ack_timestamp: number;
  readonly changes: readonly WireChange[];
  readonly epoch?: string | null;
  readonly id?: number | string | null;
  readonly behind?: number | null;
  readonly rejected?: readonly Rejected[] | null;
}

/** Server to client: the connection cannot go on. */
export interface ErrorMessage {
  readonly type: "error";
  readonly code: string;
  readonly message: string;
  /** The vault's, with `resync_required`. */
  readonly epoch?: string | null;
  /** With `resync_required`: the client may hold notes whose deletion the server has forgotten. */
  readonly quarantine?: boolean;
  /** With `replaced`: the name of the connection that came in this one's place. */
  readonly nonce?: string | null;
}

/** Server to client: something other than notes is new; look again by REST. */
export interface Notice {
  readonly type: "notice";
  readonly topic: string;
}

/** The dot of a sibling, whether that bears the mark of a merge that a person should look at, and its hash. */
export interface Head extends Dot {
  readonly conflict?: boolean;
  /** Of the bytes that it leaves at the key; not there with a deletion. */
  readonly sha256?: string;
}

/** What the server holds of one key: the dots of its siblings. */
export interface ManifestEntry {
  readonly key: string;
  readonly dots: readonly Head[];
}

/** One page of `GET /api/v1/manifest`, ordered by key; `next` is the key to go on after. */
export interface Manifest {
  readonly epoch: string;
  readonly clock: number;
  readonly entries: readonly ManifestEntry[];
  readonly next?: string | null;
}

/** The body of `POST /api/v1/fetch`. */
export interface FetchRequest {
  readonly keys: readonly string[];
}

/** The answer: all siblings of each key that has any. */
export interface Fetched {
  readonly epoch: string;
  readonly changes: readonly WireChange[];
}

/** What a device holds back until a person decides: `keys` are the first ones, `count` is of all. */
export interface WireHold {
  readonly kind: "delete_out" | "delete_in" | "quarantine";
  readonly keys: readonly string[];
  readonly count: number;
  /** ms since 1970. */
  readonly since: number;
}

/** The body of `PUT /api/v1/holds`: all that the device holds. */
export interface HoldsReport {
  readonly holds: readonly WireHold[];
}

/** The answer: what was decided about exactly what was reported. */
export interface Decisions {
  readonly decisions: readonly { readonly kind: string; readonly decision: string }[];
}

/** The answer to a `PUT` of a part of a blob: how many bytes the server has now. */
export interface BlobStatus {
  readonly sha256: string;
  readonly size: number;
  readonly complete: boolean;
}

/** Return a message as JSON. */
export function encode(message: SyncPush | FetchRequest | HoldsReport): string {
  return JSON.stringify(message);
}

/**
 * Return a server's message; null for a type that this version does not know, which is ignored.
 *
 * @throws TidenoteError `bad_message`.
 */
export function decodeFromServer(data: string): SyncAck | ErrorMessage | Notice | null {
  const message = parse(data);
  if (typeof message["type"] !== "string") throw malformed("type");
  switch (message["type"]) {
    case "sync_ack":
      return checked<SyncAck>(message, SYNC_ACK);
    case "error":
      return checked<ErrorMessage>(message, ERROR);
    case "notice":
      return checked<Notice>(message, NOTICE);
    default:
      return null;
  }
}

/**
 * Return the body of a REST answer.
 *
 * @throws TidenoteError `bad_message`.
 */
export function decodeManifest(data: string): Manifest {
  return checked<Manifest>(parse(data), MANIFEST);
}

/** @throws TidenoteError `bad_message`. */
export function decodeFetched(data: string): Fetched {
  return checked<Fetched>(parse(data), FETCHED);
}

/** @throws TidenoteError `bad_message`. */
export function decodeDecisions(data: string): Decisions {
  return checked<Decisions>(parse(data), DECISIONS);
}

/** @throws TidenoteError `bad_message`. */
export function decodeBlobStatus(data: string): BlobStatus {
  return checked<BlobStatus>(parse(data), BLOB_STATUS);
}

/**
 * Return one change of JSON of any shape, checked as `toChange` does.
 *
 * @throws TidenoteError with the code of what is wrong first.
 */
export function decodeChange(wire: unknown, options: ChangeRules = {}): Change {
  if (!isObject(wire)) throw new TidenoteError("bad_change", "a change is an object");
  const wrong = Object.keys(CHANGE).find((name) => !fits(wire, CHANGE, name));
  if (wrong !== undefined) {
    const code = wire[wrong] === undefined ? "bad_change" : (CODE_OF_FIELD[wrong] ?? "bad_change");
    throw new TidenoteError(code, `${wrong} is missing or has the wrong type`);
  }
  return toChange(wire as unknown as WireChange, options);
}

/** What `toChange` lets pass. */
export interface ChangeRules {
  /** The largest text, in bytes of UTF-8; absent, there is no limit. */
  readonly maxTextBytes?: number;
  /** Whether authors may be servers. */
  readonly allowServer?: boolean;
}

/**
 * Return a change in canonical form, if it keeps to docs/protocol.md 4.
 *
 * @throws TidenoteError with the code of what is wrong first.
 */
export function toChange(wire: WireChange, rules: ChangeRules = {}): Change {
  checkKey(wire.key);
  checkDot(wire, rules.allowServer ?? false);
  const base = wire.base == null ? undefined : toDots(wire.base);
  const mergedFrom = toDots(wire.merged_from ?? []);
  if (base?.some((seen) => seen.timestamp >= wire.timestamp)) {
    throw new TidenoteError("bad_base", "every base dot must be smaller than the change's timestamp");
  }
  const blob = toContent(wire, rules.maxTextBytes);
  const deleted = wire.value === null;
  checkMove(wire, deleted);
  if (wire.modified_at != null && !(wire.modified_at >= 0 && wire.modified_at <= MAX_TIMESTAMP)) {
    throw new TidenoteError("bad_change", "modified_at is not ms since 1970");
  }
  return {
    key: wire.key,
    value: wire.value,
    timestamp: wire.timestamp,
    device_id: wire.device_id,
    ...(base && { base }),
    ...(deleted && { deleted: true as const }),
    ...(wire.moved_to != null && { moved_to: wire.moved_to }),
    ...(blob && { blob }),
    ...(wire.modified_at != null && { modified_at: wire.modified_at }),
    ...(wire.live && { live: true as const }),
    ...(wire.conflict && { conflict: true as const }),
    ...(mergedFrom.length > 0 && { merged_from: mergedFrom }),
  };
}

function checkDot(dot: Dot, allowServer: boolean): void {
  if (!isTimestamp(dot.timestamp)) {
    throw new TidenoteError("bad_timestamp", "the timestamp is not an integer in 1..2^53-1");
  }
  checkDeviceId(dot.device_id, allowServer);
}

function toDots(wire: readonly Dot[]): Dot[] {
  if (wire.length > MAX_BASE_DOTS) throw new TidenoteError("bad_base", `more than ${String(MAX_BASE_DOTS)} dots`);
  try {
    for (const dot of wire) checkDot(dot, true);
  } catch (error) {
    throw new TidenoteError("bad_base", (error as Error).message);
  }
  return sortedDots(wire);
}

function toContent(wire: WireChange, maxTextBytes: number | undefined): BlobRef | undefined {
  if (wire.blob != null) {
    if (wire.value !== "" || wire.deleted) throw badValue('a blob comes with value "" and is no deletion');
    return toBlob(wire.blob);
  }
  if (wire.value === null) return undefined;
  if (wire.deleted) throw badValue("a deletion has value null");
  if (wire.value.includes("\0")) throw badValue("the value holds U+0000; send it as a blob");
  if (!isUnicode(wire.value)) throw badValue("the value is not valid Unicode");
  if (maxTextBytes !== undefined && wire.value.length * 3 > maxTextBytes && utf8Length(wire.value) > maxTextBytes) {
    throw new TidenoteError("value_too_large", `the text is over ${String(maxTextBytes)} bytes; send it as a blob`);
  }
  return undefined;
}

function toBlob(wire: NonNullable<WireChange["blob"]>): BlobRef {
  if (!SHA256.test(wire.sha256) || wire.size < 0) {
    throw badValue("a blob needs a sha256 of 64 hex digits and a size");
  }
  if (wire.media_type != null && !MEDIA_TYPE.test(wire.media_type)) throw badValue("the media type is malformed");
  return {
    sha256: wire.sha256,
    size: wire.size,
    ...(wire.media_type != null && { media_type: wire.media_type }),
  };
}

function checkMove(wire: WireChange, deleted: boolean): void {
  if (wire.moved_to == null) return;
  if (!deleted) throw badValue("only a deletion has moved_to");
  checkKey(wire.moved_to);
  if (wire.moved_to === wire.key) throw badValue("a key cannot move to itself");
}

function badValue(message: string): TidenoteError {
  return new TidenoteError("bad_value", message);
}

// ------------------------------------------------------------------------------------------------ shapes

type Json = Record<string, unknown>;
type Check = (value: unknown) => boolean;
/** The fields of an object: each with what it may be, and whether it may be left out. */
type Shape = Readonly<Record<string, { readonly check: Check; readonly optional?: true }>>;

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function fits(object: Json, shape: Shape, name: string): boolean {
  const field = shape[name];
  if (!field) return true;
  return object[name] === undefined ? field.optional === true : field.check(object[name]);
}

function matches(value: unknown, shape: Shape): boolean {
  return isObject(value) && Object.keys(shape).every((name) => fits(value, shape, name));
}

function listOf(check: Check): Check {
  return (value) => Array.isArray(value) && value.every(check);
}

function orNull(check: Check): Check {
  return (value) => value === null || check(value);
}

const isString: Check = (value) => typeof value === "string";
const isBoolean: Check = (value) => typeof value === "boolean";
const isInteger: Check = (value) => Number.isSafeInteger(value);
/** Also one that a JavaScript number cannot hold exactly: that it is out of range is said where it is checked. */
const isAnyInteger: Check = (value) => Number.isInteger(value);
const isAnything: Check = () => true;

const DOT: Shape = { timestamp: { check: isAnyInteger }, device_id: { check: isString } };
const DOTS = listOf((value) => matches(value, DOT));
const HEAD: Shape = {
  ...DOT,
  conflict: { check: isBoolean, optional: true },
  sha256: { check: isString, optional: true },
};
const HEADS = listOf((value) => matches(value, HEAD));
const BLOB: Shape = {
  sha256: { check: isString },
  size: { check: isInteger },
  media_type: { check: orNull(isString), optional: true },
};
const CHANGE: Shape = {
  key: { check: isString },
  timestamp: { check: isAnyInteger },
  device_id: { check: isString },
  base: { check: orNull(DOTS), optional: true },
  value: { check: orNull(isString) },
  blob: { check: orNull((value) => matches(value, BLOB)), optional: true },
  moved_to: { check: orNull(isString), optional: true },
  deleted: { check: isBoolean, optional: true },
  modified_at: { check: orNull(isInteger), optional: true },
  live: { check: isBoolean, optional: true },
  conflict: { check: isBoolean, optional: true },
  merged_from: { check: orNull(DOTS), optional: true },
};
const CHANGES = listOf((value) => matches(value, CHANGE));
const REJECTED: Shape = {
  key: { check: isAnything },
  timestamp: { check: isAnything },
  device_id: { check: isAnything },
  code: { check: isString },
  message: { check: isString },
  clock: { check: orNull(isInteger), optional: true },
};
const SYNC_ACK: Shape = {
  ack_timestamp: { check: isAnyInteger },
  changes: { check: CHANGES },
  epoch: { check: orNull(isString), optional: true },
  id: { check: orNull((value) => isString(value) || isInteger(value)), optional: true },
  behind: { check: orNull(isInteger), optional: true },
  rejected: { check: orNull(listOf((value) => matches(value, REJECTED))), optional: true },
};
const ERROR: Shape = {
  code: { check: isString },
  message: { check: isString },
  epoch: { check: orNull(isString), optional: true },
  quarantine: { check: isBoolean, optional: true },
  nonce: { check: orNull(isString), optional: true },
};
const NOTICE: Shape = { topic: { check: isString } };
const MANIFEST: Shape = {
  epoch: { check: isString },
  clock: { check: isInteger },
  entries: { check: listOf((value) => matches(value, { key: { check: isString }, dots: { check: HEADS } })) },
  next: { check: orNull(isString), optional: true },
};
const FETCHED: Shape = { epoch: { check: isString }, changes: { check: CHANGES } };
const DECISION: Shape = { kind: { check: isString }, decision: { check: isString } };
const DECISIONS: Shape = { decisions: { check: listOf((value) => matches(value, DECISION)) } };
const BLOB_STATUS: Shape = {
  sha256: { check: isString },
  size: { check: isInteger },
  complete: { check: isBoolean },
};

const CODE_OF_FIELD: Readonly<Record<string, string>> = {
  key: "bad_key",
  timestamp: "bad_timestamp",
  device_id: "bad_device",
  base: "bad_base",
  value: "bad_value",
  blob: "bad_value",
  moved_to: "bad_value",
};

function parse(data: string): Json {
  let message: unknown;
  try {
    message = JSON.parse(data);
  } catch (error) {
    throw new TidenoteError("bad_message", `not a valid message: ${(error as Error).message}`);
  }
  if (!isObject(message)) throw new TidenoteError("bad_message", "not a valid message: no object");
  return message;
}

function checked<T>(message: Json, shape: Shape): T {
  const wrong = Object.keys(shape).find((name) => !fits(message, shape, name));
  if (wrong !== undefined) throw malformed(wrong);
  return message as T;
}

function malformed(field: string): TidenoteError {
  return new TidenoteError("bad_message", `not a valid message: ${field}`);
}
