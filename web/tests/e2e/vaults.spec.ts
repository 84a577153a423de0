/** Vaults in the browser: another one, what happens on a tie, and a new key for the browser itself. */
import { tie, write } from "./concurrent";
import { expect, openApp, test } from "./fixtures";

test("a vault is made and opened, and what happens on a tie is chosen", async ({ page, server }) => {
  await write(server, "laptop", "note:Trip.md", "milk\nbread\n");
  await openApp(page, "/#/vaults");
  const main = page.getByRole("region", { name: /^main/ });
  await expect(main).toContainText("1 note");
  await main.getByRole("combobox").selectOption({ label: "Keep both versions until someone chooses" });
  await expect(page.getByText("Saved.")).toBeVisible();
  await tie(server, "note:Trip.md", "eggs\nmilk\nbread\n", "milk\nbread\ntea\n");
  await page.goto("/#/conflict/Trip.md");
  await expect(page.getByRole("heading", { name: "This note has several versions" })).toBeVisible();

  await page.goto("/#/vaults");
  const form = page.locator("form");
  await form.getByRole("textbox", { name: "Name" }).fill("no such name");
  await form.getByRole("button", { name: "Create a vault" }).click();
  await expect(form.getByRole("alert")).toBeVisible();
  await form.getByRole("textbox", { name: "Name" }).fill("work");
  await form.getByRole("button", { name: "Create a vault" }).click();
  await expect(page.getByText("The vault work is there.")).toBeVisible();
  await page.getByRole("button", { name: "Open the vault work" }).click();
  await expect(page.getByRole("button", { name: /Connection details: Connected/ })).toBeVisible();
  await page.goto("/#/vaults");
  await expect(page.getByRole("region", { name: /^work/ })).toContainText("this one");
});

test.describe("with a session", () => {
  test.use({ auth: true });

  test("the key of a browser is renewed while it is open", async ({ page, context, server }) => {
    await page.goto(/within 10 minutes: (\S+)/.exec(server.output)?.[1] ?? "");
    await page.getByRole("button", { name: "Pair", exact: true }).click();
    await expect(page.getByRole("button", { name: /Connection details: Connected/ })).toBeVisible();
    const key = async () => (await context.cookies())[0]?.value;
    const before = await key();
    await page.goto("/#/devices");
    await page.getByRole("button", { name: "Renew this browser's key" }).click();
    await expect(page.getByText("This browser has a new key; the old one ends.")).toBeVisible();
    expect(await key()).not.toBe(before);
    await page.reload();
    await expect(page.getByRole("button", { name: /Connection details: Connected/ })).toBeVisible();
    // Once the new one was used, nobody gets in with the old one.
    const old = await fetch(`${server.origin}/api/v1/me`, { headers: { Cookie: `tidenote_session=${before ?? ""}` } });
    expect(old.status).toBe(401);
  });
});
