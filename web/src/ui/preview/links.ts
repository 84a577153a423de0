/** Where the links of a note lead. Pure: texts and paths in, paths out. */

import { titleOf } from "../notes/tree";
import { href } from "../routes";

/** What a wikilink `[[target#heading|label]]` says. */
export interface Wikilink {
  readonly target: string;
  readonly heading: string;
  readonly label: string;
}

export const WIKILINK = /(!?)\[\[([^[\]\n|#]*)(?:#([^[\]\n|]*))?(?:\|([^[\]\n]*))?\]\]/;

/** A tag: `#word`, not only digits, at the beginning or after a space or bracket. */
export const TAG = /(?<=^|[\s([{])#(?=[\p{L}\p{M}\p{N}_/-]*[\p{L}_])[\p{L}\p{M}\p{N}_/-]+/u;

/** Read the parts of a match of `WIKILINK`. */
export function wikilinkOf(match: RegExpMatchArray): Wikilink {
  const target = (match[2] ?? "").trim();
  const heading = (match[3] ?? "").trim();
  return { target, heading, label: (match[4] ?? "").trim() || (heading ? `${target} › ${heading}`.trim() : target) };
}

/** Finds notes by what people write in links. */
export class LinkIndex {
  readonly #paths: ReadonlySet<string>;
  readonly #byName = new Map<string, string>();

  constructor(paths: Iterable<string>) {
    this.#paths = new Set(paths);
    for (const path of this.#paths) {
      for (const name of namesOf(path)) {
        const known = this.#byName.get(name);
        // Of several notes of one name the one that is nearest to the root is meant.
        if (known === undefined || depth(path) < depth(known)) this.#byName.set(name, path);
      }
    }
  }

  /** Return the path that a wikilink means, or null if there is no such note. */
  wikilink(target: string, from: string): string | null {
    return this.wikilinkByPath(target, from) ?? this.#byName.get(lastName(target).toLowerCase()) ?? null;
  }

  /** Return the path that a wikilink means as a path, from the vault's root or from the note's folder, or null. */
  wikilinkByPath(target: string, from: string): string | null {
    if (!target) return from;
    return this.#existing(normalize(target)) ?? this.#existing(join(from, target));
  }

  /** Return the path that a relative address in a note means, or null. */
  address(address: string, from: string): string | null {
    return this.addressBeside(address, from) ?? this.#existing(normalize(pathIn(address)));
  }

  /** Return the path that a relative address means everywhere else, too: seen from the note's folder, or null. */
  addressBeside(address: string, from: string): string | null {
    const path = pathIn(address);
    if (!path) return from;
    return this.#existing(path.startsWith("/") ? normalize(path) : join(from, path));
  }

  #existing(path: string | null): string | null {
    if (path === null) return null;
    return [path, `${path}.md`].find((one) => this.#paths.has(one)) ?? null;
  }
}

/** Return the address of a note's page, at a heading of it if one is named. */
export function noteHref(path: string, heading = ""): string {
  return href("note", path, heading ? { heading } : {});
}

/** Return the heading that a relative address names: what follows its `#`; "" if nothing does. */
export function headingOf(address: string): string {
  return decode(/#(.*)$/s.exec(address)?.[1] ?? "");
}

/**
 * Return which heading is meant, by its words or as GitHub writes them in an address: the second `Next steps` is
 * `next-steps-1`; -1 if there is none.
 *
 * @param wanted - of a path of headings, `Boats#Wood`, the last one counts.
 */
export function headingAt(titles: readonly string[], wanted: string): number {
  const slug = slugOf(wanted.slice(wanted.lastIndexOf("#") + 1));
  const seen = new Map<string, number>();
  return titles.findIndex((title) => {
    const own = slugOf(title);
    const before = seen.get(own) ?? 0;
    seen.set(own, before + 1);
    return (before ? `${own}-${String(before)}` : own) === slug;
  });
}

function slugOf(title: string): string {
  return title
    .normalize("NFC")
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{M}\p{N}\p{Pc} -]/gu, "")
    .replaceAll(" ", "-");
}

/**
 * Return a link to a note, as short as leads there: by its title, by its path, or in Markdown's way if its name holds
 * what ends a wikilink.
 */
export function linkTo(path: string, from: string, index: LinkIndex): string {
  const title = titleOf(path);
  const wikilinks = [title, `${path.replace(/\.md$/i, "")}|${title}`, `${path}|${title}`].map((say) => `[[${say}]]`);
  const leads = (link: string): boolean => {
    const match = WIKILINK.exec(link);
    if (match?.[0] !== link) return false;
    const { target, heading, label } = wikilinkOf(match);
    return !heading && label === title && index.wikilink(target, from) === path;
  };
  return wikilinks.find(leads) ?? `[${title.replace(/[[\]\\]/g, "\\$&")}](${relativeAddress(path, from)})`;
}

/** Return a path as a Markdown address, seen from a note. */
export function relativeAddress(path: string, from: string): string {
  const target = path.split("/");
  const folder = from.split("/").slice(0, -1);
  let common = 0;
  while (common < folder.length && common < target.length - 1 && folder[common] === target[common]) common += 1;
  const parts = [...folder.slice(common).map(() => ".."), ...target.slice(common)];
  return parts
    .map((part) => encodeURIComponent(part).replace(/[()]/g, (c) => `%${c.charCodeAt(0).toString(16)}`))
    .join("/");
}

function pathIn(address: string): string {
  return decode(address.replace(/[?#].*$/s, ""));
}

/** Return the path that a relative one means in a note's folder; null if it leaves the vault. */
function join(from: string, path: string): string | null {
  return normalize(`${from.slice(0, from.lastIndexOf("/") + 1)}${path}`);
}

function normalize(path: string): string | null {
  const parts: string[] = [];
  for (const part of path.normalize("NFC").split("/")) {
    if (part === "..") {
      if (parts.pop() === undefined) return null;
    } else if (part !== "" && part !== ".") {
      parts.push(part);
    }
  }
  return parts.join("/");
}

function namesOf(path: string): string[] {
  const name = lastName(path).toLowerCase();
  return name.endsWith(".md") ? [name.slice(0, -3), name] : [name];
}

function lastName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1).normalize("NFC");
}

function depth(path: string): number {
  return path.split("/").length;
}

/** Return a part of an address without its percent signs, or as it is if they mean nothing. */
export function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
