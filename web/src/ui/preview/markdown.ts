/**
 * Markdown to HTML, as a string that still has to be sanitized. Raw HTML in a note is shown as text; nothing has a style
 * attribute, and pictures from elsewhere are links, because the content security policy would refuse both.
 */
import MarkdownIt, { type Env, type RendererRule, type StateCore, type StateInline } from "markdown-it";

import { messages } from "../messages";
import { pathFrom } from "../notes/paths";
import { href } from "../routes";
import { headingAt, headingOf, type LinkIndex, noteHref, TAG, WIKILINK, wikilinkOf } from "./links";

export interface Place {
  /** The note's path. */
  readonly path: string;
  readonly index: LinkIndex;
  /** Whether a click changes a box, and with it the text. */
  readonly mayTick?: boolean;
}

/** What is before the text: a byte order mark, which some editors write, and properties. */
const HEAD = /^\ufeff?(?:---[ \t]*\r?\n([\s\S]*?)\r?\n(?:---|\.\.\.)[ \t]*(?:\r?\n|$))?/;
const EXTERNAL = /^(?:https?:|mailto:|tel:)/i;
const OWN_PICTURE = /^data:image\/(?:png|gif|jpeg|webp);base64,/i;
const PICTURE = /\.(?:png|jpe?g|gif|webp|avif|svg|bmp)$/i;
const LINE_BREAK = /<br ?\/?>/iy;
const TASK = /^\[([ xX])\][ \u00a0]/;

const stickyTag = new RegExp(TAG.source, "uy");
const stickyWikilink = new RegExp(WIKILINK.source, "y");

const markdown = new MarkdownIt({ html: false, linkify: true, breaks: false });
// Of bare words only those with a scheme become links: "note.md" is no web site.
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false, fuzzyIP: false });
markdown.inline.ruler.before("link", "wikilink", wikilinkRule);
markdown.inline.ruler.after("wikilink", "tag", tagRule);
markdown.inline.ruler.before("autolink", "line_break", lineBreakRule);
markdown.core.ruler.push("tasks", taskRule);
markdown.core.ruler.push("alignment", alignmentRule);
markdown.renderer.rules.link_open = linkRule;
markdown.renderer.rules.image = pictureRule;

/** Return a note's HTML. */
export function toHtml(text: string, place: Place): string {
  const front = HEAD.exec(text)?.[1];
  const properties = front === undefined ? "" : `<pre class="front-matter">${escape(front)}</pre>`;
  return properties + markdown.render(bodyOf(text), { place });
}

/**
 * Return where the boxes of a note have their marks, the characters between `[` and `]`, in the order in which the
 * boxes are shown; null for one whose place is not known for certain.
 */
export function tasksOf(text: string, place: Place): (number | null)[] {
  const body = bodyOf(text);
  const starts = startsOf(body);
  return markdown
    .parse(body, { place })
    .filter((token) => token.children?.[0]?.type === "task")
    .map((token) => {
      const line = token.map?.[0] ?? 0;
      const shown = body.slice(starts[line], starts[line + 1]).trimEnd();
      const content = token.content.replace(/\n[^]*/, "").trimEnd();
      if (!shown.endsWith(content)) return null;
      return text.length - body.length + (starts[line] ?? 0) + shown.length - content.length + 1;
    });
}

/**
 * Return the heading that a link names: how many there are before it, and where its line begins; null if there is none.
 */
export function findHeading(text: string, wanted: string, place: Place): { number: number; at: number } | null {
  const body = bodyOf(text);
  const tokens = markdown.parse(body, { place });
  const headings = tokens.filter((_, index) => tokens[index - 1]?.type === "heading_open");
  const titles = headings.map(({ children }) => children?.map(({ content }) => content).join("") ?? "");
  const number = headingAt(titles, wanted);
  const line = headings[number]?.map?.[0];
  return line === undefined ? null : { number, at: text.length - body.length + (startsOf(body)[line] ?? 0) };
}

/** Return where the lines of a text begin. */
function startsOf(text: string): number[] {
  return [0, ...Array.from(text.matchAll(/\r\n?|\n/g), (end) => end.index + end[0].length)];
}

function bodyOf(text: string): string {
  return text.slice(HEAD.exec(text)?.[0].length ?? 0);
}

function placeOf(env: Env | undefined): Place {
  return env?.place as Place;
}

// -- links

