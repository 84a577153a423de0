import { history, redo, undo } from "@codemirror/commands";
import { EditorState, type TransactionSpec } from "@codemirror/state";
import fc from "fast-check";
import { expect, test } from "vitest";

import { fromEditor, lineEndOf, toEditor } from "../../../src/ui/editor/lines";
import { difference, hasUnsent, receive, save, saved, saveFailed, unsent } from "../../../src/ui/editor/unsent";

const dot = (timestamp: number): { timestamp: number; device_id: string } => ({ timestamp, device_id: "a" });

function start(doc: string): EditorState {
  return EditorState.create({ doc, extensions: [unsent, history()] });
}

/** An editor that runs transactions as a view does. */
class Editor {
  constructor(public state: EditorState) {}

  run(spec: TransactionSpec): this {
    this.state = this.state.update(spec).state;
    return this;
  }

  type(at: number, insert: string, remove = 0): this {
    const from = Math.min(at, this.state.doc.length);
    const to = Math.min(from + remove, this.state.doc.length);
    return this.run({ changes: { from, to, insert }, userEvent: "input.type" });
  }

  get text(): string {
    return this.state.doc.toString();
  }

  get command(): { state: EditorState; dispatch: (transaction: { state: EditorState }) => void } {
    return { state: this.state, dispatch: (transaction) => (this.state = transaction.state) };
  }
}

test("a remote edit arrives and leaves the unsent one alone", () => {
  const editor = new Editor(start("one two three")).type(13, " four");
  editor.run(receive(editor.state, "one 2 three", [dot(2)]));
  expect(editor.text).toBe("one 2 three four");
  expect(hasUnsent(editor.state)).toBe(true);
  expect(editor.state.field(unsent).base).toEqual([dot(2)]);
});

test("the cursor stays at its words", () => {
  const editor = new Editor(start("one three")).run({ selection: { anchor: 9 } });
  editor.run(receive(editor.state, "one two three", [dot(2)]));
  expect(editor.state.selection.main.head).toBe(13);
});

test("undo takes back one's own words only", () => {
  const editor = new Editor(start("a b")).type(3, " mine");
  editor.run(receive(editor.state, "theirs a b", [dot(2)]));
  undo(editor.command);
  expect(editor.text).toBe("theirs a b");
  redo(editor.command);
  expect(editor.text).toBe("theirs a b mine");
});

test("what is typed during a save is unsent afterwards", () => {
  const editor = new Editor(start("a")).type(1, "b");
  editor
    .run(save(editor.state))
    .type(2, "c")
    .run(saved(editor.state, dot(3)));
  expect(editor.state.field(unsent).synced.toString()).toBe("ab");
  expect(hasUnsent(editor.state)).toBe(true);
  editor.run(save(editor.state)).run(saved(editor.state, dot(4)));
  expect(hasUnsent(editor.state)).toBe(false);
});

test("a save that fails loses nothing", () => {
  const editor = new Editor(start("a")).type(1, "b");
  editor.run(save(editor.state)).type(2, "c").run(saveFailed(editor.state));
  const { synced, changes } = editor.state.field(unsent);
  expect(synced.toString()).toBe("a");
  expect(changes.apply(synced).toString()).toBe("abc");
});

const step = fc.oneof(
  fc.record({
    kind: fc.constant("type" as const),
    at: fc.nat(30),
    insert: fc.string({ maxLength: 4 }),
    remove: fc.nat(3),
  }),
  fc.record({ kind: fc.constant("remote" as const), text: fc.string({ maxLength: 30 }) }),
  fc.record({ kind: fc.constant("save" as const), typed: fc.string({ maxLength: 3 }), fails: fc.boolean() }),
  fc.record({ kind: fc.constant("undo" as const) }),
);

test("the document is always the synced text with the unsent changes, whatever happens", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 30 }), fc.array(step, { maxLength: 25 }), (text, steps) => {
      const editor = new Editor(start(text));
      steps.forEach((one, index) => {
        if (one.kind === "type") editor.type(one.at, one.insert, one.remove);
        if (one.kind === "undo") undo(editor.command);
        if (one.kind === "remote") editor.run(receive(editor.state, one.text, [dot(index + 1)]));
        if (one.kind === "save") {
          editor.run(save(editor.state)).type(0, one.typed);
          editor.run(one.fails ? saveFailed(editor.state) : saved(editor.state, dot(index + 1)));
        }
        const { synced, changes } = editor.state.field(unsent);
        expect(changes.apply(synced).eq(editor.state.doc)).toBe(true);
      });
    }),
  );
});

test("words typed before a remote edit are all there after it", () => {
  const words = fc.stringMatching(/^[a-z]{3,8}$/);
  fc.assert(
    fc.property(fc.lorem(), fc.lorem(), words, fc.nat(), (before, after, word, at) => {
      const mine = `<${word}>`;
      const editor = new Editor(start(before)).type(at % (before.length + 1), mine);
      editor.run(receive(editor.state, after, [dot(2)]));
      expect(editor.text).toContain(mine);
      expect(editor.text.replace(mine, "")).toBe(after);
    }),
  );
});

test("a difference makes one text of the other", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), fc.string({ unit: "grapheme" }), (from, to) => {
      const state = EditorState.create({ doc: from, extensions: EditorState.lineSeparator.of("\n") });
      expect(difference(state.doc, to).apply(state.doc).toString()).toBe(to);
    }),
  );
});

test("line ends survive the editor", () => {
  expect(lineEndOf("a\r\nb\r\n")).toBe("\r\n");
  expect(lineEndOf("a\r\nb\n")).toBe("\n");
  expect(lineEndOf("a\rb\r\n")).toBe("\n");
  expect(lineEndOf("\n\r\n")).toBe("\n");
  const text = fc.array(fc.constantFrom("a", "\n", "\r", "\r\n")).map((parts) => parts.join(""));
  fc.assert(fc.property(text, (one) => fromEditor(toEditor(one, lineEndOf(one)), lineEndOf(one)) === one));
});
