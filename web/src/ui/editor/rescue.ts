/**
 * The last keystrokes of a tab that goes away. IndexedDB answers later than the tab lives, so what is unsent at that
 * moment is put aside where writing takes no time, and becomes a change of the replica when the app starts again.
 */
import { type Dot, ownerOf, type Replica } from "../../sync";

const PREFIX = "tidenote-rescue/";

interface Rescued {
  readonly key: string;
  readonly text: string;
  readonly base: readonly Dot[];
  /** What was being saved at that moment; null if nothing was. */
  readonly saving: string | null;
}

/** Put a text aside; one that is too long for that is lost up to its last save. */
export function putAside(vault: string, rescued: Rescued): void {
  try {
    localStorage.setItem(`${PREFIX}${vault}/${rescued.key}`, JSON.stringify(rescued));
  } catch {
    // No room, or no storage: 300 ms of typing at most.
  }
}

/** Write what was put aside into the replica, over what its author had in front of them. */
export async function rescue(vault: string, replica: Replica): Promise<void> {
  const names = Object.keys(localStorage).filter((name) => name.startsWith(`${PREFIX}${vault}/`));
  for (const name of names) {
    const rescued = JSON.parse(localStorage.getItem(name) ?? "null") as Rescued;
    await replica.put(rescued.key, rescued.text, { base: await baseNow(replica, rescued) });
    localStorage.removeItem(name);
  }
}

/** A save that was under way when the tab went may have arrived: then that is what the text was written over. */
async function baseNow(replica: Replica, { key, base, saving }: Rescued): Promise<readonly Dot[]> {
  if (saving === null) return base;
  const own = ownerOf(replica.status().deviceId);
  const siblings = (await replica.get(key))?.siblings ?? [];
  const save = siblings.find((change) => ownerOf(change.device_id) === own && change.value === saving);
  return save ? [{ timestamp: save.timestamp, device_id: save.device_id }] : base;
}
