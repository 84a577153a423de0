/**
 * What stands in the editor and not yet in the replica, as CodeMirror change sets: remote edits are mapped over it, so
 * that neither side loses a keystroke.
 *
 * The document is always `synced` with `changes` applied. `synced` is the text of the version `base`.
 */
import { diff } from "@codemirror/merge";
import {
  Annotation,
  ChangeSet,
  type EditorState,
  StateField,
  type Text,
  Transaction,
  type TransactionSpec,
} from "@codemirror/state";

import type { Dot } from "../../sync";

export interface Unsent {
  /** The versions that the text is based on; empty for a note that did not exist. */
  readonly base: readonly Dot[];
  readonly synced: Text;
  /** From `synced` to the document. */
  readonly changes: ChangeSet;
  /** While the document of a moment is being saved: that document, and the changes since. */
  readonly saving: { readonly text: Text; readonly since: ChangeSet } | null;
}

/** Replaces the field's value in one transaction with the document's change. */
const settled = Annotation.define<Unsent>();

/** Above this many changed characters the difference is found faster and less finely. */
const SCAN_LIMIT = 2_000;
const DIFF_TIMEOUT_MS = 100;

export const unsent = StateField.define<Unsent>({
  create: (state) => fresh(state.doc, []),
  update(value, transaction) {
    const given = transaction.annotation(settled);
    if (given) return given;
    if (!transaction.docChanged) return value;
    const { saving } = value;
    return {
      ...value,
      changes: value.changes.compose(transaction.changes),
      saving: saving && { ...saving, since: saving.since.compose(transaction.changes) },
    };
  },
});

/** Return the value of a document that is exactly the version `base`. */
export function fresh(text: Text, base: readonly Dot[]): Unsent {
  return { base, synced: text, changes: ChangeSet.empty(text.length), saving: null };
}

/** Say whether the editor holds anything that the replica does not. */
export function hasUnsent(state: EditorState): boolean {
  return !state.field(unsent).changes.empty;
}

/** Begin a save of the document as it is; `saved` or `saveFailed` ends it. */
export function save(state: EditorState): TransactionSpec {
  const value = state.field(unsent);
  return settle({ ...value, saving: { text: state.doc, since: ChangeSet.empty(state.doc.length) } });
}

/** The save went well: what was written is the base of what comes next. */
export function saved(state: EditorState, dot: Dot): TransactionSpec {
  const value = state.field(unsent);
  if (!value.saving) return {};
  return settle({ base: [dot], synced: value.saving.text, changes: value.saving.since, saving: null });
}

/** The save did not go well: everything since the old base is still unsent. */
export function saveFailed(state: EditorState): TransactionSpec {
  return settle({ ...state.field(unsent), saving: null });
}

/**
 * Take in another version of the note. Its difference to the old one is mapped over what is unsent; a text inserted at
 * the same place goes before the local one, so that what is being typed stays in one piece.
 */
export function receive(state: EditorState, text: string, base: readonly Dot[]): TransactionSpec {
  const value = state.field(unsent);
  const remote = difference(value.synced, text);
  return {
    changes: remote.map(value.changes, true),
    annotations: [
      settled.of({
        base,
        synced: remote.apply(value.synced),
        changes: value.changes.map(remote),
        saving: null,
      }),
      Transaction.addToHistory.of(false),
      Transaction.remote.of(true),
    ],
  };
}

/** Return the smallest changes that make one text of another. */
export function difference(from: Text, to: string): ChangeSet {
  const old = from.toString();
  if (old === to) return ChangeSet.empty(from.length);
  const spots = diff(old, to, { scanLimit: SCAN_LIMIT, timeout: DIFF_TIMEOUT_MS });
  return ChangeSet.of(
    spots.map(({ fromA, toA, fromB, toB }) => ({ from: fromA, to: toA, insert: to.slice(fromB, toB) })),
    from.length,
    "\n",
  );
}

function settle(value: Unsent): TransactionSpec {
  return { annotations: [settled.of(value), Transaction.addToHistory.of(false)] };
}
