/** Notes whose links follow what was renamed: which to read, and what to write. */
import { type NoteInfo, pathOfKey, type Replica } from "../../sync";

/** How many notes are read at once. */
const AT_ONCE = 50;

/**
 * Let every link lead on to what it led to, as edits of the notes that hold them.
 *
 * Left alone is what somebody has to settle first, and a text that is so long that it is kept as a blob.
 *
 * @param before - all notes and files, as they were.
 * @param moves - the old paths of what was renamed since, each with its new one.
 * @returns how many notes were changed.
 * @throws TidenoteError `storage_full`, `storage_failed`: some notes are as they were.
 */
export async function relinkNotes(
  replica: Replica,
  before: readonly NoteInfo[],
  moves: ReadonlyMap<string, string>,
): Promise<number> {
  // The grammar comes with the editor; who only reads does not load it.
  const { Renamed } = await import("../editor/relink");
  const renamed = new Renamed(
    before.map(({ path }) => path),
    moves,
  );
  const old = new Map(Array.from(moves, ([from, to]) => [to, from]));
  const notes = replica.list().filter(({ key, held }) => key.startsWith("note:") && !held);
  let changed = 0;
  for (let at = 0; at < notes.length; at += AT_ONCE) {
    const some = notes.slice(at, at + AT_ONCE);
    const read = await Promise.all(some.map(({ key }) => replica.get(key)));
    const edits = read.flatMap((note) => {
      if (!note || note.text === null || note.siblings.length > 1) return [];
      const path = pathOfKey(note.key);
      const text = renamed.relink(note.text, old.get(path) ?? path);
      return text === note.text ? [] : [{ key: note.key, text, over: note.dot }];
    });
    await replica.putAll(edits);
    changed += edits.length;
  }
  return changed;
}
