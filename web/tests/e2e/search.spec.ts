/** The search: what is typed is found, and stands in the address. */
import { expect, openApp, test } from "./fixtures";

test("what is typed key by key stays, is found, and stands in the address", async ({ page, server }) => {
  await server.seed([
    ["note:Ideas/Trip.md", "# Trip\n\nWe take the blue boat.\n"],
    ["note:Other.md", "nothing of the kind\n"],
  ]);
  await openApp(page, "/#/search");
  const field = page.getByRole("searchbox");
  await expect(field).toBeFocused();
  await field.pressSequentially("blue boat", { delay: 40 });
  await expect(field).toHaveValue("blue boat");
  await expect(page.getByText("1 note found")).toBeVisible();
  await expect(page).toHaveURL(/#\/search\?q=blue(\+|%20)boat$/);
  await page.getByRole("link", { name: /^Trip/ }).click();
  await expect(page).toHaveURL(/#\/note\/Ideas\/Trip\.md$/);

  // Another address writes into the field.
  await page.goBack();
  await expect(field).toHaveValue("blue boat");
  await field.press("Control+a");
  await field.press("Delete");
  await expect(page).toHaveURL(/#\/search$/);
  await expect(field).toHaveValue("");
});

test("a search that is too long is told from one that failed", async ({ page }) => {
  await openApp(page, "/#/search");
  await page.getByRole("searchbox").fill("x".repeat(600));
  await expect(page.getByText(/^This is too much to search for/)).toBeVisible();
});

test("the search opens by its key, and takes what is typed next", async ({ page, server }) => {
  await server.seed([["note:Trip.md", "We take the blue boat.\n"]]);
  await openApp(page);
  await page.keyboard.press("/");
  const field = page.getByRole("searchbox");
  await expect(field).toBeFocused();
  await page.keyboard.type("boat", { delay: 200 });
  await expect(field).toHaveValue("boat");
  await expect(page.getByRole("main").getByRole("link", { name: /^Trip/ })).toBeVisible();
  await expect(page).toHaveURL(/#\/search\?q=boat$/);
});
