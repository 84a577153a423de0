/** What pages of other origins can do to a server: nothing, in a browser whose web security is on. */
import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";

import { expect, test } from "./fixtures";

/** Serve an empty page under another origin, which is the same site: the strictest cookie is sent from there, too. */
async function elsewhere(): Promise<{ origin: string; server: HttpServer }> {
  const server = createServer((_, response) => response.setHeader("content-type", "text/html").end("<p>elsewhere"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { origin: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`, server };
}

for (const auth of [false, true]) {
  test.describe(auth ? "with a session" : "without authentication", () => {
    test.use({ auth });

    test("a page of another origin opens no socket, reads nothing and writes nothing", async ({ page, server }) => {
      if (auth) {
        await page.goto(/within 10 minutes: (\S+)/.exec(server.output)?.[1] ?? "");
        await page.getByRole("button", { name: "Pair", exact: true }).click();
      } else {
        await page.goto(server.origin);
      }
      await expect(page.getByRole("button", { name: /Connection details: Connected/ })).toBeVisible();

      const socket = (origin: string) =>
        page.evaluate(
          (address) =>
            new Promise<string>((resolve) => {
              const socket = new WebSocket(address);
              socket.onopen = () => resolve("opened");
              socket.onerror = () => resolve("refused");
            }),
          `${origin.replace("http", "ws")}/ws/sync?device_id=${auth ? "linux-chrome" : "intruder"}`,
        );
      // From its own origin it opens: what is refused below is refused for where it comes from.
      expect(await socket(server.origin)).toBe("opened");

      const other = await elsewhere();
      const refused: string[] = [];
      page.on("console", (message) => refused.push(message.text()));
      await page.goto(other.origin);
      expect(await socket(server.origin)).toBe("refused");
      const answers = await page.evaluate(
        async ({ origin, sync }) => {
          const attempt = async (path: string, init: RequestInit) => {
            try {
              const response = await fetch(origin + path, { credentials: "include", ...init });
              return `${response.type} ${String(response.status)}`;
            } catch {
              return "blocked";
            }
          };
          return [
            await attempt("/api/v1/notes", {}),
            await attempt("/api/v1/notes", { mode: "no-cors" }),
            await attempt("/api/v1/sync?device_id=intruder", { method: "POST", body: sync }),
            // Simple requests are sent without asking first, and their answers hidden: the server has to refuse them.
            await attempt("/api/v1/sync?device_id=intruder", { method: "POST", body: sync, mode: "no-cors" }),
          ];
        },
        { origin: server.origin, sync: intrusion },
      );
      expect(answers.slice(0, 3)).toEqual(["blocked", "blocked", "blocked"]);
      expect(refused.join("\n")).toContain("CORS");
      other.server.close();

      await page.goto(server.origin);
      const notes = await page.evaluate(async () => (await fetch("/api/v1/notes")).text());
      expect(notes).toContain('"notes":[]');
    });
  });
}

const intrusion = JSON.stringify({
  type: "sync_push",
  changes: [{ key: "note:intruder.md", value: "was here", timestamp: 5, device_id: "intruder" }],
  last_ack: 0,
  id: 1,
});
