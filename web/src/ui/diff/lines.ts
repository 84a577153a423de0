/**
 * Differences of texts by lines, and of lines by words. Pure.
 *
 * A text is split at line feeds only, and keeps its last, maybe empty, line: the same lines as the server merges.
 */

import { diff, presentableDiff } from "@codemirror/merge";

/** Lines `fromA` to `toA` of one text stand in the place of lines `fromB` to `toB` of the other; ends excluded. */
export interface Hunk {
  fromA: number;
  toA: number;
  fromB: number;
  toB: number;
}

/** A piece of a line or of several; `mark` says that the other side has something else here. */
export interface Piece {
  text: string;
  mark: boolean;
}

/** How many characters may differ before words are no longer looked at, so that no text stops the page. */
const MAX_WORDS_SCANNED = 20_000;

/** How many different lines have a code unit of their own: all of them but surrogates. */
const MAX_DISTINCT = 0xf7ff;

export function splitLines(text: string): string[] {
  return text.split("\n");
}

/** Return where two lists of lines differ, in order, with at least one common line between any two hunks. */
export function diffLines(a: readonly string[], b: readonly string[]): Hunk[] {
  const codes = new Map<string, string>();
  const one = encode(a, codes);
  const other = encode(b, codes);
  // Each line becomes one character, so that a difference of characters is one of lines.
  if (codes.size > MAX_DISTINCT) return wholeHunk(a, b);
  return diff(one, other).map(({ fromA, toA, fromB, toB }) => ({ fromA, toA, fromB, toB }));
}

/** Return both texts in pieces, of which those are marked that the other text does not have. */
export function diffWords(a: string, b: string): [Piece[], Piece[]] {
  const changes = presentableDiff(a, b, { scanLimit: MAX_WORDS_SCANNED });
  return [
    pieces(
      a,
      changes.map(({ fromA, toA }) => [fromA, toA]),
    ),
    pieces(
      b,
      changes.map(({ fromB, toB }) => [fromB, toB]),
    ),
  ];
}

function encode(lines: readonly string[], codes: Map<string, string>): string {
  return lines
    .map((line) => {
      const known = codes.get(line);
      if (known !== undefined) return known;
      const code = codes.size < 0xd800 ? codes.size : codes.size + 0x800;
      const unit = String.fromCharCode(code);
      codes.set(line, unit);
      return unit;
    })
    .join("");
}

function wholeHunk(a: readonly string[], b: readonly string[]): Hunk[] {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  return [{ fromA: start, toA: a.length - end, fromB: start, toB: b.length - end }];
}

function pieces(text: string, marked: [number, number][]): Piece[] {
  const found: Piece[] = [];
  let at = 0;
  const add = (to: number, mark: boolean) => {
    if (to > at) found.push({ text: text.slice(at, to), mark });
    at = to;
  };
  for (const [from, to] of marked) {
    add(from, false);
    add(to, true);
  }
  add(text.length, false);
  return found;
}
