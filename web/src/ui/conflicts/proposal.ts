/** The places of a proposal inside an editor: they move along while somebody types, and take what is picked. */

import { invertedEffects } from "@codemirror/commands";
import { StateEffect, StateField, type EditorState, type Extension, type TransactionSpec } from "@codemirror/state";
import { Decoration, EditorView, WidgetType, type DecorationSet } from "@codemirror/view";

import { splitLines } from "../diff/lines";
import { linesIn, pickedOf, rangeOf, render, type Pick, type Place, type Range } from "./places";

interface Tracked extends Range {
  place: Place;
}

/** A place gets `length` characters of its own, whatever typing beside it would mean. */
const replaced = StateEffect.define<{ index: number; length: number }>();

/** The place that is looked at; -1 for none. */
const looked = StateEffect.define<number>();

/** Follow the places of one proposal; make one for each editor. */
export class Places {
  readonly extension: Extension;
  private readonly tracked: StateField<readonly Tracked[]>;
  private readonly current: StateField<number>;

  /**
   * @param proposal the text that the editor starts with.
   * @param places of exactly this text.
   */
  constructor(proposal: string, places: readonly Place[]) {
    const lines = splitLines(proposal);
    const tracked = StateField.define<readonly Tracked[]>({
      create: () => places.map((place) => ({ place, ...rangeOf(lines, place.start, place.end) })),
      update: (value, transaction) => {
        if (!transaction.docChanged) return value;
        const effects = transaction.effects.filter((effect) => effect.is(replaced)).map((effect) => effect.value);
        return value.map((one, index) => {
          const own = effects.find((effect) => effect.index === index);
          const after = effects.some((effect) => effect.index < index);
          // A range of last lines begins with the line feed before them: what is typed there belongs to the line before.
          const startSide = !own && (after || one.edge === "last") ? 1 : -1;
          const from = transaction.changes.mapPos(one.from, startSide);
          const to = own ? from + own.length : transaction.changes.mapPos(one.to, one.edge === "inner" ? -1 : 1);
          return { ...one, from, to: Math.max(from, to) };
        });
      },
    });
    const current = StateField.define<number>({
      create: () => -1,
      update: (value, { effects }) => effects.findLast((effect) => effect.is(looked))?.value ?? value,
    });
    this.tracked = tracked;
    this.current = current;
    this.extension = [
      tracked,
      current,
      // Without this an undo could not tell the characters of a place from those beside it.
      invertedEffects.of((transaction) =>
        transaction.effects
          .filter((effect) => effect.is(replaced))
          .map(({ value: { index } }) => {
            const before = transaction.startState.field(tracked)[index] as Tracked;
            return replaced.of({ index, length: before.to - before.from });
          }),
      ),
      EditorView.decorations.compute([tracked, current], (state) => this.decorate(state)),
      theme,
    ];
  }

  /** Return what each place shows now; null where somebody typed something else. */
  picks(state: EditorState): (Pick | null)[] {
    return state
      .field(this.tracked)
      .map(({ place, from, to, edge }) => pickedOf(place, linesIn(state.sliceDoc(from, to), edge)));
  }

  /** Return the transaction that puts a pick at a place. */
  choose(state: EditorState, index: number, pick: Pick): TransactionSpec {
    const { place, from, to, edge } = state.field(this.tracked)[index] as Tracked;
    const insert = render(place.lines[pick] ?? [], edge);
    return {
      changes: { from, to, insert },
      effects: [replaced.of({ index, length: insert.length }), ...this.look(state, index)],
      userEvent: "input.choose",
    };
  }

  /** Return the effects that mark a place and bring it into view. */
  look(state: EditorState, index: number): StateEffect<unknown>[] {
    const at = state.field(this.tracked)[index];
    return at ? [looked.of(index), EditorView.scrollIntoView(at.from, { y: "center" })] : [looked.of(-1)];
  }

  private decorate(state: EditorState): DecorationSet {
    const current = state.field(this.current);
    const picks = this.picks(state);
    const marks = state.field(this.tracked).flatMap((one, index) => {
      const names = `cm-place cm-place-${picks[index] ?? "own"} ${index === current ? "cm-place-current" : ""}`;
      // The line feed at the edge of a range is no line of the place.
      const from = one.edge === "last" ? one.from + 1 : one.from;
      const to = one.edge === "inner" ? one.to - 1 : one.to;
      if (to < from) return [nothingHere(names).range(Math.min(one.to, state.doc.length))];
      const lines = [];
      for (let at = from; at <= to; at = state.doc.lineAt(at).to + 1)
        lines.push(Decoration.line({ class: names }).range(state.doc.lineAt(at).from));
      return lines;
    });
    return Decoration.set(marks, true);
  }
}

class Nothing extends WidgetType {
  constructor(private readonly names: string) {
    super();
  }

  override eq(other: Nothing): boolean {
    return other.names === this.names;
  }

  toDOM(): HTMLElement {
    const line = document.createElement("div");
    line.className = `${this.names} cm-place-nothing`;
    return line;
  }
}

function nothingHere(names: string): Decoration {
  return Decoration.widget({ widget: new Nothing(names), side: -1, block: true });
}

const theme = EditorView.baseTheme({
  ".cm-place": { boxShadow: "inset 3px 0 0 var(--line-strong)", background: "var(--sunken)" },
  ".cm-place-first": { boxShadow: "inset 3px 0 0 var(--tide)", background: "var(--tide-soft)" },
  ".cm-place-second": { boxShadow: "inset 3px 0 0 var(--warn)", background: "var(--warn-soft)" },
  ".cm-place-both": {
    boxShadow: "inset 3px 0 0 var(--tide), inset 6px 0 0 var(--warn)",
    background: "var(--sunken)",
  },
  ".cm-place-current": { outline: "2px solid var(--tide)", outlineOffset: "-2px" },
  ".cm-place-nothing": { height: "0.5rem" },
});
