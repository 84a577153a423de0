/**
 * The places of a proposal where a person has something to choose, and what becomes of the text when they do. Pure.
 *
 * The proposal is compared with each version that went into it, by lines. Where differences overlap or touch they are
 * one place, as the server's merge sees it (docs/merge.md 4), so what a choice replaces never cuts through a change.
 */

import type { Change } from "../../sync";
import type { ConflictDetails, Spot } from "../api";
import { diffLines, splitLines, type Hunk } from "../diff/lines";
import { lineEndOf, toEditor, type LineEnd } from "../editor/lines";

/** What may stand at a place: one version's lines, those from before both, or the merge of both. */
export type Pick = "first" | "second" | "base" | "both";

/** Lines `start` to `end` of the proposal, end excluded, and what else could stand there. */
export interface Place {
  start: number;
  end: number;
  /** The lines of each version; of `base` and `both` null if there is no such version. */
  lines: Record<"first" | "second", string[]> & Record<"base" | "both", string[] | null>;
  /** Which side changed what was there before; `both` also where that is not known. */
  changedBy: "first" | "second" | "both";
  /** Why the merge wants somebody to look here; null where it is certain. */
  reason: Spot["reason"] | null;
}

/** Texts that a proposal was made of. */
export interface Texts {
  first: string;
  second: string;
  base: string | null;
  merged: string | null;
  spots: readonly Spot[];
}

/** Return a conflict with its texts as an editor has them, and the line end that they have in the note. */
export function inEditor(conflict: ConflictDetails): [ConflictDetails, LineEnd] {
  const { sources, base, merged, proposal } = conflict;
  const values = [...sources, ...(base ? [base] : [])].map((change) => change.value);
  const end = lineEndOf([...values, merged, proposal].filter((text) => text != null).join(" "));
  const change = (one: Change) => (one.value === null ? one : { ...one, value: toEditor(one.value, end) });
  const inside = {
    ...conflict,
    sources: sources.map(change),
    ...(base && { base: change(base) }),
    ...(merged !== undefined && { merged: toEditor(merged, end) }),
    ...(proposal !== undefined && { proposal: toEditor(proposal, end) }),
  };
  return [inside, end];
}

/** Return the texts of a conflict between exactly two; null if there are more, or one is a deletion or no text. */
export function textsOf(conflict: ConflictDetails): Texts | null {
  const [first, second, ...more] = conflict.sources;
  if (!first || !second || more.length > 0) return null;
  if (first.value === null || second.value === null || first.blob || second.blob) return null;
  return {
    first: first.value,
    second: second.value,
    base: conflict.base?.value ?? null,
    merged: conflict.merged ?? null,
    spots: conflict.spots ?? [],
  };
}

/** Return the places of a proposal, in order; none overlap or touch. */
export function placesOf(proposal: string, texts: Texts): Place[] {
  const doc = splitLines(proposal);
  const side = (text: string | null) => (text === null ? null : compared(doc, text));
  const sides = { first: compared(doc, texts.first), second: compared(doc, texts.second) };
  const others = { base: side(texts.base), both: side(texts.merged) };
  const all = [sides.first, sides.second, others.base, others.both].filter((one) => one !== null);
  const spots = texts.merged === null ? [] : spotsIn(doc, texts.merged, texts.spots);
  return groups(all.flatMap(({ hunks }) => hunks))
    .filter(({ start, end }) => [sides.first, sides.second].some(({ hunks }) => hunks.some(within(start, end))))
    .map(({ start, end }) => {
      const at = (one: Compared) => linesAt(one, start, end);
      const lines = {
        first: at(sides.first),
        second: at(sides.second),
        base: others.base && at(others.base),
        both: others.both && at(others.both),
      };
      const reason = spots.find((spot) => spot.start <= end && spot.end >= start)?.reason ?? null;
      return { start, end, lines, changedBy: changedBy(lines), reason };
    });
}

/** Return what may be chosen at a place: what equals something listed before it is no choice of its own. */
export function picksOf(place: Place): Pick[] {
  const seen: string[][] = [];
  const picks: Pick[] = [];
  for (const pick of ["first", "second", "both", "base"] as const) {
    const lines = place.lines[pick];
    if (lines && !seen.some((other) => sameLines(other, lines))) {
      seen.push(lines);
      picks.push(pick);
    }
  }
  return picks;
}

