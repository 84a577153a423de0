/**
 * Wikilinks, tags and addresses in the editor: marked, and followed by a click with Ctrl or Cmd, or by a key. Under a
 * finger, which has neither, a button appears beside the link at the cursor.
 */
import { completionStatus } from "@codemirror/autocomplete";
import { type EditorState, type Extension, Prec, RangeSetBuilder, StateEffect, StateField } from "@codemirror/state";
import { syntaxTree } from "@codemirror/language";
import {
  Decoration,
  type DecorationSet,
  EditorView,
  keymap,
  showTooltip,
  type Tooltip,
  ViewPlugin,
  type ViewUpdate,
} from "@codemirror/view";

import { messages } from "../messages";
import { pathFrom } from "../notes/paths";
import { type LinkIndex, noteHref, TAG, WIKILINK, wikilinkOf } from "../preview/links";
import { href } from "../routes";
import { keycaps } from "../shortcuts.svelte";
import { inCode } from "./code";

export interface LinkTarget {
  readonly from: number;
  readonly to: number;
  readonly href: string;
  readonly kind: "link" | "tag" | "missing";
}

const FINDER = new RegExp(`${WIKILINK.source}|(?<tag>${TAG.source})`, "gu");
const attributes = { title: messages.editor.openLink(keycaps("Mod")[0] ?? "") };
const MARKS = {
  link: Decoration.mark({ class: "cm-link", attributes }),
  missing: Decoration.mark({ class: "cm-link cm-missing", attributes }),
  tag: Decoration.mark({ class: "cm-tag", attributes }),
};

/** Find the links in a part of a text that begins at `offset`. */
function linksIn(text: string, offset: number, path: string, index: LinkIndex): LinkTarget[] {
  return Array.from(text.matchAll(FINDER), (match) => {
    const from = offset + match.index;
    const to = from + match[0].length;
    const tag = match.groups?.tag;
    if (tag) return { from, to, href: href("search", "", { q: tag }), kind: "tag" as const };
    const { target, heading } = wikilinkOf(match);
    const found = index.wikilink(target, path);
    return {
      from,
      to,
      href: found === null ? noteHref(pathFrom(target)) : noteHref(found, heading),
      kind: found === null ? ("missing" as const) : ("link" as const),
    };
  });
}

/** Mark links and follow them with `follow`; `place` says where we are, and is asked at every change. */
export function noteLinks(
  place: () => { path: string; index: LinkIndex },
  follow: (address: string) => void,
): Extension {
  const at = (state: EditorState, position: number): LinkTarget | undefined => {
    if (inCode(syntaxTree(state), position)) return undefined;
    const line = state.doc.lineAt(position);
    const { path, index } = place();
    return linksIn(line.text, line.from, path, index).find((one) => one.from <= position && position <= one.to);
  };

  const open = (view: EditorView, position: number): boolean => {
    const target = at(view.state, position);
    if (target) follow(target.href);
    return target !== undefined;
  };

  const plugin = ViewPlugin.fromClass(
    class {
      decorations: DecorationSet;

      constructor(view: EditorView) {
        this.decorations = decorate(view, place());
      }

      update(update: ViewUpdate): void {
        if (update.docChanged || update.viewportChanged || syntaxTree(update.state) !== syntaxTree(update.startState)) {
          this.decorations = decorate(update.view, place());
        }
      }
    },
    { decorations: (value) => value.decorations },
  );

  return [
    plugin,
    EditorView.domEventHandlers({
      click(event, view) {
        const position = view.posAtCoords({ x: event.clientX, y: event.clientY });
        const wanted = event.ctrlKey || event.metaKey || !view.state.facet(EditorView.editable);
        return wanted && position !== null && open(view, position);
      },
    }),
    // Where there is no link the key does what it always does.
    Prec.high(keymap.of([{ key: "Mod-Enter", run: (view) => open(view, view.state.selection.main.head) }])),
    matchMedia("(pointer: coarse)").matches ? touchLinks((state) => at(state, state.selection.main.head), follow) : [],
  ];
}

const focusChanged = StateEffect.define<boolean>();

/** Show a button beside the link at the cursor while the editor has the focus. */
function touchLinks(
  atCursor: (state: EditorState) => LinkTarget | undefined,
  follow: (address: string) => void,
): Extension {
  const offer = (state: EditorState): Tooltip | null => {
    const target = completionStatus(state) === null ? atCursor(state) : undefined;
    return target ? { pos: target.from, create: () => ({ dom: button(target, state, follow) }) } : null;
  };
  const offered = StateField.define<{ focused: boolean; tooltip: Tooltip | null }>({
    create: () => ({ focused: false, tooltip: null }),
    update({ focused, tooltip }, { state, docChanged, selection, effects }) {
      const now = effects.find((effect) => effect.is(focusChanged))?.value ?? focused;
      if (now === focused && !docChanged && !selection) return { focused, tooltip };
      return { focused: now, tooltip: now ? offer(state) : null };
    },
    provide: (field) => showTooltip.from(field, ({ tooltip }) => tooltip),
  });
  return [offered, EditorView.focusChangeEffect.of((_, focusing) => focusChanged.of(focusing))];
}

function button(target: LinkTarget, state: EditorState, follow: (address: string) => void): HTMLElement {
  const element = document.createElement("button");
  element.type = "button";
  element.className = "cm-follow";
  element.textContent = messages.editor.follow[target.kind](state.sliceDoc(target.from, target.to));
  // The editor keeps the focus, and with it this button, until the click.
  element.onmousedown = (event) => event.preventDefault();
  element.onclick = () => follow(target.href);
  return element;
}

function decorate(view: EditorView, { path, index }: { path: string; index: LinkIndex }): DecorationSet {
  const builder = new RangeSetBuilder<Decoration>();
  for (const { from, to } of view.visibleRanges) {
    for (const link of linksIn(view.state.sliceDoc(from, to), from, path, index)) {
      if (!inCode(syntaxTree(view.state), link.from + 1)) builder.add(link.from, link.to, MARKS[link.kind]);
    }
  }
  return builder.finish();
}
