import { describe, expect, it } from "vitest";

import { checkName, checkVaultName, codeIn, suggestName } from "../../../../src/ui/devices/device_names";

describe("checkName", () => {
  it.each([
    ["laptop", true],
    ["A.b_c-9", true],
    ["", false],
    ["my laptop", false],
    ["phone~2", false],
    ["server.1", false],
    ["a".repeat(65), false],
  ])("takes what the protocol allows: %s", (name, allowed) => {
    expect(checkName(name)).toBe(allowed);
  });
});

describe("checkVaultName", () => {
  it.each([
    ["work", true],
    ["Our kitchen / recipes ü", true],
    ["x".repeat(100), true],
    ["\u{1f35e}".repeat(100), true],
    ["", false],
    [" work", false],
    ["x".repeat(101), false],
    ["a\tb", false],
    ["a\u00a0b", false],
    ["a\u200bb", false],
  ])("takes what the server does: %j", (name, allowed) => {
    expect(checkVaultName(name)).toBe(allowed);
  });
});

describe("suggestName", () => {
  const mozilla = "Mozilla/5.0";
  it.each([
    [`${mozilla} (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 Version/18 Safari/604`, "iphone-safari"],
    [`${mozilla} (X11; Linux x86_64) AppleWebKit/537 Chrome/147 Safari/537`, "linux-chrome"],
    [`${mozilla} (Windows NT 10.0) AppleWebKit/537 Chrome/147 Safari/537 Edg/147`, "windows-edge"],
    [`${mozilla} (Linux; Android 16) Gecko/150 Firefox/150`, "android-firefox"],
    ["something else", "browser"],
  ])("names system and browser: %s", (userAgent, name) => {
    expect(suggestName(userAgent)).toBe(name);
    expect(checkName(name)).toBe(true);
  });
});

describe("codeIn", () => {
  const here = "http://127.0.0.1:8787";
  const code = "AbC-123_xyz0987654321";
  it.each([
    [` ${code}\n`, { code }],
    [`${here}/#pair=${code}`, { code }],
    [`https://notes.example/#pair=${code}`, { elsewhere: `https://notes.example/#pair=${code}` }],
    [`javascript:alert(1)#pair=${code}`, null],
    [`${here}/#/notes`, null],
    ["hello", null],
  ])("finds the code in %j", (pasted, found) => {
    expect(codeIn(pasted, here)).toEqual(found);
  });
});
