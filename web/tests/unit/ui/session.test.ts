// @vitest-environment jsdom
import "fake-indexeddb/auto";

import { history, undo } from "@codemirror/commands";
import { EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { afterEach, expect, test, vi } from "vitest";

import { Replica, TidenoteError } from "../../../src/sync";
import { NoteSession, type NoteState } from "../../../src/ui/editor/session";

// jsdom lays nothing out.
Range.prototype.getClientRects = () => [] as unknown as DOMRectList;

const KEY = "note:a.md";
const closers: (() => Promise<unknown>)[] = [];
let count = 0;

afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

async function openReplica(): Promise<Replica> {
  count += 1;
  const replica = await Replica.open({ endpoint: "http://127.0.0.1:1", vault: `v${String(count)}`, deviceId: "phone" });
  closers.push(() => replica.close());
  return replica;
}

interface Opened {
  readonly session: NoteSession;
  readonly view: EditorView;
  readonly states: NoteState[];
  readonly told: string[];
  readonly notes: (string | null)[];
  type(text: string): void;
}

async function openNote(replica: Replica): Promise<Opened> {
  const view = new EditorView();
  const states: NoteState[] = [];
  const told: string[] = [];
  const notes: (string | null)[] = [];
  const extensions = [history(), NoteSession.extensions(() => session.scheduleSave())];
  view.setState(EditorState.create({ extensions }));
  const session: NoteSession = new NoteSession(replica, KEY, view, extensions, () => true, {
    state: (state) => states.push(state),
    note: (note) => notes.push(note?.text ?? null),
    kept: () => told.push("kept"),
    moved: (path) => told.push(`moved ${path}`),
    failed: (error) => told.push(`failed ${String(error)}`),
    recovered: () => told.push("recovered"),
  });
  closers.unshift(() => session.end());
  await session.refresh();
  const type = (text: string): void => view.dispatch({ changes: { from: view.state.doc.length, insert: text } });
  return { session, view, states, told, notes, type };
}

async function textIn(replica: Replica, key = KEY): Promise<string | null | undefined> {
  return (await replica.get(key))?.text;
}

test("what is typed is saved by itself, based on what was shown", async () => {
  const replica = await openReplica();
  const first = await replica.put(KEY, "one");
  const { type } = await openNote(replica);
  type(" two");
  await vi.waitFor(async () => expect(await textIn(replica)).toBe("one two"), { timeout: 30_000 });
  expect((await replica.get(KEY))?.dot.timestamp).toBeGreaterThan(first.timestamp);
});

test("another write arrives in the open note beside what is unsent, and undo leaves it", async () => {
  const replica = await openReplica();
  await replica.put(KEY, "one");
  const { type, view, session } = await openNote(replica);
  type(" two");
  await replica.put(KEY, "zero one");
  await session.refresh();
  expect(view.state.doc.toString()).toBe("zero one two");
  await session.flush();
  expect(await textIn(replica)).toBe("zero one two");
  undo(view);
  expect(view.state.doc.toString()).toBe("zero one");
});

test("carriage returns come back as they were", async () => {
  const replica = await openReplica();
  await replica.put(KEY, "one\r\ntwo\r\n");
  const { type, session, view } = await openNote(replica);
  expect(view.state.doc.lines).toBe(3);
  type("three\n");
  await session.flush();
  expect(await textIn(replica)).toBe("one\r\ntwo\r\nthree\r\n");
});

for (const [name, end] of [
  ["line feeds", "\n"],
  ["carriage returns", "\r\n"],
])
  test(`what is pasted with other line ends gets the note's own: ${String(name)}`, async () => {
    const replica = await openReplica();
    await replica.put(KEY, `one${String(end)}`);
    const { session, view } = await openNote(replica);
    view.dispatch({ selection: { anchor: view.state.doc.length } });
    const paste = new Event("paste", { cancelable: true });
    view.contentDOM.dispatchEvent(Object.assign(paste, { clipboardData: { getData: () => "two\r\nthree\rfour\n" } }));
    await session.flush();
    expect(await textIn(replica)).toBe(["one", "two", "three", "four", ""].join(end));
  });

test("a note that is deleted elsewhere stays on the screen, and comes back if somebody says so", async () => {
  const replica = await openReplica();
  await replica.put(KEY, "one");
  const { session, states, view } = await openNote(replica);
  await replica.delete([KEY]);
  await session.refresh();
  expect(states.at(-1)).toBe("deleted");
  expect(view.state.doc.toString()).toBe("one");
  await session.revive();
  expect(await textIn(replica)).toBe("one");
  expect(states.at(-1)).toBe("open");
});

test("text that nobody has seen outlives a deletion, and its author is told", async () => {
  const replica = await openReplica();
  await replica.put(KEY, "one");
  const { session, type, told } = await openNote(replica);
  type(" two");
  await replica.delete([KEY]);
  await session.refresh();
  expect(told).toEqual(["kept"]);
  expect(await textIn(replica)).toBe("one two");
});

test("a note that is renamed elsewhere is followed", async () => {
  const replica = await openReplica();
  await replica.put(KEY, "one");
  const { session, told } = await openNote(replica);
  await replica.rename([[KEY, "note:b.md"]]);
  await session.refresh();
  expect(told).toEqual(["moved b.md"]);
});

test("a save that is refused keeps the text unsent and says so", async () => {
  const replica = await openReplica();
  await replica.put(KEY, "one");
  const { session, type, told, view } = await openNote(replica);
  vi.spyOn(replica, "put").mockRejectedValueOnce(new Error("full"));
  type(" two");
  await session.flush();
  expect(told).toEqual(["failed Error: full"]);
  expect(view.state.doc.toString()).toBe("one two");
  await session.flush();
  expect(await textIn(replica)).toBe("one two");
});

test("what is not there is absent, and appears when it is written", async () => {
  const replica = await openReplica();
  const { session, states, view } = await openNote(replica);
  expect(states).toEqual(["absent"]);
  await session.revive("new");
  expect(states.at(-1)).toBe("open");
  expect(view.state.doc.toString()).toBe("new");
});

test("bytes that are no text are not shown as text", async () => {
  const replica = await openReplica();
  const blob = { sha256: "0".repeat(64), size: 3 };
  const dot = { timestamp: 1, device_id: "phone" };
  vi.spyOn(replica, "get").mockResolvedValue({
    key: KEY,
    text: null,
    blob,
    dot,
    siblings: [],
    conflict: false,
    pending: false,
  });
  vi.spyOn(replica, "blob").mockResolvedValue(new Blob([new Uint8Array([0xff, 0xfe, 0])]));
  const { states } = await openNote(replica);
  expect(states).toEqual(["binary"]);
});

test("text that was being typed goes beside bytes that take its place", async () => {
  const replica = await openReplica();
  await replica.put(KEY, "one");
  const { session, type, states } = await openNote(replica);
  type(" two");
  const put = vi.spyOn(replica, "put");
  const blob = { sha256: "0".repeat(64), size: 3 };
  const dot = { timestamp: 9, device_id: "laptop" };
  const bytes = { key: KEY, text: null, blob, dot, siblings: [], conflict: false, pending: false };
  vi.spyOn(replica, "get").mockResolvedValue(bytes);
  vi.spyOn(replica, "blob").mockResolvedValue(new Blob([new Uint8Array([0xff, 0xfe, 0])]));
  await session.refresh();
  expect(put).toHaveBeenCalledWith(KEY, "one two", expect.objectContaining({ live: true }));
  expect(states.at(-1)).toBe("binary");
});

test("a tab that goes away hands over what is unsent, and writes nothing more", async () => {
  const replica = await openReplica();
  const dot = await replica.put(KEY, "one");
  const { session, type } = await openNote(replica);
  expect(session.leave()).toBeNull();
  const again = await openNote(replica);
  again.type(" two");
  expect(again.session.leave()).toEqual({ text: "one two", base: [dot], saving: null });
  type(" three");
  await again.session.flush();
  await session.flush();
  expect(await textIn(replica)).toBe("one");
});

test("a deletion that meets text which waits to be sent is told of, once", async () => {
  const replica = await openReplica();
  await replica.put(KEY, "one");
  const { session, told } = await openNote(replica);
  const note = await replica.get(KEY);
  if (!note) throw new Error("no note");
  const deletion = { key: KEY, value: null, deleted: true as const, timestamp: 9, device_id: "laptop", base: [] };
  vi.spyOn(replica, "get").mockResolvedValue({ ...note, pending: true, siblings: [...note.siblings, deletion] });
  await session.refresh();
  await session.refresh();
  expect(told).toEqual(["kept"]);
});

test("what arrives after somebody has gone on is neither shown nor told", async () => {
  const replica = await openReplica();
  await replica.put(KEY, "one");
  const { session, states, told, notes, type } = await openNote(replica);
  type(" two");
  await session.flush();
  // One's own new name for the note, and away to it.
  await replica.rename([[KEY, "note:b.md"]]);
  expect(await session.end()).toBeNull();
  expect(states).toEqual(["open"]);
  expect(told).toEqual([]);
  expect(notes.at(-1)).toBe("one two");
});

test("what cannot be saved when somebody goes on is handed over", async () => {
  const replica = await openReplica();
  const dot = await replica.put(KEY, "one");
  const { session, told, type } = await openNote(replica);
  vi.spyOn(replica, "put").mockRejectedValue(new Error("full"));
  type(" two");
  expect(await session.end()).toEqual({ text: "one two", base: [dot], saving: null });
  expect(told).toEqual([]);
});

test("a failure is told once, and again after a save that went well", async () => {
  const replica = await openReplica();
  await replica.put(KEY, "one");
  const { session, told, type } = await openNote(replica);
  for (const word of [" two", " three"]) {
    const put = vi.spyOn(replica, "put").mockRejectedValue(new Error("full"));
    type(word);
    await session.flush();
    await session.flush();
    put.mockRestore();
    await session.flush();
  }
  expect(told).toEqual(["failed Error: full", "recovered", "failed Error: full", "recovered"]);
  expect(await textIn(replica)).toBe("one two three");
});

test("half of a character is saved as none, and nothing after it is lost", async () => {
  const replica = await openReplica();
  await replica.put(KEY, "one");
  const { session, told, type, view } = await openNote(replica);
  type(" \ud83d two");
  await session.flush();
  type(" three");
  await session.flush();
  expect(told).toEqual([]);
  expect(await textIn(replica)).toBe("one \ufffd two three");
  expect(view.state.doc.toString()).toBe("one \ufffd two three");
});

/** Let a replica have a note whose text is so long that it has to be fetched. */
function long(replica: Replica): void {
  const blob = { sha256: "0".repeat(64), size: 3 };
  const dot = { timestamp: 9, device_id: "laptop" };
  const note = { key: KEY, text: null, blob, dot, siblings: [], conflict: false, pending: false };
  vi.spyOn(replica, "get").mockResolvedValue(note);
}

test("a text that has to be fetched is away until it can be", async () => {
  const replica = await openReplica();
  long(replica);
  const blob = vi.spyOn(replica, "blob").mockRejectedValue(new TidenoteError("unreachable", "no answer"));
  const { session, states, told, view } = await openNote(replica);
  expect(states).toEqual(["away"]);
  expect(told).toEqual([]);
  blob.mockResolvedValue(new Blob(["long"]));
  await session.refresh();
  expect(states).toEqual(["away", "open"]);
  expect(view.state.doc.toString()).toBe("long");
});

test("a longer text that cannot be fetched leaves the one that is open alone", async () => {
  const replica = await openReplica();
  await replica.put(KEY, "one");
  const { session, states, type, view } = await openNote(replica);
  long(replica);
  const blob = vi.spyOn(replica, "blob").mockRejectedValue(new TidenoteError("unreachable", "no answer"));
  await session.refresh();
  type(" two");
  expect(states).toEqual(["open"]);
  blob.mockResolvedValue(new Blob(["one and long"]));
  await session.refresh();
  expect(view.state.doc.toString()).toBe("one and long two");
});

test("another write waits for the end of what is being composed", async () => {
  const replica = await openReplica();
  await replica.put(KEY, "one");
  const { session, view } = await openNote(replica);
  view.contentDOM.dispatchEvent(new Event("compositionstart"));
  view.dispatch({ changes: { from: 3, insert: " に" } });
  await replica.put(KEY, "1");
  await session.refresh();
  expect(view.state.doc.toString()).toBe("one に");
  view.contentDOM.dispatchEvent(new Event("compositionend"));
  await session.refresh();
  expect(view.state.doc.toString()).toBe("1 に");
});

test("a note that goes elsewhere stays until what is being composed has ended", async () => {
  const replica = await openReplica();
  await replica.put(KEY, "one");
  const { session, told, view } = await openNote(replica);
  view.contentDOM.dispatchEvent(new Event("compositionstart"));
  await replica.rename([[KEY, "note:b.md"]]);
  await session.refresh();
  expect(told).toEqual([]);
  view.contentDOM.dispatchEvent(new Event("compositionend"));
  await session.refresh();
  expect(told).toEqual(["moved b.md"]);
});
