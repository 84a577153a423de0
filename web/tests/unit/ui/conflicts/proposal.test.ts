import { history, undo, redo } from "@codemirror/commands";
import { EditorState, type TransactionSpec } from "@codemirror/state";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { placesOf, type Texts } from "../../../../src/ui/conflicts/places";
import { Places } from "../../../../src/ui/conflicts/proposal";

/** An editor without a page: a state, and what is done to it. */
class Editor {
  readonly places: Places;
  state: EditorState;

  constructor(doc: string, texts: Partial<Texts>) {
    const all = { first: "", second: "", base: null, merged: doc, spots: [], ...texts };
    this.places = new Places(doc, placesOf(doc, all));
    this.state = EditorState.create({ doc, extensions: [history({ newGroupDelay: 0 }), this.places.extension] });
  }

  readonly dispatch = (spec: TransactionSpec) => {
    this.state = this.state.update(spec).state;
  };

  choose(index: number, pick: "first" | "second" | "base" | "both"): this {
    this.dispatch(this.places.choose(this.state, index, pick));
    return this;
  }

  type(from: number, insert: string): this {
    this.dispatch({ changes: { from, insert } });
    return this;
  }

  undo(command = undo): this {
    command({ state: this.state, dispatch: (transaction) => (this.state = transaction.state) });
    return this;
  }

  get text(): string {
    return this.state.doc.toString();
  }

  get picks(): unknown[] {
    return this.places.picks(this.state);
  }
}

const trip = () =>
  new Editor("# Trip\nat six\nat seven\nend", {
    base: "# Trip\nat five\nend",
    first: "# Trip\nat six\nend",
    second: "# Trip\nat seven\nend",
  });

describe("Places", () => {
  it("puts what is picked at the place, one pick after the other", () => {
    const editor = trip();
    expect(editor.picks).toEqual(["both"]);
    expect(editor.choose(0, "second").text).toBe("# Trip\nat seven\nend");
    expect(editor.picks).toEqual(["second"]);
    expect(editor.choose(0, "base").text).toBe("# Trip\nat five\nend");
    expect(editor.choose(0, "both").text).toBe("# Trip\nat six\nat seven\nend");
  });

  it("follows the place while somebody types around it, and says where they typed in it", () => {
    const editor = trip().type(0, "new\n");
    expect(editor.picks).toEqual(["both"]);
    expect(editor.type("new\n# Trip\nat six".length, " o'clock").picks).toEqual([null]);
    expect(editor.choose(0, "first").text).toBe("new\n# Trip\nat six\nend");
  });

  it("knows the place again after undo and redo, though it was empty meanwhile", () => {
    const editor = new Editor("a\nmine\nz", { base: "a\nz", first: "a\nmine\nz", second: "a\nz" });
    editor.choose(0, "second");
    expect(editor.text).toBe("a\nz");
    expect(editor.undo().picks).toEqual(["first"]);
    expect(editor.undo(redo).picks).toEqual(["second"]);
    expect(editor.choose(0, "first").text).toBe("a\nmine\nz");
  });

  it("keeps what is typed at the end of the line before the last place out of it", () => {
    const editor = new Editor("a\nmine", { base: "a", first: "a\nmine", second: "a" }).type(1, "!");
    expect(editor.picks).toEqual(["first"]);
    expect(editor.choose(0, "second").text).toBe("a!");
    expect(editor.choose(0, "first").text).toBe("a!\nmine");
  });

  const line = fc.constantFrom("", "a", "b", "c", "d");
  const text = fc.array(line, { minLength: 1, maxLength: 8 }).map((lines) => lines.join("\n"));
  const picks = fc.array(fc.tuple(fc.nat(), fc.constantFrom("first" as const, "second" as const, "both" as const)));

  it("ends with one version whole, whatever was picked and undone before", () => {
    fc.assert(
      fc.property(text, text, text, picks, fc.nat(3), (doc, first, second, before, undos) => {
        const editor = new Editor(doc, { first, second });
        const count = editor.picks.length;
        if (count === 0) return;
        for (const [index, pick] of before) editor.choose(index % count, pick);
        for (let n = 0; n < undos; n += 1) editor.undo();
        for (let index = 0; index < count; index += 1) editor.choose(index, "first");
        expect(editor.text).toBe(first);
        for (let index = count - 1; index >= 0; index -= 1) editor.choose(index, "both");
        expect(editor.text).toBe(doc);
      }),
      { numRuns: 300 },
    );
  });
});
