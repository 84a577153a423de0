/** Times and sizes as people read them. */
import { messages } from "../messages";

const STEPS: readonly [Intl.RelativeTimeFormatUnit, number][] = [
  ["minute", 60_000],
  ["hour", 3_600_000],
  ["day", 86_400_000],
];

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const day = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric" });
const full = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });
const weekday = new Intl.DateTimeFormat("en", { weekday: "long" });

/** Return "5 minutes ago", or the date of what is more than a week away. Times are in ms since 1970. */
export function when(at: number, now = Date.now()): string {
  const away = at - now;
  if (Math.abs(away) < 60_000) return messages.common.justNow;
  if (Math.abs(away) >= 7 * 86_400_000) return day.format(at);
  const [unit, length] = STEPS.findLast(([, one]) => Math.abs(away) >= one) ?? ["minute", 60_000];
  return relative.format(Math.trunc(away / length), unit);
}

/** Return the date and time to the second. */
export function moment(at: number): string {
  return full.format(at);
}

/** Return "09:12", "Monday" or the date, whatever names a time in the past shortest. */
export function since(at: number, now = Date.now()): string {
  if (now - at < 86_400_000) return clockTime(at);
  return now - at < 6 * 86_400_000 ? weekday.format(at) : day.format(at);
}

/** Return "12.3 kB". */
export function size(bytes: number): string {
  const units = ["B", "kB", "MB", "GB"];
  const step = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), units.length - 1);
  return `${(bytes / 1000 ** step).toLocaleString("en", { maximumFractionDigits: step && 1 })} ${units[step] ?? ""}`;
}

const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const dayName = new Intl.DateTimeFormat("en", { weekday: "long", day: "numeric", month: "long", year: "numeric" });

/** Return "09:12". */
export function clockTime(at: number): string {
  return clock.format(at);
}

/** Return "Saturday, March 14, 2026". */
export function dayOf(at: number): string {
  return dayName.format(at);
}
