/** A note's versions as a time line: what each one was, and runs of saves by one device as one entry. Pure. */

import { sameDot, type Dot } from "../../sync";
import type { Version } from "../api";

/**
 * What a version did.
 *
 * Versions by the server over one other: `restored` brought an earlier text back (by a restore, an undo, or out of the
 * trash), `settled` is what a person made of a merge, `reopened` asks for another look at one. `apart` is a copy that
 * became a note of its own.
 */
export type Event =
  "created" | "edited" | "deleted" | "renamed" | "revived" | "merged" | "restored" | "settled" | "reopened" | "apart";

export interface Moment {
  version: Version;
  event: Event;
  /** Whose versions it was made of, for a merge. */
  from: string[];
  /** The name that the note had before, for a rename. */
  earlierName: string | null;
  /** For a version by the server: the latest before it that has the same content, if it is among those known. */
  source: Version | null;
}

/** Versions, the latest first; more than one are saves of one device with little time in between. */
export interface Entry {
  moments: [Moment, ...Moment[]];
}

export interface Day {
  /** Midnight of it where the reader is, ms since 1970. */
  start: number;
  entries: Entry[];
}

/** Saves with at most this much time in between are one entry. */
export const RUN_GAP_MS = 10 * 60_000;

/** Say whether a version is the server's own: a merge, or what a person asked it for. */
export function isServer(device_id: string): boolean {
  return device_id.startsWith("server.") || device_id === "server";
}

/** Return the device of an incarnation: `phone~2` is the phone. */
export function deviceOf(device_id: string): string {
  return device_id.replace(/~\d+$/, "");
}

/**
 * Return the versions that make a note's story: without what a rename left under an earlier name, since the first version
 * under the next one tells of it.
 */
export function storyOf(versions: readonly Version[], key: string): Version[] {
  const names = new Set([key, ...versions.map((version) => version.key)]);
  return versions.filter(
    (version) => version.key === key || version.moved_to === undefined || !names.has(version.moved_to),
  );
}

/**
 * Return what each version was.
 *
 * @param versions the latest first, all that are known; those of earlier names have those as their key.
 * @param complete whether nothing is older than the last of them.
 */
export function momentsOf(versions: readonly Version[], complete: boolean): Moment[] {
  const known = new Map(versions.map((version) => [nameOf(version), version]));
  return versions.map((version, index) => {
    const older = versions[index + 1];
    const parents = (version.parents ?? []).map((dot) => known.get(nameOf({ ...dot, key: version.key })) ?? dot);
    const from = [...new Set(madeOf(version, parents).map((dot) => dot.device_id))];
    const isFirst = !parents.some((parent) => {
      const before = known.get(nameOf({ ...parent, key: version.key }));
      return before && !before.deleted;
    });
    const earlierName = isFirst && older && older.key !== version.key && !version.deleted ? older.key : null;
    if (isServer(version.device_id) && !version.deleted) {
      const source = sourceOf(version, versions.slice(index + 1));
      return { version, event: serverEventOf(version, parents, source), from, earlierName, source };
    }
    const oldest = complete && index === versions.length - 1;
    return { version, event: eventOf(version, older, earlierName, oldest), from, earlierName, source: null };
  });
}

/** Return moments in runs, runs by days of the reader's; all the latest first. */
export function daysOf(moments: readonly Moment[]): Day[] {
  const days: Day[] = [];
  for (const moment of moments) {
    const start = new Date(moment.version.received_at).setHours(0, 0, 0, 0);
    let day = days.at(-1);
    if (day?.start !== start) {
      day = { start, entries: [] };
      days.push(day);
    }
    const run = day.entries.at(-1);
    if (run && continues(run, moment)) run.moments.push(moment);
    else day.entries.push({ moments: [moment] });
  }
  return days;
}

function continues({ moments }: Entry, { version, event }: Moment): boolean {
  const later = moments[moments.length - 1] as Moment;
  return (
    later.event === "edited" &&
    event === "edited" &&
    !later.version.current === !version.current &&
    deviceOf(later.version.device_id) === deviceOf(version.device_id) &&
    later.version.received_at - version.received_at <= RUN_GAP_MS
  );
}

function eventOf(version: Version, older: Version | undefined, earlierName: string | null, oldest: boolean): Event {
  if (version.deleted) return version.moved_to ? "renamed" : "deleted";
  if (earlierName) return "renamed";
  if (older?.deleted) return "revived";
  return oldest || (version.parents?.length === 0 && !older) ? "created" : "edited";
}

function serverEventOf(version: Version, parents: readonly (Dot | Version)[], source: Version | null): Event {
  if (madeOf(version, parents).length > 1) return "merged";
  const [before] = parents;
  if (before === undefined) return "apart";
  if (version.conflict) return "reopened";
  if (!("conflict" in before && before.conflict)) return "restored";
  // Who settles a merge leaves it, takes one of its sides, or writes something new; an older text is a restore.
  const near: Dot[] = [before, ...(before.parents ?? []), ...(before.merged_from ?? [])];
  return source && !near.some((dot) => sameDot(dot, source)) ? "restored" : "settled";
}

/** Return what a version was made of: what stood there, but for deletions, and what came from another name. */
function madeOf(version: Version, parents: readonly (Dot | Version)[]): Dot[] {
  return [...parents.filter((parent) => !("deleted" in parent && parent.deleted)), ...(version.merged_from ?? [])];
}

/** Return the latest of some older versions that has the same content. */
function sourceOf(version: Version, older: readonly Version[]): Version | null {
  return older.find(({ sha256 }) => sha256 !== undefined && sha256 === version.sha256) ?? null;
}

function nameOf(version: Dot & { key: string }): string {
  return `${version.timestamp} ${version.device_id} ${version.key}`;
}

/** Return the version that a reader most likely wants to compare with: the next older one that has a text. */
export function defaultOther(versions: readonly Version[], chosen: Version): Version | null {
  const at = versions.findIndex((version) => version.key === chosen.key && sameDot(version, chosen));
  return versions.slice(at + 1).find((version) => !version.deleted && !version.gone) ?? null;
}
