/** What happened to a note, told from its conflict: which words fit is decided here, the words are in messages.ts. Pure. */

import type { Change } from "../../sync";
import type { ConflictDetails } from "../api";
import { isServer } from "../past/timeline";

/**
 * `tie`: merged, written at the same time; `spots`: merged, both changed the same place; `merged`: merged, and marked
 * for another reason; `versions`: texts that were not merged; `created`: the same without an earlier version of both;
 * `apart`: nor is it known whether there was one; `files`: not all of them are texts; `large`: texts that are kept as
 * files, because they are so long; `deleted`: one of them is a deletion; `lone`: what was merged is not known here.
 */
export type Story =
  "tie" | "spots" | "merged" | "versions" | "created" | "apart" | "files" | "large" | "deleted" | "lone";

export function storyOf({ key, kind, sources, base, spots }: ConflictDetails): Story {
  if (sources.length < 2) return "lone";
  if (sources.some((source) => source.value === null)) return "deleted";
  if (sources.some((source) => source.blob)) return key.startsWith("note:") ? "large" : "files";
  if (kind === "siblings" && base) return "versions";
  // A base that is not there any more may well have been one of all: only those who say so began with nothing.
  if (kind === "siblings") return sources.every((source) => source.base?.length === 0) ? "created" : "apart";
  if (spots && spots.length > 0) return "spots";
  return sources[0]?.timestamp === sources[1]?.timestamp ? "tie" : "merged";
}

/**
 * Return a name for each source, all different: the device's, "server" or "merge" for the server's own.
 *
 * @param own the device id of this browser, which is named `here`.
 */
export function namesOf(
  sources: readonly Change[],
  own: string,
  words: { here: string; server: string; merge: string },
): string[] {
  const names = sources.map((source) => {
    if (isServer(source.device_id)) return isMerge(source) ? words.merge : words.server;
    return source.device_id === own ? words.here : source.device_id;
  });
  return names.map((name, index) => {
    const before = names.slice(0, index).filter((other) => other === name).length;
    return before > 0 ? `${name} (${before + 1})` : name;
  });
}

/** Say whether a version of the server's was made of several; others are what a person asked it for. */
function isMerge({ value, base = [], merged_from = [] }: Change): boolean {
  return value !== null && base.length + merged_from.length > 1;
}

/** Return the source that every device shows while versions compete; null if they were merged. */
export function shownOf({ kind, sources }: ConflictDetails): Change | null {
  if (kind === "merged") return null;
  // Sources are in the order of their dots (docs/protocol.md 5.3).
  return sources.findLast((source) => source.value !== null) ?? null;
}

/** Return the name that a second note gets beside one: `Trip (2).md`, if that is free. */
export function besideOf(name: string): string {
  const dot = name.lastIndexOf(".");
  return dot > 0 ? `${name.slice(0, dot)} (2)${name.slice(dot)}` : `${name} (2)`;
}
