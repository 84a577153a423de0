/** What a person does with whole notes: create, rename, delete; each says what became of it. */
import { type Dot, type Note, pathOfKey, problemOfPath, type Replica, TidenoteError } from "../../sync";
import { app } from "../app.svelte";
import { messages } from "../messages";
import { type Toast, toast } from "../parts/toasts.svelte";
import { sayProblem } from "../problems";
import { go } from "../router.svelte";
import { keyOf } from "./paths";
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
    if (settlesFirst(await replica.get(key))) return;
    await replica.rename(key, target);
    go("note", pathOfKey(target), { replace: true });
    toast(words.renamed(to));
  });
}

/** Delete a note; the message has a way back. */
export async function deleteNote(path: string): Promise<void> {
  const key = keyOf(path);
  if (key === null) return;
  await tell(async (replica) => {
    const note = await replica.get(key);
    if (settlesFirst(note)) return;
    const deletion = await replica.delete(key);
    go("notes", "", { replace: true });
    toast(words.deleted(titleOf(path)), wayBack(key, note?.text, deletion));
  });
}

/**
 * Lead to the conflict of a note that has several versions: its name goes away only with all of them, of which one is
 * shown.
 */
function settlesFirst(note: Note | null): boolean {
  if (!note || note.siblings.filter((version) => !version.deleted).length < 2) return false;
  const path = pathOfKey(note.key);
  go("conflict", path);
  toast(words.settleFirst(titleOf(path)));
  return true;
}

/** Offer to write a text over what came in its place: what others write after that stays, beside it. */
function wayBack(key: string, text: string | null | undefined, over: Dot | null | undefined): Pick<Toast, "action"> {
  const run = async (replica: Replica): Promise<void> => {
    await replica.put(key, text ?? "", over ? { base: [over] } : {});
    go("note", pathOfKey(key));
  };
  return { action: text == null ? undefined : { label: messages.common.undo, run: () => void tell(run) } };
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
    const shown = await replica.get(key);
    toast(words.discarded(titleOf(pathOfKey(key))), wayBack(key, text, shown?.dot));
  });
}

async function tell(step: (replica: Replica) => Promise<void>): Promise<void> {
  if (!app.replica) return;
  try {
    await step(app.replica);
  } catch (error) {
    if (!(error instanceof TidenoteError)) throw error;
    toast(sayProblem(error), { kind: "danger" });
  }
}
