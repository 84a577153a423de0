/** What a person does with a folder and all that is in it: rename, move, delete. */
import { type NoteInfo, pathOfKey, problemOfPath, type Replica } from "../../sync";
import { app } from "../app.svelte";
import { messages } from "../messages";
import { toast } from "../parts/toasts.svelte";
import { go, router } from "../router.svelte";
import { bringBack, firstToSettle, tell } from "./actions";
import { keyOf } from "./paths";
import { relinkNotes } from "./relinking";

const words = messages.folders;

/** After so long a person is told how far a folder's notes are. */
const TOLD_AFTER_MS = 500;
/** How many of the names that stand in the way are told. */
const NAMED = 3;

/** Return the notes and files in a folder, whose path ends with a slash. */
export function contentsOf(folder: string): NoteInfo[] {
  return app.notes.filter(({ path }) => path.startsWith(folder));
}

/** Return what is wrong with another path for a folder, both ending with a slash; "" if nothing is. */
export function problemWithFolder(folder: string, to: string): string {
  if (to === folder) return "";
  if (to.startsWith(folder)) return words.intoItself;
  const taken: string[] = [];
  const paths = new Set(app.notes.map(({ path }) => path));
  for (const [, path] of movesOf(folder, to)) {
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
    const moves = movesOf(folder, to);
    if (await hasToSettle(replica, folder)) return;
    const keys = moves.map(([from, path]) => [keyOf(from) ?? "", keyOf(path) ?? ""] as const);
    await withProgress(words.renaming, keys.length, (onSome) => replica.rename(keys, onSome));
    const { page, argument } = router.route;
    if (page === "notes" && `${argument}/`.startsWith(folder)) {
      go("notes", (to + `${argument}/`.slice(folder.length)).slice(0, -1), { replace: true });
    }
    const changed = await relinkNotes(replica, before, new Map(moves));
    toast(words.renamed(to.slice(0, -1)) + messages.notes.relinked(changed));
  });
}

/** Delete a folder with all that is in it; the message has a way back. */
export async function deleteFolder(folder: string): Promise<void> {
  await tell(async (replica) => {
    if (await hasToSettle(replica, folder)) return;
    const keys = contentsOf(folder).map(({ key }) => key);
    const { page, argument } = router.route;
    const isInside = (page === "note" || page === "notes") && `${argument}/`.startsWith(folder);
    if (isInside) go("notes", "", { replace: true });
    const deleted = await withProgress(words.deleting, keys.length, (onSome) => replica.delete(keys, onSome));
    toast(words.deleted(folder.slice(0, -1), deleted.length), bringBack(deleted));
  });
}

/** Return the paths of what is in a folder, each with the one that it gets. */
function movesOf(folder: string, to: string): [string, string][] {
  return contentsOf(folder).map(({ path }) => [path, to + path.slice(folder.length)]);
}

async function hasToSettle(replica: Replica, folder: string): Promise<boolean> {
  const key = await firstToSettle(
    replica,
    contentsOf(folder).flatMap(({ key, conflict }) => (conflict ? [key] : [])),
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
