/** Folders and notes as rows, and what of them is shown. Pure: paths in, rows out. */
import type { NoteInfo } from "../../sync";

export interface Folder {
  readonly name: string;
  readonly path: string;
  readonly folders: Folder[];
  readonly notes: NoteInfo[];
  /** How many notes are in it, at any depth. */
  count: number;
}

export interface Row {
  /** A folder's path ends with a slash. */
  readonly id: string;
  readonly name: string;
  /** From 1. */
  readonly level: number;
  readonly position: number;
  readonly setSize: number;
  readonly folder?: { readonly open: boolean; readonly count: number };
  readonly note?: NoteInfo;
}

const byName = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/** Return the folder of everything. */
export function treeOf(notes: readonly NoteInfo[]): Folder {
  const root: Folder = { name: "", path: "", folders: [], notes: [], count: 0 };
  const known = new Map<string, Folder>([["", root]]);
  for (const note of notes) {
    const slash = note.path.lastIndexOf("/");
    folderAt(slash < 0 ? "" : note.path.slice(0, slash + 1), known).notes.push(note);
  }
  finish(root);
  return root;
}

function folderAt(path: string, known: Map<string, Folder>): Folder {
  const found = known.get(path);
  if (found) return found;
  const slash = path.lastIndexOf("/", path.length - 2);
  const folder: Folder = { name: path.slice(slash + 1, -1), path, folders: [], notes: [], count: 0 };
  known.set(path, folder);
  folderAt(path.slice(0, slash + 1), known).folders.push(folder);
  return folder;
}

/** Sort what is in a folder, and count it. */
function finish(folder: Folder): void {
  folder.folders.forEach(finish);
  folder.folders.sort((a, b) => byName.compare(a.name, b.name));
  folder.notes.sort((a, b) => byName.compare(titleOf(a.path), titleOf(b.path)));
  folder.count = folder.notes.length + folder.folders.reduce((sum, one) => sum + one.count, 0);
}

/** Return the rows that are shown while these folders are open. */
export function rowsOf(root: Folder, open: ReadonlySet<string>): Row[] {
  const rows: Row[] = [];
  const add = (folder: Folder, level: number): void => {
    const setSize = folder.folders.length + folder.notes.length;
    folder.folders.forEach((one, index) => {
      const isOpen = open.has(one.path);
      rows.push({
        id: one.path,
        name: one.name,
        level,
        position: index + 1,
        setSize,
        folder: { open: isOpen, count: one.count },
      });
      if (isOpen) add(one, level + 1);
    });
    folder.notes.forEach((note, index) => {
      const position = folder.folders.length + index + 1;
      rows.push({ id: note.path, name: titleOf(note.path), level, position, setSize, note });
    });
  };
  add(root, 1);
  return rows;
}

/** Return the folders that a path is in: `a/`, `a/b/`. */
export function foldersOf(path: string): string[] {
  const parts = path.split("/").slice(0, -1);
  return parts.map((_, index) => `${parts.slice(0, index + 1).join("/")}/`);
}

/** Return what a note is called: its name without folder and `.md`. */
export function titleOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1).replace(/\.(?:md|markdown)$/i, "");
}

/** Return the folder that a path is in, with its slash; "" for the vault itself. */
export function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/") + 1);
}