function wikilinkRule(state: StateInline, silent: boolean): boolean {
  stickyWikilink.lastIndex = state.pos;
  const match = stickyWikilink.exec(state.src);
  if (!match) return false;
  const { target, heading, label } = wikilinkOf(match);
  if (!target && !label) return false;
  if (!silent) {
    const { index, path } = placeOf(state.env);
    const found = index.wikilink(target, path);
    if (match[1] && found && PICTURE.test(found)) {
      const picture = state.push("image", "img", 0);
      picture.content = label;
      picture.meta = { path: found };
    } else {
      const link = state.push("wikilink_open", "a", 1);
      link.attrSet("href", found === null ? noteHref(pathFrom(target)) : noteHref(found, heading));
      link.attrSet("class", found ? "wikilink" : "wikilink missing");
      state.push("text", "", 0).content = label;
      state.push("wikilink_close", "a", -1);
    }
  }
  state.pos += match[0].length;
  return true;
}

/** A `<br>` is the one tag that has a meaning: in the cell of a table nothing else breaks a line. */
function lineBreakRule(state: StateInline, silent: boolean): boolean {
  LINE_BREAK.lastIndex = state.pos;
  const match = LINE_BREAK.exec(state.src);
  if (!match) return false;
  if (!silent) state.push("hardbreak", "br", 0);
  state.pos += match[0].length;
  return true;
}

function linkRule(...[tokens, index, options, env, self]: Parameters<RendererRule>): string {
  const token = tokens[index];
  if (!token) return "";
  const address = String(token.attrGet("href") ?? "");
  const place = placeOf(env);
  if (EXTERNAL.test(address)) {
    token.attrSet("target", "_blank");
    token.attrSet("rel", "noopener noreferrer nofollow");
  } else {
    const found = place.index.address(address, place.path);
    // An empty address would be this page: a click would load the app anew.
    if (found === null) token.attrs = [["class", "missing"]];
    else token.attrSet("href", noteHref(found, headingOf(address)));
  }
  return self.renderToken(tokens, index, options);
}

function pictureRule(...[tokens, index, , env]: Parameters<RendererRule>): string {
  const token = tokens[index];
  if (!token) return "";
  const place = placeOf(env);
  const address = String(token.attrGet("src") ?? "");
  const alt = escape(token.content);
  if (OWN_PICTURE.test(address)) return `<img src="${escape(address)}" alt="${alt}">`;
  if (EXTERNAL.test(address)) {
    return `<a href="${escape(address)}" class="external" target="_blank" rel="noopener noreferrer nofollow">${alt || escape(address)}</a>`;
  }
  const found = (token.meta?.path as string | undefined) ?? place.index.address(address, place.path);
  if (found === null) return `<span class="missing">${alt || escape(address)}</span>`;
  return `<img data-path="${escape(found)}" alt="${alt}">`;
}

// -- tags, tasks, tables

function tagRule(state: StateInline, silent: boolean): boolean {
  if (state.src.charAt(state.pos) !== "#") return false;
  stickyTag.lastIndex = state.pos;
  const tag = stickyTag.exec(state.src)?.[0];
  if (!tag) return false;
  if (!silent) {
    const link = state.push("wikilink_open", "a", 1);
    link.attrSet("href", href("search", "", { q: tag }));
    link.attrSet("class", "tag");
    state.push("text", "", 0).content = tag;
    state.push("wikilink_close", "a", -1);
  }
  state.pos += tag.length;
  return true;
}

/** Make boxes of `- [ ]`; they show what the text says. */
function taskRule(state: StateCore): void {
  state.tokens.forEach((token, index) => {
    const item = state.tokens[index - 2];
    const text = token.children?.[0];
    const task = token.type === "inline" && item?.type === "list_item_open" && text && TASK.exec(text.content);
    if (!task) return;
    text.content = text.content.slice(task[0].length);
    const box = new state.Token("task", "input", 0);
    box.attrSet("type", "checkbox");
    if (!placeOf(state.env).mayTick) box.attrSet("disabled", "");
    box.attrSet(
      "aria-label",
      token.children
        ?.map((child) => child.content)
        .join("")
        .trim() || messages.editor.task,
    );
    if (task[1] !== " ") box.attrSet("checked", "");
    item.attrSet("class", "task");
    token.children?.unshift(box);
  });
}

/** Align the cells of tables by class. */
function alignmentRule(state: StateCore): void {
  for (const token of state.tokens) {
    const style = token.attrGet("style");
    if (style === null) continue;
    token.attrs = token.attrs?.filter(([name]) => name !== "style") ?? null;
    token.attrSet("class", `align-${/right|center/.exec(String(style))?.[0] ?? "left"}`);
  }
}

function escape(text: string): string {
  return markdown.utils.escapeHtml(text);
}
