/** What every editor of notes can do. */
import {
  autocompletion,
  type CompletionContext,
  type CompletionResult,
  completionKeymap,
} from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { markdownKeymap, markdownLanguage } from "@codemirror/lang-markdown";
import { indentUnit } from "@codemirror/language";
import { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
import { EditorState, type Extension, RangeSetBuilder } from "@codemirror/state";
import {
  Decoration,
  type DecorationSet,
  drawSelection,
  dropCursor,
  EditorView,
  highlightSpecialChars,
  keymap,
  ViewPlugin,
  type ViewUpdate,
} from "@codemirror/view";

import { messages } from "../messages";
import { titleOf } from "../notes/tree";
import { direction } from "./direction";
import { editorTheme } from "./theme";

export interface Setup {
  /** What a screen reader calls the editor. */
  readonly label: string;
  /** The notes that a link can lead to. */
  readonly paths: () => readonly string[];
  /** Return a link to one of them. */
  readonly linkTo: (path: string) => string;
}

export function editorSetup({ label, paths, linkTo }: Setup): Extension {
  return [
    history(),
    drawSelection(),
    dropCursor(),
    highlightSpecialChars(),
    highlightSelectionMatches(),
    search({ top: true }),
    EditorState.phrases.of(messages.editor.phrases),
    EditorView.lineWrapping,
    direction,
    EditorView.contentAttributes.of({
      "aria-label": label,
      tabindex: "0",
      spellcheck: "true",
      autocapitalize: "sentences",
    }),
    indentUnit.of("  "),
    // Without the languages that `markdown()` brings for HTML, styles and scripts: half of the bundle.
    markdownLanguage,
    frontMatter,
    autocompletion({ override: [(context) => wikilinks(context, paths(), linkTo)], icons: false }),
    // Tab leaves the editor after Escape, as everywhere in CodeMirror; Ctrl-M lets it move the focus for good.
    keymap.of([
      ...markdownKeymap,
      ...completionKeymap,
      ...searchKeymap,
      ...historyKeymap,
      ...defaultKeymap,
      indentWithTab,
    ]),
    editorTheme,
  ];
}

/** Offer the notes of the vault after `[[`. */
function wikilinks(
  context: CompletionContext,
  paths: readonly string[],
  linkTo: (path: string) => string,
): CompletionResult | null {
  const open = context.matchBefore(/\[\[[^[\]\n|#]*/);
  if (!open) return null;
  return {
    from: open.from + 2,
    options: paths.map((path) => ({ label: titleOf(path), detail: path, apply: apply(() => linkTo(path)) })),
    validFor: /^[^[\]\n|#]*$/,
  };
}

/** Insert a link in the place of what was typed of one, with its end if it has one already. */
function apply(link: () => string) {
  return (view: EditorView, _: unknown, from: number, to: number): void => {
    const start = from - "[[".length;
    const end = view.state.sliceDoc(to, to + 2) === "]]" ? to + 2 : to;
    const insert = link();
    view.dispatch({
      changes: { from: start, to: end, insert },
      selection: { anchor: start + insert.length },
      userEvent: "input.complete",
    });
  };
}

// -- front matter: for Markdown it would be a heading

const FRONT_LINE = Decoration.line({ class: "cm-front" });

const frontMatter = ViewPlugin.fromClass(
  class {
    decorations: DecorationSet;

    constructor(view: EditorView) {
      this.decorations = frontLines(view);
    }

    update(update: ViewUpdate): void {
      if (update.docChanged) this.decorations = frontLines(update.view);
    }
  },
  { decorations: (value) => value.decorations },
);

function frontLines(view: EditorView): DecorationSet {
  const { doc } = view.state;
  const builder = new RangeSetBuilder<Decoration>();
  if (!/^\ufeff?---\s*$/.test(doc.line(1).text)) return builder.finish();
  let end = 2;
  while (end <= doc.lines && !/^(?:---|\.\.\.)\s*$/.test(doc.line(end).text)) end += 1;
  if (end > doc.lines) return builder.finish();
  for (let number = 1; number <= end; number += 1)
    builder.add(doc.line(number).from, doc.line(number).from, FRONT_LINE);
  return builder.finish();
}
