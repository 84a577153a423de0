/** Names as people read them. Pure. */

const and = new Intl.ListFormat("en", { type: "conjunction" });

/** Return "laptop", "laptop and phone", "laptop, phone, and tablet". */
export function list(names: readonly string[]): string {
  return and.format(names);
}

/** Return the last part of a path or key: the file's name. */
export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1).replace(/^(note|file):/, "");
}
