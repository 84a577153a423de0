/** Links that go on leading where they led after notes got other names. Pure: texts and paths in, texts out. */
import { markdownLanguage } from "@codemirror/lang-markdown";

import { titleOf } from "../notes/tree";
import { decode, LinkIndex, relativeAddress, WIKILINK } from "../preview/links";
import { inCode } from "./code";

type Tree = ReturnType<typeof markdownLanguage.parser.parse>;

interface Edit {
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

const WIKILINKS = new RegExp(WIKILINK.source, "g");
const SCHEME = /^[a-z][a-z0-9+.-]*:/i;
const ESCAPED = /\\([!-/:-@[-`{-~])/g;
const ENCODED = /(?:%[0-9a-f]{2})+/gi;
/** What an address stands in, in the editor's grammar. */
const HOLDERS = new Set(["Link", "Image", "LinkReference"]);

/** Notes that got other names, and where links lead because of that. */
export class Renamed {
  readonly #before: LinkIndex;
  readonly #after: LinkIndex;
  #traces: string[] | undefined;

  /**
   * @param paths - of all notes and files, as they were.
   * @param moves - the old paths of what was renamed, each with its new one.
   */
  constructor(
    private readonly paths: readonly string[],
    private readonly moves: ReadonlyMap<string, string>,
  ) {
    this.#before = new LinkIndex(paths);
    this.#after = new LinkIndex(paths.map((path) => this.#now(path)));
  }

  /** Return a text with its links as they have to be now; the same one if all lead where they led. */
  relink(text: string, path: string): string {
    if (!text.includes("[") || !(this.moves.has(path) || this.#isConcerned(text))) return text;
    const tree = markdownLanguage.parser.parse(text);
    const edits = [...this.#wikilinks(tree, text, path), ...this.#addresses(tree, text, path)];
    edits.sort((a, b) => b.from - a.from);
    return edits.reduce((done, { from, to, text: link }) => done.slice(0, from) + link + done.slice(to), text);
  }

  /** Say whether a text may have a link that leads elsewhere now, without reading it as Markdown: most have none. */
  #isConcerned(text: string): boolean {
    const plain = text.replaceAll("\\", "").replace(ENCODED, decode).normalize("NFC").toLowerCase();
    this.#traces ??= this.#tracesOf();
    return this.#traces.some((trace) => plain.includes(trace));
  }

  /** Return what stands, in lower case, in every link from elsewhere that has to be another one. */
  #tracesOf(): string[] {
    const traces = new Set<string>();
    const isWhole = new Map<string, boolean>();
    const named = new Map<string, number>();
    for (const path of this.paths) named.set(nameOf(path), (named.get(nameOf(path)) ?? 0) + 1);
    for (const [before, after] of this.moves) {
      const folders = before.split("/").slice(0, -1);
      const differs = folders.findLastIndex((name, at) => name !== after.split("/")[at]);
      const folder = folders.slice(0, differs + 1).join("/");
      if (!isWhole.has(folder)) isWhole.set(folder, folder !== "" && this.#isMoved(`${folder}/`));
      // Every link ends with the name of what it leads to. Into a folder that moved as a whole it names that, too, which
      // is one trace for many; but a name that several have may be another one's now.
      const isOnlyMoved = nameOf(before) === nameOf(after) && named.get(nameOf(before)) === 1;
      traces.add(isOnlyMoved && isWhole.get(folder) ? (folders[differs] ?? "").toLowerCase() : nameOf(before));
      if (named.has(nameOf(after)) && !isOnlyMoved) traces.add(nameOf(after));
    }
    return [...traces];
  }

  #isMoved(folder: string): boolean {
    return this.paths.every((path) => !path.startsWith(folder) || this.moves.has(path));
  }

  *#wikilinks(tree: Tree, text: string, path: string): Iterable<Edit> {
    for (const match of text.matchAll(WIKILINKS)) {
      const named = match[2] ?? "";
      const target = named.trim();
      const led = target && this.#before.wikilink(target, path);
      if (!led || inCode(tree, match.index + 1)) continue;
      const [wanted, from] = [this.#now(led), this.#now(path)];
      const isPath = this.#before.wikilinkByPath(target, path) !== null;
      const leads = isPath ? this.#after.wikilinkByPath(target, from) : this.#after.wikilink(target, from);
      if (leads === wanted) continue;
      const link = this.#shortest(wanted, target, from);
      const at = match.index + (match[1] ?? "").length + 2 + named.indexOf(target);
      if (link !== undefined) yield { from: at, to: at + target.length, text: link };
    }
  }

  /** Return the shortest name of a note that leads to it; with its folders, or its ending, if the old one had that. */
  #shortest(wanted: string, old: string, from: string): string | undefined {
    const bare = wanted.replace(/\.md$/i, "");
    const names = /\.md$/i.test(old) ? [wanted] : [bare, wanted];
    if (!old.includes("/"))
      names.unshift(names[0] === wanted ? wanted.slice(wanted.lastIndexOf("/") + 1) : titleOf(wanted));
    return names.find((name) => !/[[\]|#]/.test(name) && this.#after.wikilink(name, from) === wanted);
  }

  #addresses(tree: Tree, text: string, path: string): Edit[] {
    const found: Edit[] = [];
    tree.iterate({
      enter: ({ name, from, to, node }) => {
        if (name !== "URL" || !HOLDERS.has(node.parent?.name ?? "")) return;
        const link = this.#address(text.slice(from, to), path);
        if (link !== undefined) found.push({ from, to, text: link });
      },
    });
    return found;
  }

  /** Return the address in place of one; undefined if that leads where it led. */
  #address(written: string, path: string): string | undefined {
    const isAngled = written.startsWith("<");
    const address = (isAngled ? written.slice(1, -1) : written).replace(ESCAPED, "$1");
    const led = SCHEME.test(address) ? null : this.#before.address(address, path);
    if (led === null) return undefined;
    const [wanted, from] = [this.#now(led), this.#now(path)];
    const isBeside = this.#before.addressBeside(address, path) !== null;
    const leads = isBeside ? this.#after.addressBeside(address, from) : this.#after.address(address, from);
    if (leads === wanted) return undefined;
    const suffix = /[?#].*$/s.exec(address)?.[0] ?? "";
    const hasEnding = /\.md$/i.test(address.slice(0, address.length - suffix.length));
    const target = hasEnding ? wanted : wanted.replace(/\.md$/i, "");
    const relative = relativeAddress(target, address.startsWith("/") ? "" : from);
    const link = `${address.startsWith("/") ? "/" : ""}${relative}${suffix}`;
    if (this.#after.addressBeside(link, from) !== wanted) return undefined;
    return isAngled ? `<${link}>` : link;
  }

  #now(path: string): string {
    return this.moves.get(path) ?? path;
  }
}

/** Return what a note is called, whatever its case. */
function nameOf(path: string): string {
  return titleOf(path).toLowerCase();
}
