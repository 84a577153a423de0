/** Files that are dropped or pasted into a note: they become files of the vault, and links in the text. */
import { EditorView } from "@codemirror/view";
import type { Extension } from "@codemirror/state";

import { keyOfPath, type Replica } from "../../sync";
import { relativeAddress } from "../preview/links";
import { textIn } from "./text";

/** The folder of the vault for what is attached. */
const FOLDER = "attachments";

export interface Attaching {
  readonly replica: Replica;
  /** The note's path. */
  readonly path: string;
  readonly done: (name: string) => void;
  readonly failed: (name: string, error: unknown) => void;
}

/** Where a link goes once its file is stored: it moves along with what is written meanwhile. */
interface Place {
  readonly view: EditorView;
  at: number;
}

const places = new Set<Place>();

/** Attach what is dropped or pasted. */
export function attachments(attaching: Attaching): Extension {
  return [handlers(attaching), follow];
}

const follow = EditorView.updateListener.of(({ view, changes }) => {
  for (const place of places) if (place.view === view) place.at = changes.mapPos(place.at, -1);
});

function handlers(attaching: Attaching): Extension {
  return EditorView.domEventHandlers({
    paste(event, view) {
      const files = [...(event.clipboardData?.files ?? [])];
      if (!files.length || view.state.readOnly) return false;
      void attach(view, files, view.state.selection.main.from, attaching);
      return true;
    },
    drop(event, view) {
      const files = [...(event.dataTransfer?.files ?? [])];
      if (!files.length || view.state.readOnly) return false;
      event.preventDefault();
      const at = view.posAtCoords({ x: event.clientX, y: event.clientY }) ?? view.state.selection.main.from;
      void attach(view, files, at, attaching);
      return true;
    },
  });
}

/** What is attached at the same time must not choose the same name. */
let last: Promise<void> = Promise.resolve();

/** Store files and insert a link for each at a place of the text. */
export function attach(view: EditorView, files: readonly File[], at: number, attaching: Attaching): Promise<void> {
  const place = { view, at };
  places.add(place);
  last = last.then(() => attachNow(place, files, attaching)).finally(() => places.delete(place));
  return last;
}

async function attachNow(place: Place, files: readonly File[], attaching: Attaching): Promise<void> {
  const { replica, path, done, failed } = attaching;
  for (const file of files) {
    try {
      const target = await freePath(replica, file);
      const type = file.type || "application/octet-stream";
      const key = keyOfPath(target);
      const text = key.startsWith("note:") ? await textIn(file) : null;
      if (text === null) await replica.putBlob(key, file, type);
      else await replica.put(key, text, { base: [] });
      if (!place.view.dom.isConnected) throw new Error("the note was left");
      insert(place, linkTo(target, path, type.startsWith("image/")));
      done(file.name);
    } catch (error) {
      failed(file.name, error);
    }
  }
}

/** Insert a link; a cursor that still waits at its place goes on behind it. */
function insert(place: Place, link: string): void {
  const { view } = place;
  const from = Math.min(place.at, view.state.doc.length);
  const { main } = view.state.selection;
  const waits = main.empty && main.head === from;
  view.dispatch({ changes: { from, insert: link }, ...(waits && { selection: { anchor: from + link.length } }) });
  place.at = from + link.length;
}

function linkTo(target: string, path: string, picture: boolean): string {
  const name = target.slice(target.lastIndexOf("/") + 1).replace(/[[\]\\]/g, "\\$&");
  return `${picture ? "!" : ""}[${name}](${relativeAddress(target, path)})`;
}

/** Return a path that nothing has yet; pasted pictures all have the same name. */
async function freePath(replica: Replica, file: File): Promise<string> {
  const name = file.name.normalize("NFC").replace(/[\u0000-\u001f\u007f-\u009f/\\:*?"<>|]/g, "-") || "file";
  const dot = name.lastIndexOf(".");
  const [stem, ending] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
  for (let number = 1; ; number += 1) {
    const path = `${FOLDER}/${stem}${number > 1 ? ` (${String(number)})` : ""}${ending}`;
    if (!(await replica.get(keyOfPath(path)))) return path;
  }
}
