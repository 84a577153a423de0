// @vitest-environment jsdom
import { gotoLine, openSearchPanel } from "@codemirror/search";
import { EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { afterEach, expect, test } from "vitest";

import { editorSetup } from "../../../src/ui/editor/setup";
import { messages } from "../../../src/ui/messages";

// jsdom lays nothing out.
Range.prototype.getClientRects = () => [] as unknown as DOMRectList;

afterEach(() => document.body.replaceChildren());

for (const open of [openSearchPanel, gotoLine])
  test(`what ${open.name} shows is said in the app's words`, () => {
    const extensions = editorSetup({ label: "Text", paths: () => [], linkTo: String });
    const view = new EditorView({ parent: document.body, state: EditorState.create({ doc: "one", extensions }) });
    open(view);
    const panel = view.dom.querySelector(".cm-panel");
    const named = [...(panel?.querySelectorAll("input, button, label") ?? [])].flatMap((element) => [
      element.getAttribute("aria-label"),
      element.getAttribute("placeholder"),
      element.textContent,
    ]);
    const said = named.map((text) => text?.trim()).filter((text) => text && text !== "×" && text !== "Go to line:");
    expect(said.length).toBeGreaterThan(1);
    for (const text of said) expect(Object.values(messages.editor.phrases)).toContain(text);
    view.destroy();
  });
