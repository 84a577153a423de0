/** What people type as a name, and the path that they mean. Pure. */
import { keyOfPath } from "../../sync";

/**
 * Return the path that somebody means: what is not called like a text becomes a Markdown note, so that neither
 * `27.11.2026` nor `.plan` is a file without history or search.
 *
 * @param own - the path that it has now; what is no note there may have any ending.
 */
export function pathFrom(typed: string, own?: string): string {
  const path = trimmed(typed);
  return (own !== undefined && isFile(own)) || !isFile(path) ? path : `${path}.md`;
}

/** Return the folder that somebody means, with its slash; "" if they named none. */
export function folderFrom(typed: string): string {
  const path = trimmed(typed);
  return path && `${path}/`;
}

function trimmed(typed: string): string {
  return typed
    .trim()
    .normalize("NFC")
    .replace(/^\/+|\/+$/g, "");
}

/** Return the key of a path, or null if a path like this cannot be. */
export function keyOf(path: string): string | null {
  try {
    return keyOfPath(path);
  } catch {
    return null;
  }
}

function isFile(path: string): boolean {
  return keyOf(path)?.startsWith("file:") ?? false;
}
