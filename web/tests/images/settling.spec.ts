/** The pictures of conflict, history and devices in docs/images. */
import type { Page } from "@playwright/test";

import { tie, write } from "../e2e/concurrent";
import { expect, openApp, test } from "../e2e/fixtures";
import { takePicture } from "./pictures";

const KEY = "note:Travel/Lisbon.md";

function lisbon(flight: string, hotel: string, dinner: string, packed: string[]): string {
  const list = ["- [ ] passport", ...packed.map((thing) => `- [ ] ${thing}`)].join("\n");
  return `# Lisbon in May\n\nWe fly on **Friday** at ${flight}.\nHotel: Casa do Bairro, ${hotel}.\n\n## To pack\n\n${list}\n\n## Food\n\nPastel de nata, obviously.\nDinner on Saturday at ${dinner}.\n`;
}

const BEFORE = lisbon("ten", "two nights", "eight", []);

/** Pictures show pages as who uses a mouse sees them. */
async function unfocus(page: Page): Promise<void> {
  await page.evaluate(() => document.activeElement instanceof HTMLElement && document.activeElement.blur());
}

test("conflict and history", async ({ page, server }) => {
  await write(server, "laptop", KEY, "# Lisbon in May\n");
  await write(server, "laptop", KEY, BEFORE);
  const sunscreen = lisbon("noon", "two nights", "eight", ["sunscreen"]);
  await tie(server, KEY, sunscreen, lisbon("seven", "two nights", "nine, with Rui", []));
  await tie(server, "note:Shopping.md", "eggs\nmilk\n", "milk\ntea\n");
  await openApp(page);
  await takePicture(page, "conflict", async () => {
    await page.goto("/#/conflict/Travel/Lisbon.md");
    await expect(page.getByRole("textbox", { name: "The note will be" })).toContainText("Lisbon");
    await unfocus(page);
  });
  await takePicture(page, "conflicts", async () => {
    await page.goto("/#/conflicts");
    await expect(page.getByRole("main").getByRole("link", { name: "Shopping.md" })).toBeVisible();
    await unfocus(page);
  });

  for (const [device, text] of [
    ["laptop", lisbon("noon", "three nights", "nine, with Rui", ["sunscreen"])],
    ["laptop", lisbon("noon", "three nights", "nine, with Rui", ["sunscreen", "a hat"])],
    ["phone", lisbon("noon", "three nights", "nine, at Rui's place", ["sunscreen", "a hat"])],
  ] as const) {
    await write(server, device, KEY, text);
  }
  await takePicture(page, "history", async () => {
    await page.goto("/#/history/Travel/Lisbon.md");
    await expect(page.getByRole("region", { name: /^Differences/ })).toContainText("Rui's place");
    await unfocus(page);
  });
});

test.describe("with devices", () => {
  test.use({ auth: true });

  test("devices", async ({ page, server }) => {
    await page.goto(/within 10 minutes: (\S+)/.exec(server.output)?.[1] ?? "");
    await page.getByRole("textbox", { name: "Name of this device" }).fill("desk");
    await page.getByRole("button", { name: "Pair", exact: true }).click();
    await expect(page.getByRole("button", { name: /Connection details: Connected/ })).toBeVisible();
    const headers = { Origin: server.origin };
    for (const [device_id, role] of [
      ["laptop", "editor"],
      ["phone", "editor"],
      ["kitchen", "reader"],
    ] as const) {
      const paired = await page.request.post("/api/v1/pair", { data: { device_id, role }, headers });
      const { code } = (await paired.json()) as { code: string };
      const redeemed = await fetch(`${server.origin}/api/v1/redeem`, {
        method: "POST",
        body: JSON.stringify({ code }),
      });
      const { token } = (await redeemed.json()) as { token: string };
      const body = JSON.stringify({ type: "sync_push", changes: [], last_ack: 0 });
      const address = `${server.origin}/api/v1/sync?device_id=${device_id}`;
      await fetch(address, { method: "POST", body, headers: { Authorization: `Bearer ${token}` } });
    }
    await takePicture(page, "devices", async () => {
      await page.goto("/#/devices");
      await expect(page.getByRole("heading", { name: "kitchen" })).toBeVisible();
      await unfocus(page);
    });
  });
});
