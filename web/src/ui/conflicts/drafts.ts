/**
 * What a person wrote into a conflict that is not settled yet. Settling needs the server, writing does not: the text
 * stays in this browser until it is settled or taken back, whatever becomes of the page meanwhile.
 */
import type { Dot } from "../../sync";

const PREFIX = "tidenote-draft/";

export interface Draft {
  /** The versions that the person saw. */
  readonly siblings: readonly Dot[];
  readonly text: string;
}

/** Keep the text for a note's conflict; null lets go of it. */
export function keepDraft(vault: string, key: string, draft: Draft | null): void {
  const name = `${PREFIX}${vault}/${key}`;
  try {
    if (draft) localStorage.setItem(name, JSON.stringify(draft));
    else localStorage.removeItem(name);
  } catch {
    // No room, or no storage: the text is still on the page.
  }
}

/** Return the text that was kept for a note's conflict. */
export function draftOf(vault: string, key: string): Draft | null {
  return JSON.parse(localStorage.getItem(`${PREFIX}${vault}/${key}`) ?? "null") as Draft | null;
}
