/** What a tab holds in memory of every note: what is shown, without texts. It follows the journal, key by key. */

import type { Held } from "./journal";
import { pathOfKey } from "./keys";
import { overlay } from "./outbox";
import type { Note, NoteInfo, Problem } from "./types";
import { dotOf, type Change, type Stub } from "./version";

/** Say whether a person should look at a key: what the server delivers tells (docs/protocol.md 5.4). */
function isConflict(confirmed: readonly Stub[]): boolean {
  return confirmed.length > 1 || confirmed.some(({ conflict }) => conflict);
}

/** Return what is shown of a key; null if nothing is there. */
function infoOf({ key, confirmed, own, quarantined }: Held): NoteInfo | null {
  const { shown } = overlay(
    confirmed,
    own.map(({ change }) => change),
  );
  if (!shown || shown.deleted) return null;
  return {
    key,
    path: pathOfKey(key),
    dot: dotOf(shown),
    modifiedAt: shown.modified_at ?? null,
    conflict: isConflict(confirmed),
    pending: own.length > 0,
    ...(shown.blob && { blob: shown.blob }),
    ...(quarantined && { held: true as const }),
  };
}

/** Return a note with its text; null if nothing is there. */
export function noteOf({ key, confirmed, own }: Held<Change>): Note | null {
  const { siblings, shown } = overlay(
    confirmed,
    own.map(({ change }) => change),
  );
  if (!shown || shown.deleted) return null;
  return {
    key,
    text: shown.blob ? null : shown.value,
    dot: dotOf(shown),
    siblings,
    conflict: isConflict(confirmed),
    pending: own.length > 0,
    ...(shown.blob && { blob: shown.blob }),
  };
}

/** Return the key that a note was renamed to; null if it is there, or was not renamed. */
export function targetOf({ confirmed, own }: Held<Change>): string | null {
  const { shown } = overlay(
    confirmed,
    own.map(({ change }) => change),
  );
  return (shown?.deleted && shown.moved_to) || null;
}

/** All notes of a vault, without their texts. */
export class NoteList {
  private readonly infos = new Map<string, NoteInfo>();
  private readonly own = new Map<string, Held["own"]>();
  private readonly held = new Set<string>();
  private order: string[] | null = null;

  /** Take in what the journal holds of a key. */
  set(state: Held): void {
    const { key, own, quarantined } = state;
    const info = infoOf(state);
    if (this.infos.has(key) !== (info !== null)) this.order = null;
    if (info) this.infos.set(key, info);
    else this.infos.delete(key);
    if (own.length > 0) this.own.set(key, own);
    else this.own.delete(key);
    if (quarantined) this.held.add(key);
    else this.held.delete(key);
  }

  /** Forget everything. */
  clear(): void {
    this.infos.clear();
    this.own.clear();
    this.held.clear();
    this.order = null;
  }

  /** Return what is shown of a key; undefined if nothing is there. */
  get(key: string): NoteInfo | undefined {
    return this.infos.get(key);
  }

  /** Return all notes, sorted by path. */
  list(): NoteInfo[] {
    this.order ??= [...this.infos.values()]
      .sort((first, second) => (first.path < second.path ? -1 : first.path > second.path ? 1 : 0))
      .map(({ key }) => key);
    return this.order.flatMap((key) => this.infos.get(key) ?? []);
  }

  /** How many changes the server has not yet confirmed, the parked ones left out. */
  get pending(): number {
    let count = 0;
    for (const rows of this.own.values()) count += rows.filter(({ parked }) => !parked).length;
    return count;
  }

  /** The changes that the server refused for good. */
  get parked(): Problem[] {
    return [...this.own].flatMap(([key, rows]) =>
      rows
        .filter(({ parked }) => parked)
        .map(({ code, message }) => ({ key, code: code ?? "internal_error", message: message ?? "" })),
    );
  }

  /** The notes that the server may have deleted and forgotten. */
  get quarantined(): Problem[] {
    const message = "the server has no record of this note any more: it may have been deleted elsewhere";
    return [...this.held].map((key) => ({ key, code: "resync_required", message }));
  }
}
