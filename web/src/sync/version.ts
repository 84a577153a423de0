/**
 * Dots and changes: the values that everything else passes around. They look as on the wire (docs/protocol.md 3.4).
 * How changes compete is register.ts's matter, what is valid messages.ts's.
 */

/** Device ids that start with this are the server's own authors (`server.<epoch>`). */
export const SERVER_PREFIX = "server";

/** Lamport time and author of a change: its name within a key, and the order of last-writer-wins. */
export interface Dot {
  readonly timestamp: number;
  readonly device_id: string;
}

/** The name of a blob: bytes that are kept beside the log. */
export interface BlobRef {
  /** 64 lower-case hex digits. */
  readonly sha256: string;
  /** Bytes. */
  readonly size: number;
  /** A hint such as `image/png`. */
  readonly media_type?: string;
}

/** A change without its text: what a register needs to know, and what is held in memory of every note. */
export interface Stub extends Dot {
  readonly key: string;
  /** The dots that the author had in front of them; absent it is a blind write, empty "there was nothing here". */
  readonly base?: readonly Dot[];
  /** There with every deletion. */
  readonly deleted?: true;
  /** Of a deletion: the key that this one was renamed to. */
  readonly moved_to?: string;
  readonly blob?: BlobRef;
  /** ms since 1970, shown to people only. */
  readonly modified_at?: number;
  /** Typed in an editor that shows other people's edits as they come. */
  readonly live?: true;
  /** The mark of a merge that a person should look at. */
  readonly conflict?: true;
  /** The versions of another key that were merged into this one. */
  readonly merged_from?: readonly Dot[];
}

/** One write to one key in canonical form: dots in order and each once, absent fields left out. */
export interface Change extends Stub {
  /** The text; null for a deletion; "" together with `blob`. */
  readonly value: string | null;
}

/** Order dots by timestamp, then by device id. */
export function compareDots(first: Dot, second: Dot): number {
  if (first.timestamp !== second.timestamp) return first.timestamp - second.timestamp;
  return first.device_id < second.device_id ? -1 : first.device_id > second.device_id ? 1 : 0;
}

/** Say whether two dots are the same. */
export function sameDot(first: Dot, second: Dot): boolean {
  return first.timestamp === second.timestamp && first.device_id === second.device_id;
}

/** Say whether a list of dots names a dot. */
export function names(dots: readonly Dot[] | undefined, dot: Dot): boolean {
  return dots?.some((seen) => sameDot(seen, dot)) ?? false;
}

/** Return a dot as a string that names it, for maps and sets. */
export function dotId(dot: Dot): string {
  return `${String(dot.timestamp)}.${dot.device_id}`;
}

/** Return the dot of a change. */
export function dotOf(change: Dot): Dot {
  return { timestamp: change.timestamp, device_id: change.device_id };
}

/** Return dots in their order, each once. */
export function sortedDots(dots: Iterable<Dot>): Dot[] {
  const found = new Map<string, Dot>();
  for (const dot of dots) found.set(dotId(dot), dotOf(dot));
  return [...found.values()].sort(compareDots);
}

/** Return a change without its text. */
export function stubOf(change: Change): Stub {
  const stub: Stub & { value?: unknown } = { ...change };
  delete stub.value;
  return stub;
}
