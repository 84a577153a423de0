/** The addresses of the app: `#/page/argument?query`. Everything after `#` stays in the browser. */

export const PAGES = [
  "notes",
  "note",
  "search",
  "conflicts",
  "conflict",
  "history",
  "moment",
  "trash",
  "devices",
  "vaults",
  "holds",
  "pair",
] as const;

export type PageName = (typeof PAGES)[number];

export interface Route {
  readonly page: PageName;
  /** A note's path, or what the page says it is; "" if there is none. */
  readonly argument: string;
  readonly query: URLSearchParams;
}

/** Return where a `location.hash` leads; what is unknown leads to the notes. */
export function parseRoute(hash: string): Route {
  const pairing = /^#pair=(.*)$/.exec(hash);
  if (pairing) return { page: "pair", argument: decode(pairing[1] ?? ""), query: new URLSearchParams() };
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s, 2);
  const [name = "", ...rest] = path.split("/");
  const page = PAGES.find((known) => known === name) ?? "notes";
  return { page, argument: rest.map(decode).join("/"), query: new URLSearchParams(query) };
}

/** Return the address of a page, for `href`. */
export function href(page: PageName, argument = "", query: Record<string, string> = {}): string {
  const path = [page, ...(argument ? argument.split("/") : [])].map(encodeURIComponent).join("/");
  const search = new URLSearchParams(query).toString();
  return `#/${path}${search ? `?${search}` : ""}`;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
