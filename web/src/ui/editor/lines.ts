/**
 * Line ends. The editor knows `\n` only; a text whose lines all end with `\r\n` is shown without the `\r` and saved with
 * it. In a mixed text every `\r` stays where it is, as a character, so that each byte of other people survives.
 */
import { EditorState, type Extension } from "@codemirror/state";
import { EditorView } from "@codemirror/view";

export type LineEnd = "\n" | "\r\n";

/** Return which line end a text has throughout; "\n" if it has both. */
export function lineEndOf(text: string): LineEnd {
  return text.includes("\r\n") && !/(?:^|[^\r])\n|\r(?!\n)/.test(text) ? "\r\n" : "\n";
}

export function toEditor(text: string, end: LineEnd): string {
  return end === "\n" ? text : text.replaceAll("\r\n", "\n");
}

export function fromEditor(text: string, end: LineEnd): string {
  return end === "\n" ? text : text.replaceAll("\n", "\r\n");
}

/** What every editor needs for that. */
export const lineEnds: Extension = [
  EditorState.lineSeparator.of("\n"),
  // What is pasted or dropped has the line ends of the system that it comes from.
  EditorView.clipboardInputFilter.of((text) => text.replace(/\r\n?/g, "\n")),
];
