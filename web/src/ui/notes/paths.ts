/** What people type as a name, and the path that they mean. Pure. */
import { keyOfPath } from "../../sync";

/**
 * Return the path that somebody means: what is not called like a text becomes a Markdown note, so that neither
 * `27.11.2026` nor `.plan` is a file without history or search.
 *
 * @param own - the path that it has now; what is no note there may have any ending.
 */
export function pathFrom(typed: string, own?: string): string {
  const path = typed
    .trim()
    .normalize("NFC")
    .replace(/^\/+|\/+$/g, "");
  const isFile = own !== undefined && kindOf(own) === "file:";
  return isFile || kindOf(path) !== "file:" ? path : `${path}.md`;
}

/** Return what a path's key begins with; null if the path cannot be. */
function kindOf(path: string): "note:" | "file:" | null {
  try {
    return keyOfPath(path).startsWith("note:") ? "note:" : "file:";
  } catch {
    return null;
  }
}
