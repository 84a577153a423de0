/**
 * The last keystrokes of a tab that goes away. IndexedDB answers later than the tab lives, so what is unsent at that
 * moment is put aside where writing takes no time. It becomes a change of the replica in the tabs that are left, or
 * when the app starts again. So does what could not be saved when somebody went on to another note.
 */
import { type Dot, ownerOf, type Replica } from "../../sync";
import type { Left } from "./session";

const PREFIX = "tidenote-rescue/";

interface Rescued extends Left {
  readonly key: string;
}

/** Put a text aside; return false if there is no room, or no storage, for it. */
export function putAside(vault: string, rescued: Rescued): boolean {
  // Tabs that go at the same time may have the same note open: each has words of its own.
  const number = crypto.getRandomValues(new Uint32Array(1)).join("");
  try {
    localStorage.setItem(`${PREFIX}${vault}/${number}`, JSON.stringify(rescued));
    return true;
  } catch {
    return false;
  }
}

/** Say whether a text could be put aside now. */
export function hasRoom(vault: string, rescued: Rescued): boolean {
  const name = `tidenote-room/${vault}`;
  try {
    localStorage.setItem(name, JSON.stringify(rescued));
    localStorage.removeItem(name);
    return true;
  } catch {
    return false;
  }
}

/**
 * Write what was put aside into the replica, over what its author had in front of them.
 *
 * @returns whether nothing is left; what could not be written stays aside for the next time.
 */
export async function rescue(vault: string, replica: Replica): Promise<boolean> {
  const names = Object.keys(localStorage).filter((name) => name.startsWith(`${PREFIX}${vault}/`));
  let done = true;
  for (const name of names) {
    const stored = localStorage.getItem(name);
    // Another tab was quicker.
    if (stored === null) continue;
    try {
      const rescued = JSON.parse(stored) as Rescued;
      await replica.put(rescued.key, rescued.text, { base: await baseNow(replica, rescued) });
      localStorage.removeItem(name);
    } catch {
      done = false;
    }
  }
  return done;
}

/** A save that was under way when the tab went may have arrived: then that is what the text was written over. */
async function baseNow(replica: Replica, { key, base, saving }: Rescued): Promise<readonly Dot[]> {
  if (saving === null) return base;
  const own = ownerOf(replica.status().deviceId);
  const siblings = (await replica.get(key))?.siblings ?? [];
  const save = siblings.find((change) => ownerOf(change.device_id) === own && change.value === saving);
  return save ? [{ timestamp: save.timestamp, device_id: save.device_id }] : base;
}
