import { describe, expect, it } from "vitest";

import { allPages, Api, ApiError, sameDots } from "../../../src/ui/api";

interface Asked {
  url: string;
  init: RequestInit;
}

/** Answer every request alike, and remember what was asked. */
function server(answer: () => Response): { api: Api; asked: Asked[] } {
  const asked: Asked[] = [];
  const api = new Api("work", async (url, init = {}) => {
    asked.push({ url, init });
    return answer();
  });
  return { api, asked };
}

const ok = (body: unknown) => () => Response.json(body);

describe("Api", () => {
  it("asks about its vault, and sends the session", async () => {
    const { api, asked } = server(ok({ conflicts: [] }));
    await api.conflicts({ after: "note:a b.md" });
    expect(asked[0]?.url).toBe("/api/v1/conflicts?vault=work&after=note%3Aa+b.md");
    expect(asked[0]?.init).toMatchObject({ method: "GET", credentials: "same-origin" });
  });

  it("names the source of a restored version only where it is another key", async () => {
    const { api, asked } = server(ok({}));
    const dot = { timestamp: 7, device_id: "dev" };
    await api.restore("note:a.md", { key: "note:a.md", ...dot });
    await api.restore("note:a.md", { key: "note:old.md", ...dot });
    expect(asked.map(({ init }) => JSON.parse(String(init.body)) as unknown)).toEqual([
      { key: "note:a.md", ...dot },
      { key: "note:a.md", source: "note:old.md", ...dot },
    ]);
  });

  it("throws what the server says, by code", async () => {
    const body = { type: "error", code: "stale", message: "others wrote" };
    const { api } = server(() => Response.json(body, { status: 409 }));
    const error: unknown = await api.conflict("note:a.md").catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({ code: "stale", status: 409, message: "others wrote" });
  });

  it.each([
    [502, "<html>Bad Gateway</html>", "unreachable"],
    [404, "nginx", "bad_request"],
    [500, "null", "unreachable"],
    [400, '{"code": 7}', "bad_request"],
  ])("understands a proxy's %i", async (status, text, code) => {
    const { api } = server(() => new Response(text, { status }));
    await expect(api.me()).rejects.toMatchObject({ code, status });
  });

  it("says unreachable if there is no answer", async () => {
    const api = new Api("main", () => Promise.reject(new TypeError("Failed to fetch")));
    await expect(api.me()).rejects.toMatchObject({ code: "unreachable", status: 0 });
  });
});

describe("allPages", () => {
  it("goes on after each page's last key", async () => {
    const pages = new Map([
      [undefined, { names: ["a", "b"], next: "b" }],
      ["b", { names: ["c"] }],
    ]);
    const page = async (after: string | undefined) => pages.get(after) as { names: string[]; next?: string };
    expect(await allPages(page, ({ names }) => names)).toEqual(["a", "b", "c"]);
  });
});

describe("sameDots", () => {
  const a = { timestamp: 1, device_id: "a" };
  const b = { timestamp: 1, device_id: "b" };
  it.each([
    [[a, b], [b, a], true],
    [[a], [b], false],
    [[a], [a, b], false],
    [[], [], true],
  ])("compares %j with %j", (some, others, same) => {
    expect(sameDots(some, others)).toBe(same);
  });
});
