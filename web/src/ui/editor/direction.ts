/** Each line runs the way its first letter does, so that Hebrew and Arabic are right to left beside other text. */
import { type Extension, RangeSetBuilder } from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView } from "@codemirror/view";

const AUTO = Decoration.line({ attributes: { dir: "auto" } });

export const direction: Extension = [
  // What the attribute comes to is what the cursor follows.
  EditorView.perLineTextDirection.of(true),
  EditorView.decorations.of(linesInView),
];

function linesInView({ state: { doc }, viewport }: EditorView): DecorationSet {
  const builder = new RangeSetBuilder<Decoration>();
  for (let at = viewport.from; at <= viewport.to;) {
    const { from, to } = doc.lineAt(at);
    builder.add(from, from, AUTO);
    at = to + 1;
  }
  return builder.finish();
}
