/** Times between what a `datetime-local` field says and ms since 1970, where the reader is. Pure but for the time zone. */

/** Return a time as the field wants it, to the second. */
export function toInput(at: number): string {
  const local = new Date(at - new Date(at).getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19);
}

/** Return the time of a field; null if it is none, or not before `now`. */
export function fromInput(value: string, now: number): number | null {
  const at = new Date(value).getTime();
  if (Number.isNaN(at) || at > now) return null;
  return at;
}
