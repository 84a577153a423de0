/** What a person does with a folder and all that is in it: rename, move, delete. */
import { keyOfPath, type NoteInfo, pathOfKey, problemOfPath, type Replica } from "../../sync";
import { app } from "../app.svelte";
import { messages } from "../messages";
import { toast } from "../parts/toasts.svelte";
import { go, router } from "../router.svelte";
import { bringBack, firstToSettle, tell } from "./actions";
import { relinkNotes } from "./relinking";

const words = messages.folders;

/** After so long a person is told how far a folder's notes are. */
const TOLD_AFTER_MS = 500;
/** How many of the names that stand in the way are told. */
const NAMED = 3;

/** Return the notes and files in a folder, whose path ends with a slash. */
export function contentsOf(folder: string, notes: readonly NoteInfo[] = app.notes): NoteInfo[] {
  return notes.filter(({ path }) => path.startsWith(folder));
}

/** Return what is wrong with another path for a folder, both ending with a slash; "" if nothing is. */
export function problemWithFolder(folder: string, to: string): string {
  if (to === folder) return "";
  if (to.startsWith(folder)) return words.intoItself;
  const taken: string[] = [];
  const paths = new Set(app.notes.map(({ path }) => path));
  for (const path of movesOf(contentsOf(folder), folder, to).values()) {
    const problem = problemOfPath(path);
    if (problem) return messages.notes.badPath[problem];
    if (paths.has(path)) taken.push(path.slice(to.length));
  }
  return taken.length > 0 ? words.inTheWay(taken.slice(0, NAMED), taken.length) : "";
}

/** Give a folder another path, with all that is in it. */
export async function renameFolder(folder: string, to: string): Promise<void> {
  await tell(async (replica) => {
    const before = replica.list();
    const contents = contentsOf(folder, before);
    if (await hasToSettle(replica, contents)) return;
    const moves = movesOf(contents, folder, to);
    const keys = Array.from(moves, ([from, path]) => [keyOfPath(from), keyOfPath(path)] as const);
    await withProgress(words.renaming, keys.length, (onSome) => replica.rename(keys, onSome));
    const { page, argument } = router.route;
    if (page === "notes" && `${argument}/`.startsWith(folder)) {
      go("notes", (to + `${argument}/`.slice(folder.length)).slice(0, -1), { replace: true });
    }
    const changed = await relinkNotes(replica, before, moves);
    toast(words.renamed(to.slice(0, -1)) + messages.notes.relinked(changed));
  });
}

/** Delete a folder with all that is in it; the message has a way back. */
export async function deleteFolder(folder: string): Promise<void> {
  await tell(async (replica) => {
    const contents = contentsOf(folder, replica.list());
    if (await hasToSettle(replica, contents)) return;
    const keys = contents.map(({ key }) => key);
    const { page, argument } = router.route;
    const isInside = (page === "note" || page === "notes") && `${argument}/`.startsWith(folder);
    if (isInside) go("notes", "", { replace: true });
    const deleted = await withProgress(words.deleting, keys.length, (onSome) => replica.delete(keys, onSome));
    toast(words.deleted(folder.slice(0, -1), deleted.length), bringBack(deleted));
  });
}

/** Return the paths of what is in a folder, each with the one that it gets. */
function movesOf(contents: readonly NoteInfo[], folder: string, to: string): Map<string, string> {
  return new Map(contents.map(({ path }) => [path, to + path.slice(folder.length)]));
}

async function hasToSettle(replica: Replica, contents: readonly NoteInfo[]): Promise<boolean> {
  const likely = contents.filter(({ conflict, pending }) => conflict || pending);
  const key = await firstToSettle(
    replica,
    likely.map(({ key }) => key),
  );
  if (key === null) return false;
  go("conflict", pathOfKey(key));
  toast(messages.notes.settleFirst(pathOfKey(key)));
  return true;
}

/** Say how far something is that takes a while. */
async function withProgress<T>(
  say: (done: number, all: number) => string,
  all: number,
  run: (onSome: (done: number) => void) => Promise<T>,
): Promise<T> {
  let close: () => void = () => undefined;
  const begun = performance.now();
  try {
    return await run((done) => {
      if (performance.now() - begun < TOLD_AFTER_MS || done === all) return;
      close();
      close = toast(say(done, all), { sticky: true });
    });
  } finally {
    close();
  }
}
