/** The one validator of keys and device ids, and the mapping between keys and paths (docs/protocol.md 4). */

import { TidenoteError } from "./errors";
import { SERVER_PREFIX } from "./version";

/** The longest key, in bytes of UTF-8. */
const MAX_KEY_BYTES = 1024;

/** The longest name between two slashes, in bytes of UTF-8. */
const MAX_NAME_BYTES = 255;

/** The folder that holds a daemon's own state; never a part of a key. */
const STATE_FOLDER = ".tidenote";

/** Extensions whose files are `note:` keys; every other file is a `file:` key. */
const TEXT_EXTENSIONS: ReadonlySet<string> = new Set(
  (
    ".md .markdown .mdown .mkd .mdx .txt .text .org .canvas .base .rst .adoc .asciidoc .tex .bib .csv .tsv " +
    ".json .yaml .yml .toml .css .html .htm .xml .svg .js .ts .py .sh .ini .cfg .conf .log .opml .fountain"
  ).split(" "),
);

const DEVICE_ID = /^[A-Za-z0-9._-]{1,64}(?:~[1-9][0-9]{0,5})?$/;
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
const LONE_SURROGATE = /\p{Surrogate}/u;
const encoder = new TextEncoder();

/** Return how many bytes a text has in UTF-8. */
export function utf8Length(text: string): number {
  return encoder.encode(text).length;
}

/** Say whether a text has no half of a surrogate pair. */
export function isUnicode(text: string): boolean {
  return !LONE_SURROGATE.test(text);
}

/**
 * Return the key of a relative, `/`-separated path in any normal form: one path, one key.
 *
 * @throws TidenoteError `bad_key`, if the path is none that a key can have.
 */
export function keyOfPath(path: string): string {
  const normal = path.normalize("NFC");
  checkPath(normal);
  const name = normal.slice(normal.lastIndexOf("/") + 1);
  const dot = name.lastIndexOf(".");
  const extension = dot > 0 ? name.slice(dot).toLowerCase() : "";
  return (TEXT_EXTENSIONS.has(extension) ? "note:" : "file:") + normal;
}

/** Why a path is none that a key can have. */
export type PathProblem = keyof typeof PATH_PROBLEMS;

const PATH_PROBLEMS = {
  empty: "the path is empty",
  backslash: "a backslash in the path",
  control: "a control character in the path",
  unicode: "the path is not valid Unicode",
  long: `the key is over ${String(MAX_KEY_BYTES)} bytes`,
  form: "the path is not in normal form NFC",
  absolute: "the path is absolute, or begins like a Windows drive",
  dots: "an empty, . or .. name in the path",
  own: `${STATE_FOLDER} is the daemon's own`,
  longName: `a name is over ${String(MAX_NAME_BYTES)} bytes`,
} as const;

/** Return what is wrong with a path in any normal form; null if a key can have it. */
export function problemOfPath(path: string): PathProblem | null {
  return problemOf(path.normalize("NFC"));
}

/** Return the path of a valid key. */
export function pathOfKey(key: string): string {
  return key.slice(key.indexOf(":") + 1);
}

/**
 * Check that a key is `note:` or `file:`, as its extension demands, with a safe relative path.
 *
 * @throws TidenoteError `bad_key`, and why.
 */
export function checkKey(key: string): void {
  if (!key.startsWith("note:") && !key.startsWith("file:")) throw bad("a key starts with note: or file:");
  const path = pathOfKey(key);
  checkPath(path);
  const wanted = keyOfPath(path);
  if (wanted !== key) throw bad(`by its extension this is a ${wanted.slice(0, 4)}: key`);
}

/**
 * Check that a path is relative, NFC, `/`-separated, and cannot leave its folder.
 *
 * @throws TidenoteError `bad_key`, and why.
 */
function checkPath(path: string): void {
  const problem = problemOf(path);
  if (problem) throw bad(PATH_PROBLEMS[problem]);
}

function problemOf(path: string): PathProblem | null {
  if (path === "") return "empty";
  if (path.includes("\\")) return "backslash";
  if (CONTROL.test(path)) return "control";
  if (!isUnicode(path)) return "unicode";
  if (utf8Length(path) + "note:".length > MAX_KEY_BYTES) return "long";
  if (path.normalize("NFC") !== path) return "form";
  if (path.startsWith("/") || /^[A-Za-z]:/.test(path)) return "absolute";
  for (const name of path.split("/")) {
    const problem = problemOfName(name);
    if (problem) return problem;
  }
  return null;
}

function problemOfName(name: string): PathProblem | null {
  if (name === "" || name === "." || name === "..") return "dots";
  if (asFoldedByDisks(name) === STATE_FOLDER) return "own";
  return utf8Length(name) > MAX_NAME_BYTES ? "longName" : null;
}

/** Fold what some file systems ignore: case, invisible characters (HFS+), trailing dots and spaces (NTFS). */
function asFoldedByDisks(name: string): string {
  return name
    .replace(/\p{Cf}/gu, "")
    .toUpperCase()
    .toLowerCase()
    .replace(/[. ]+$/, "");
}

/**
 * Check a device id: 1..64 of `A-Za-z0-9._-`, or with `~n` a later incarnation; `server*` is reserved.
 *
 * @throws TidenoteError `bad_device`.
 */
export function checkDeviceId(deviceId: string, allowServer = false): void {
  if (!DEVICE_ID.test(deviceId)) {
    throw new TidenoteError("bad_device", "a device id is 1 to 64 of A-Z a-z 0-9 . _ - (and ~n)");
  }
  if (deviceId.startsWith(SERVER_PREFIX) && !allowServer) {
    throw new TidenoteError("bad_device", "device ids that start with server are reserved");
  }
}

/** Return the device whose incarnation an id is: `phone` for `phone~2`. */
export function ownerOf(deviceId: string): string {
  return deviceId.split("~", 1)[0] ?? deviceId;
}

/** Return the id under which a cloned or restored device goes on: `phone` -> `phone~2` -> `phone~3`. */
export function nextIncarnation(deviceId: string): string {
  const [name, number] = deviceId.split("~");
  return `${name ?? ""}~${String(Number(number ?? 1) + 1)}`;
}

function bad(why: string): TidenoteError {
  return new TidenoteError("bad_key", why);
}
