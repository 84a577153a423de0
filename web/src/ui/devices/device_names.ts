/** Names for devices and vaults: which are allowed, and a good one to begin with. Pure. */

/** Say whether a person may give a device this name (docs/protocol.md 4.2); later incarnations name themselves. */
export function checkName(name: string): boolean {
  return /^[A-Za-z0-9._-]{1,64}$/.test(name) && !name.startsWith("server");
}

/** Say whether a vault can have this name (docs/protocol.md 11.8): 1 to 100 characters that can be seen, and spaces. */
export function checkVaultName(name: string): boolean {
  return /^(?:[^\p{C}\p{Z}]| ){1,100}$/u.test(name) && name === name.trim();
}

const SYSTEMS: readonly [RegExp, string][] = [
  [/iPhone/, "iphone"],
  [/iPad/, "ipad"],
  [/Android/, "android"],
  [/CrOS/, "chromebook"],
  [/Windows/, "windows"],
  [/Macintosh|Mac OS X/, "mac"],
  [/Linux/, "linux"],
];

const BROWSERS: readonly [RegExp, string][] = [
  [/Firefox\//, "firefox"],
  [/Edg\w*\//, "edge"],
  [/OPR\//, "opera"],
  [/Chrome\/|CriOS\//, "chrome"],
  [/Safari\//, "safari"],
];

/** Return a name such as `iphone-safari` for the browser that describes itself like this. */
export function suggestName(userAgent: string): string {
  const find = (known: readonly [RegExp, string][]) => known.find(([pattern]) => pattern.test(userAgent))?.[1];
  return [find(SYSTEMS), find(BROWSERS) ?? "browser"].filter((part) => part !== undefined).join("-");
}

/** Return the code in what somebody pasted: a link of `origin`, or a code; null if it is neither. */
export function codeIn(pasted: string, origin: string): { code: string } | { elsewhere: string } | null {
  const text = pasted.trim();
  if (/^[\w-]{16,}$/.test(text)) return { code: text };
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return null;
  }
  const code = /^#pair=([\w-]+)$/.exec(url.hash)?.[1];
  if (code === undefined || !/^https?:$/.test(url.protocol)) return null;
  return url.origin === origin ? { code } : { elsewhere: url.href };
}
