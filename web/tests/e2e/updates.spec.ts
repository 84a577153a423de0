/** A new version of the app, offered to who has the old one open. */
import { expect, test } from "@playwright/test";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";

const STATIC = fileURLToPath(new URL("../../../src/tidenote/server/static/", import.meta.url));
const TYPES: Record<string, string> = { ".js": "text/javascript", ".css": "text/css", ".html": "text/html" };

/** Serve the built app, and a service worker that is another one for every version. */
async function serve(version: () => string): Promise<Server> {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    const name = pathname === "/" ? "index.html" : pathname;
    readFile(join(STATIC, name))
      .then((bytes) => {
        response.writeHead(200, { "Content-Type": TYPES[extname(name)] ?? "application/octet-stream" });
        response.end(name === "/sw.js" ? `${bytes.toString()}\n// ${version()}` : bytes);
      })
      .catch(() => response.writeHead(404).end("{}"));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

for (const visit of ["first", "second"]) {
  test(`on the ${visit} visit a newer version is offered, and taken only when somebody says so`, async ({ page }) => {
    let version = "1";
    const server = await serve(() => version);
    await page.goto(`http://127.0.0.1:${String((server.address() as AddressInfo).port)}/`);
    await expect.poll(() => page.evaluate(() => navigator.serviceWorker.controller !== null)).toBe(true);
    if (visit === "second") await page.reload();
    const offer = page.getByText("A new version of the app is ready.");
    await expect(page.locator(".toasts")).toBeAttached();
    await expect(offer).toBeHidden();
    version = "2";
    await page.evaluate(async () => (await navigator.serviceWorker.ready).update());
    await expect(offer).toBeVisible();
    await page.evaluate(() => document.body.classList.add("old"));
    await page.locator(".toast").getByRole("button", { name: "Reload" }).click();
    await expect(page.locator("body.old")).toBeHidden();
    await expect(offer).toBeHidden();
    server.closeAllConnections();
    server.close();
  });
}
