/** Where somebody is in a note that gets another name: the editor of that name begins there. */
import type { StateEffect, TransactionSpec } from "@codemirror/state";
import type { EditorView } from "@codemirror/view";

interface Spot {
  readonly key: string;
  readonly anchor: number;
  readonly head: number;
  readonly scroll: StateEffect<unknown>;
}

let kept: Spot | undefined;

/** Keep the selection of an editor, and what of it is in view, for the one that opens `key`. */
export function keepSpot(key: string, view: EditorView): void {
  const { anchor, head } = view.state.selection.main;
  kept = { key, anchor, head, scroll: view.scrollSnapshot() };
}

/** Return the transaction that goes to what was kept for `key`, once; nothing if nothing was. */
export function takeSpot(key: string, { state }: EditorView): TransactionSpec {
  if (kept?.key !== key) return {};
  const { anchor, head, scroll } = kept;
  kept = undefined;
  // A shorter text came over.
  const within = (at: number) => Math.min(at, state.doc.length);
  return { selection: { anchor: within(anchor), head: within(head) }, effects: scroll };
}
