/** What a person does with whole notes: create, rename, delete; each says what became of it. */
import { type Deleted, pathOfKey, problemOfPath, type Replica, TidenoteError } from "../../sync";
import { app } from "../app.svelte";
import { messages } from "../messages";
import { type Toast, toast } from "../parts/toasts.svelte";
import { sayProblem } from "../problems";
import { go } from "../router.svelte";
import { keyOf } from "./paths";
import { relinkNotes } from "./relinking";
import { titleOf } from "./tree";

const words = messages.notes;

/** Return what is wrong with a path for a new note; "" if nothing is. */
export function problemWith(path: string, own?: string): string {
  const problem = problemOfPath(path);
  if (problem) return words.badPath[problem];
  const key = keyOf(path);
  return path !== own && app.notes.some((note) => note.key === key) ? words.taken : "";
}

/** Write a new note and open it. */
export async function createNote(path: string): Promise<void> {
  const key = keyOf(path);
  if (key === null || !app.replica) return;
  await tell(async (replica) => {
    await replica.put(key, `# ${titleOf(path)}\n\n`, { base: [] });
    go("note", path);
  });
}

/** Give a note another path and follow it there. */
export async function renameNote(path: string, to: string): Promise<void> {
  const key = keyOf(path);
  const target = keyOf(to);
  if (key === null || target === null || key === target) return;
  await tell(async (replica) => {
    if (await settlesFirst(replica, key)) return;
    const before = replica.list();
    await replica.rename([[key, target]]);
    go("note", pathOfKey(target), { replace: true });
    const changed = await relinkNotes(replica, before, new Map([[pathOfKey(key), pathOfKey(target)]]));
    toast(words.renamed(to) + words.relinked(changed));
  });
}

/** Delete a note; the message has a way back. */
export async function deleteNote(path: string): Promise<void> {
  const key = keyOf(path);
  if (key === null) return;
  await tell(async (replica) => {
    if (await settlesFirst(replica, key)) return;
    const deleted = await replica.delete([key]);
    go("notes", "", { replace: true });
    toast(words.deleted(titleOf(path)), bringBack(deleted));
  });
}

/**
 * Lead to the conflict of a note that has several versions: its name goes away only with all of them, of which one is
 * shown.
 */
async function settlesFirst(replica: Replica, key: string): Promise<boolean> {
  if ((await firstToSettle(replica, [key])) === null) return false;
  const path = pathOfKey(key);
  go("conflict", path);
  toast(words.settleFirst(titleOf(path)));
  return true;
}

/** Return the first of some keys that has several versions; null if none has. */
export async function firstToSettle(replica: Replica, keys: readonly string[]): Promise<string | null> {
  for (const key of keys) {
    const note = await replica.get(key);
    if (note && note.siblings.filter((version) => !version.deleted).length > 1) return key;
  }
  return null;
}

/** Offer to write again what was deleted: what others wrote in its place stays, beside it. */
export function bringBack(deleted: readonly Deleted[]): Pick<Toast, "action"> {
  return undo(async (replica) => {
    await replica.bringBack(deleted);
    const [only, ...others] = deleted;
    if (only && others.length === 0) go("note", pathOfKey(only.note.key));
  });
}

function undo(run: (replica: Replica) => Promise<void>): Pick<Toast, "action"> {
  return { action: { label: messages.common.undo, run: () => void tell(run) } };
}

/** Send what the server refused of a note once more. */
export async function sendAgain(key: string): Promise<void> {
  await tell((replica) => replica.retryParked([key]));
}

/** Let what the server refused of a note go; the message has a way back. */
export async function discardRefused(key: string): Promise<void> {
  await tell(async (replica) => {
    const text = (await replica.get(key))?.text;
    await replica.discardParked(key);
    const over = (await replica.get(key))?.dot;
    const again = undo(async () => {
      await replica.put(key, text ?? "", over ? { base: [over] } : {});
      go("note", pathOfKey(key));
    });
    toast(words.discarded(titleOf(pathOfKey(key))), text == null ? {} : again);
  });
}

/** Do something, and say what went wrong with it. */
export async function tell(step: (replica: Replica) => Promise<void>): Promise<void> {
  if (!app.replica) return;
  try {
    await step(app.replica);
  } catch (error) {
    if (!(error instanceof TidenoteError)) throw error;
    toast(sayProblem(error), { kind: "danger" });
  }
}
