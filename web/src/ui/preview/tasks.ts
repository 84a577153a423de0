/** What a click at a box of the preview means for the text. Pure. */
import { type Place, tasksOf } from "./markdown";

/** A character of the text that becomes another one. */
export interface Tick {
  readonly at: number;
  readonly mark: "x" | " ";
}

/**
 * Return what ticks a box, or takes the tick away.
 *
 * @param shown the text that the preview was drawn of.
 * @param now the text as it is by now: typing is ahead of the preview.
 * @param number of the box, from 0.
 * @returns null if the line of the box is another one by now.
 */
export function tickOf(shown: string, now: string, number: number, place: Place): Tick | null {
  const then = tasksOf(shown, place)[number] ?? null;
  const at = then === null ? null : moved(then, shown, now);
  if (at === null || !/^\[[ xX]\]$/.test(now.slice(at - 1, at + 2))) return null;
  return { at, mark: now.charAt(at) === " " ? "x" : " " };
}

/** Return where a character of one text stands in another; null if the part that differs holds it. */
function moved(at: number, before: string, after: string): number | null {
  const shorter = Math.min(before.length, after.length);
  let head = 0;
  while (head < shorter && before.charCodeAt(head) === after.charCodeAt(head)) head += 1;
  if (at < head) return at;
  let tail = 0;
  while (
    tail < shorter - head &&
    before.charCodeAt(before.length - 1 - tail) === after.charCodeAt(after.length - 1 - tail)
  )
    tail += 1;
  return at >= before.length - tail ? at + after.length - before.length : null;
}
