/** Shows new content with as few new nodes as possible, so that pictures stay and nothing jumps. */

/** Make a page's children those of a fragment; equal ones at the beginning and the end are left alone. */
export function patch(page: HTMLElement, fragment: DocumentFragment): void {
  const old = [...page.childNodes];
  const wanted = [...fragment.childNodes];
  let head = 0;
  while (head < old.length && head < wanted.length && same(old[head], wanted[head])) head += 1;
  let tail = 0;
  while (
    tail < old.length - head &&
    tail < wanted.length - head &&
    same(old[old.length - 1 - tail], wanted[wanted.length - 1 - tail])
  ) {
    tail += 1;
  }
  const next = tail ? (old[old.length - tail] ?? null) : null;
  old.slice(head, old.length - tail).forEach((node) => node.remove());
  wanted.slice(head, wanted.length - tail).forEach((node) => page.insertBefore(node, next));
}

/** Compare a shown node with a new one, whose pictures have no address yet. */
function same(shown: Node | undefined, wanted: Node | undefined): boolean {
  if (!shown || !wanted) return false;
  if (!(shown instanceof Element) || !shown.querySelector("img[data-path]")) return shown.isEqualNode(wanted);
  const copy = shown.cloneNode(true) as Element;
  copy.querySelectorAll("img[data-path]").forEach((image) => image.removeAttribute("src"));
  return copy.isEqualNode(wanted);
}
