/** Two texts as rows to show side by side: what both have, and where they differ. Pure. */

import { diffLines, diffWords, splitLines, type Hunk, type Piece } from "./lines";

/** Lines that both sides have; `skipped` of them are not shown until asked for. */
export interface SameRow {
  kind: "same";
  lines: string[];
  /** Line number of the first, counted from 1, on each side. */
  numbers: [number, number];
}

/** Lines where the sides differ; a side without lines has no pieces. */
export interface DifferentRow {
  kind: "different";
  sides: [Piece[], Piece[]];
  numbers: [number, number];
  /** How many lines each side has here. */
  sizes: [number, number];
}

export type Row = SameRow | DifferentRow;

/** How many equal lines are shown around a difference. */
const CONTEXT_LINES = 2;

/** Return two texts as rows that cover both of them. */
export function rowsOf(a: string, b: string): Row[] {
  const [one, other] = [splitLines(a), splitLines(b)];
  return rowsBetween(one, other, diffLines(one, other));
}

/** Say how many lines come and go from one text to the other. */
export function countLines(rows: readonly Row[]): { added: number; removed: number } {
  let [added, removed] = [0, 0];
  for (const row of rows) {
    if (row.kind === "different") {
      removed += row.sizes[0];
      added += row.sizes[1];
    }
  }
  return { added, removed };
}

/**
 * Return a run of equal lines in what is shown before and after a gap, and the lines of the gap.
 *
 * @param atStart whether no difference comes before it: then no context is needed there.
 * @param atEnd whether none comes after it.
 */
export function fold(
  lines: readonly string[],
  atStart: boolean,
  atEnd: boolean,
): { before: string[]; hidden: string[]; after: string[] } {
  const head = atStart ? 0 : CONTEXT_LINES;
  const tail = atEnd ? 0 : CONTEXT_LINES;
  // A gap of one line is no shorter than what stands for it.
  if (lines.length <= head + tail + 1) return { before: [...lines], hidden: [], after: [] };
  return {
    before: lines.slice(0, head),
    hidden: lines.slice(head, lines.length - tail),
    after: lines.slice(lines.length - tail),
  };
}

function rowsBetween(a: readonly string[], b: readonly string[], hunks: readonly Hunk[]): Row[] {
  const rows: Row[] = [];
  let [atA, atB] = [0, 0];
  const same = (toA: number) => {
    if (toA > atA) rows.push({ kind: "same", lines: a.slice(atA, toA), numbers: [atA + 1, atB + 1] });
  };
  for (const { fromA, toA, fromB, toB } of hunks) {
    same(fromA);
    rows.push({
      kind: "different",
      sides: diffWords(a.slice(fromA, toA).join("\n"), b.slice(fromB, toB).join("\n")),
      numbers: [fromA + 1, fromB + 1],
      sizes: [toA - fromA, toB - fromB],
    });
    [atA, atB] = [toA, toB];
  }
  same(a.length);
  return rows;
}