/** Return which pick a place shows now; null if it is something else that a person typed. */
export function pickedOf(place: Place, lines: readonly string[]): Pick | null {
  return picksOf(place).find((pick) => sameLines(place.lines[pick] ?? [], lines)) ?? null;
}

/**
 * The characters of a text that lines `start` to `end` of it are, so that others can stand there.
 *
 * The last lines take the line feed before them, all others the one after: without lines nothing is left behind.
 */
export interface Range {
  from: number;
  to: number;
  edge: "whole" | "last" | "inner";
}

export function rangeOf(lines: readonly string[], start: number, end: number): Range {
  const offset = (line: number) => lines.slice(0, line).reduce((sum, text) => sum + text.length + 1, 0);
  const length = offset(lines.length) - 1;
  if (end < lines.length) return { from: offset(start), to: offset(end), edge: "inner" };
  if (start === 0) return { from: 0, to: length, edge: "whole" };
  return { from: offset(start) - 1, to: length, edge: "last" };
}

/** Return lines as they stand in a range. */
export function render(lines: readonly string[], edge: Range["edge"]): string {
  if (edge === "whole") return lines.join("\n");
  return lines.map((line) => (edge === "last" ? `\n${line}` : `${line}\n`)).join("");
}

/** Return the lines that stand in a range: the reverse of `render`. */
export function linesIn(text: string, edge: Range["edge"]): string[] {
  if (edge === "whole") return splitLines(text);
  if (text === "") return [];
  const inner = edge === "last" ? text.replace(/^\n/, "") : text.replace(/\n$/, "");
  return splitLines(inner);
}

// -- how it is found

interface Compared {
  lines: string[];
  hunks: Hunk[];
}

function compared(doc: readonly string[], text: string): Compared {
  const lines = splitLines(text);
  return { lines, hunks: diffLines(doc, lines) };
}

/** Unite hunks that overlap or touch, by their lines of the proposal. */
function groups(hunks: readonly Hunk[]): { start: number; end: number }[] {
  const found: { start: number; end: number }[] = [];
  for (const { fromA, toA } of [...hunks].sort((one, other) => one.fromA - other.fromA || one.toA - other.toA)) {
    const last = found.at(-1);
    if (last && fromA <= last.end) last.end = Math.max(last.end, toA);
    else found.push({ start: fromA, end: toA });
  }
  return found;
}

function within(start: number, end: number): (hunk: Hunk) => boolean {
  return ({ fromA, toA }) => fromA >= start && toA <= end;
}

/** Return the lines of a version that stand where the proposal has its lines `start` to `end`. */
function linesAt({ lines, hunks }: Compared, start: number, end: number): string[] {
  let [before, inside] = [0, 0];
  for (const hunk of hunks) {
    const grown = hunk.toB - hunk.fromB - (hunk.toA - hunk.fromA);
    if (within(start, end)(hunk)) inside += grown;
    else if (hunk.toA <= start) before += grown;
  }
  return lines.slice(start + before, end + before + inside);
}

/** Return the merge's spots by the lines of the proposal, which may have been edited since. */
function spotsIn(doc: readonly string[], merged: string, spots: readonly Spot[]): Spot[] {
  const hunks = diffLines(splitLines(merged), doc);
  const moved = (line: number) => {
    let shift = 0;
    for (const { fromA, toA, fromB, toB } of hunks) {
      if (toA <= line) shift = toB - toA;
      else if (fromA < line) return Math.min(fromB + (line - fromA), toB);
    }
    return line + shift;
  };
  return spots.map((spot) => ({ ...spot, start: moved(spot.start), end: moved(spot.end) }));
}

function changedBy({ first, second, base }: Place["lines"]): Place["changedBy"] {
  if (base === null) return "both";
  if (sameLines(second, base)) return "first";
  return sameLines(first, base) ? "second" : "both";
}

function sameLines(some: readonly string[], others: readonly string[]): boolean {
  return some.length === others.length && some.every((line, index) => line === others[index]);
}
