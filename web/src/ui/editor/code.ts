/** Where a note is code, by the editor's grammar. Pure. */
import type { syntaxTree } from "@codemirror/language";

/** Say whether a place is in code, where nothing is a link. */
export function inCode(tree: ReturnType<typeof syntaxTree>, position: number): boolean {
  for (let node: ReturnType<typeof tree.resolveInner> | null = tree.resolveInner(position); node; node = node.parent) {
    if (/Code|Comment/.test(node.name)) return true;
  }
  return false;
}
