// @vitest-environment jsdom
import { File as NodeFile } from "node:buffer";

import { EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { expect, test, vi } from "vitest";

import type { Replica } from "../../../src/sync";
import { attach, attachments, type Attaching } from "../../../src/ui/editor/attachments";

const FILE = new File(["bytes"], "a.png", { type: "image/png" });
const LINK = "![a.png](attachments/a.png)";

/** An editor, and a replica that stores a file when it is told to. */
function setup(doc: string) {
  const told: string[] = [];
  const stored: (() => void)[] = [];
  const replica = {
    get: () => Promise.resolve(null),
    putBlob: () => new Promise<void>((resolve) => stored.push(resolve)),
  } as unknown as Replica;
  const attaching: Attaching = {
    replica,
    path: "note.md",
    done: (name) => told.push(`done ${name}`),
    failed: (name) => told.push(`failed ${name}`),
  };
  const view = new EditorView({
    parent: document.body,
    state: EditorState.create({ doc, extensions: attachments(attaching) }),
  });
  const store = async (): Promise<void> => {
    await vi.waitFor(() => expect(stored).toHaveLength(1), { timeout: 30_000 });
    stored.pop()?.();
  };
  return { view, told, attaching, store, text: () => view.state.doc.toString() };
}

test("what is typed and selected while a file is stored stays, and the link goes where it was meant to", async () => {
  const { view, attaching, store, text, told } = setup("one two");
  const done = attach(view, [FILE], 3, attaching);
  view.dispatch({ changes: { from: 0, insert: "zero " } });
  view.dispatch({ selection: { anchor: 9, head: 12 } });
  await store();
  await done;
  expect(text()).toBe(`zero one${LINK} two`);
  expect(view.state.sliceDoc(view.state.selection.main.from, view.state.selection.main.to)).toBe("two");
  expect(told).toEqual(["done a.png"]);
});

test("who waits at the place goes on behind the links", async () => {
  const { view, attaching, store, text } = setup("one");
  view.dispatch({ selection: { anchor: 3 } });
  const done = attach(view, [FILE, FILE], 3, attaching);
  await store();
  await store();
  await done;
  view.dispatch(view.state.replaceSelection(" two"));
  expect(text()).toBe(`one${LINK}${LINK} two`);
});

test("a note that was left gets no link, and that is said", async () => {
  const { view, attaching, store, text, told } = setup("one");
  const done = attach(view, [FILE], 3, attaching);
  view.destroy();
  await store();
  await done;
  expect(text()).toBe("one");
  expect(told).toEqual(["failed a.png"]);
});

test.each([
  ["UTF-8", "a.csv", [0xc3, 0xbc, 0], "put"],
  ["a byte-order mark", "a.csv", [0xef, 0xbb, 0xbf, 0x61], "put"],
  ["Latin-1", "a.csv", [0xfc], "putBlob"],
  ["no text by its name", "a.png", [0x61], "putBlob"],
])("%s is stored byte for byte", async (_, name, bytes, by) => {
  let stored: string | Blob = "";
  const put = (_: string, what: string | Blob): Promise<void> => {
    stored = what;
    return Promise.resolve();
  };
  const { view, attaching } = setup("");
  const replica = { get: () => Promise.resolve(null), [by]: put } as unknown as Replica;
  // Those of jsdom cannot be read.
  const file = new NodeFile([new Uint8Array(bytes)], name) as unknown as File;
  await attach(view, [file], 0, { ...attaching, replica });
  expect([...new Uint8Array(await new Response(stored).arrayBuffer())]).toEqual(bytes);
});
