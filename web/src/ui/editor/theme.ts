/** How an editor looks. Colours are the page's own variables, which reach into its shadow root. */
import { HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import type { Extension } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { tags } from "@lezer/highlight";

const look = EditorView.theme({
  "&": { height: "100%", color: "var(--ink)", backgroundColor: "transparent", fontSize: "1.0625rem" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--font-read)", lineHeight: "1.65", overflowAnchor: "none" },
  ".cm-content": {
    boxSizing: "border-box",
    width: "100%",
    maxWidth: "46rem",
    margin: "0 auto",
    padding: "1.25rem 1.25rem 45vh",
    caretColor: "var(--tide-strong)",
  },
  ".cm-line": { padding: "0" },
  ".cm-cursor": { borderLeftColor: "var(--tide-strong)", borderLeftWidth: "2px" },
  "& > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, &.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground":
    { backgroundColor: "var(--select)" },
  ".cm-panels": { backgroundColor: "var(--sunken)", color: "var(--ink)", fontFamily: "var(--font-ui)" },
  ".cm-panels.cm-panels-top": { borderBottom: "1px solid var(--line)" },
  ".cm-textfield": { borderColor: "var(--line-strong)", backgroundColor: "var(--surface)", fontSize: "inherit" },
  ".cm-button": { backgroundImage: "none", backgroundColor: "var(--surface)", borderColor: "var(--line-strong)" },
  ".cm-searchMatch": { backgroundColor: "var(--warn-soft)", outline: "1px solid var(--warn)" },
  ".cm-searchMatch-selected": { backgroundColor: "var(--select)" },
  ".cm-tooltip": { backgroundColor: "var(--surface)", borderColor: "var(--line)", color: "var(--ink)" },
  ".cm-tooltip-autocomplete > ul > li[aria-selected]": { backgroundColor: "var(--tide)", color: "var(--on-tide)" },
  ".cm-follow": {
    minHeight: "var(--touch)",
    maxWidth: "80vw",
    padding: "0 1rem",
    overflow: "hidden",
    borderRadius: "var(--radius)",
    borderColor: "var(--tide)",
    color: "var(--tide-strong)",
    fontFamily: "var(--font-ui)",
    fontSize: "1rem",
    fontWeight: "500",
    textOverflow: "ellipsis",
    whiteSpace: "nowrap",
    boxShadow: "var(--shadow)",
  },
  ".cm-link": { color: "var(--tide)", textDecoration: "underline", textUnderlineOffset: "0.18em", cursor: "pointer" },
  ".cm-tag": { color: "var(--tide)", cursor: "pointer" },
  ".cm-missing": { textDecorationStyle: "dashed" },
  ".cm-front, .cm-front *": {
    color: "var(--ink-soft) !important",
    fontFamily: "var(--font-code)",
    fontSize: "0.875rem !important",
    fontWeight: "400 !important",
  },
  ".cm-specialChar": { color: "var(--danger)" },
});

const highlight = HighlightStyle.define([
  { tag: tags.heading1, fontWeight: "650", fontSize: "1.5em", lineHeight: "1.3" },
  { tag: tags.heading2, fontWeight: "650", fontSize: "1.25em", lineHeight: "1.35" },
  { tag: tags.heading, fontWeight: "650", fontSize: "1.08em" },
  { tag: tags.strong, fontWeight: "700" },
  { tag: tags.emphasis, fontStyle: "italic" },
  { tag: tags.strikethrough, textDecoration: "line-through" },
  { tag: [tags.link, tags.url], color: "var(--tide)" },
  { tag: tags.quote, color: "var(--ink-soft)", fontStyle: "italic" },
  { tag: tags.monospace, fontFamily: "var(--font-code)", fontSize: "0.9em" },
  { tag: [tags.processingInstruction, tags.contentSeparator, tags.labelName], color: "var(--ink-soft)" },
  { tag: [tags.keyword, tags.atom, tags.bool], color: "var(--tide-strong)" },
  { tag: [tags.string, tags.number], color: "var(--good)" },
  { tag: tags.comment, color: "var(--ink-soft)" },
]);

export const editorTheme: Extension = [look, syntaxHighlighting(highlight)];
