/** Vaults in the browser: another one, what happens on a tie, and a new key for the browser itself. */
import { siblings, tie, write } from "./concurrent";
import { editorOf, expect, expectSaved, openApp, openNote, test } from "./fixtures";

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
  await form.getByRole("textbox", { name: "Name" }).fill("x".repeat(101));
  await form.getByRole("button", { name: "Create a vault" }).click();
  await expect(form.getByRole("alert")).toBeVisible();
  await form.getByRole("textbox", { name: "Name" }).fill("work and play");
  await form.getByRole("button", { name: "Create a vault" }).click();
  await expect(page.getByText("The vault work and play is there.")).toBeVisible();
  await page.getByRole("button", { name: "Open the vault work and play" }).click();
  await expect(page.getByRole("button", { name: /Connection details: Connected/ })).toBeVisible();
  await page.goto("/#/vaults");
  await expect(page.getByRole("region", { name: /^work and play/ })).toContainText("this one");
});

test("a vault that gave way says so, and goes on if an owner wants that", async ({ page, server }) => {
  await write(server, "laptop", "note:Trip.md", "milk\n");
  await openNote(page, "Trip.md");
  const push = { type: "sync_push", changes: [], last_ack: 0, epoch: "7-00000000" };
  await fetch(`${server.origin}/api/v1/sync?device_id=stray`, { method: "POST", body: JSON.stringify(push) });
  await editorOf(page).click();
  await page.keyboard.press("Control+End");
  await page.keyboard.type("bread");
  await expect(page.getByRole("button", { name: /Connection details: Stopped/ })).toBeVisible();

  await page.goto("/#/vaults");
  await expect(page.getByRole("alert")).toContainText("It takes nothing in");
  await page.getByRole("button", { name: "Go on with this one" }).click();
  await expect(page.getByText("The vault main takes changes in again.")).toBeVisible();
  await expect(page.getByRole("alert")).toHaveCount(0);
  await page.goto("/#/note/Trip.md");
  await page.reload();
  await expectSaved(page);
  expect((await siblings(server, "note:Trip.md")).map(({ value }) => value)).toEqual(["milk\nbread"]);
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
