/** The past in the browser: versions side by side, the way back, whole vaults and single devices. */
import { siblings, tie, write } from "./concurrent";
import { eventually, expect, openApp, test } from "./fixtures";

const KEY = "note:Trip.md";

test("any version is compared with any other, and comes back everywhere", async ({ page, server, folder }) => {
  await folder.write("Trip.md", "milk\nbread\n");
  await eventually(async () => (await siblings(server, KEY)).length === 1, "the note is on the server");
  await write(server, "phone", KEY, "oat milk\nbread\n");
  await write(server, "tablet", KEY, "everything is gone\n");

  await openApp(page, "/#/history/Trip.md");
  const line = page.getByRole("navigation", { name: "Versions" });
  await expect(line.getByRole("button")).toHaveText([/tablet changed it.*now/s, /phone changed it/, /laptop wrote it/]);
  await line.getByRole("button", { name: /phone changed it/ }).click();
  const diff = page.getByRole("region", { name: /^Differences/ });
  await expect(diff.locator("ins")).toHaveText(["oat "]);
  const compared = page.getByRole("combobox", { name: "Compare with" });
  await write(server, "watch", KEY, "everything is gone, again\n");
  await expect(line.getByRole("button").first()).toContainText("watch changed it");
  await expect(compared.locator("option:checked"), "what is chosen stays").toHaveText(/, laptop$/);
  await compared.selectOption({ label: "the note as it is now" });
  await expect(diff).toContainText("everything is gone");

  await page.getByRole("button", { name: "Restore this version" }).click();
  await expect(line.getByRole("button").first()).toContainText(/Restored from \S/);
  await eventually(async () => (await folder.read("Trip.md")) === "oat milk\nbread\n", "the folder has it");
});

test("a merge tells whose versions it was made of, and a rename the earlier name", async ({ page, server }) => {
  await write(server, "laptop", KEY, "milk\nbread\n");
  await tie(server, KEY, "eggs\nmilk\nbread\n", "milk\nbread\ntea\n");
  const [merged] = await siblings(server, KEY);
  const { timestamp, device_id } = merged ?? { timestamp: 0, device_id: "" };
  const rename = { key: KEY, to: "note:Journey.md", timestamp, device_id };
  const answer = await fetch(`${server.origin}/api/v1/rename`, { method: "POST", body: JSON.stringify(rename) });
  expect(answer.ok, await answer.text()).toBe(true);

  await openApp(page, "/#/history/Journey.md");
  const line = page.getByRole("navigation", { name: "Versions" });
  await expect(line.getByText("Put together from phone and tablet")).toBeVisible();
  await expect(line.getByText('before: "Trip.md"')).toBeVisible();
  await line.getByRole("button", { name: /laptop wrote it/ }).click();
  await page.getByRole("button", { name: "Restore this version" }).click();
  await expect(line.getByRole("button").first()).toContainText(/Restored from \S/);
  await eventually(
    async () => (await siblings(server, "note:Journey.md"))[0]?.value === "milk\nbread\n",
    "the version of the earlier name came back",
  );
});

test("what a device did is shown first, then taken back, but not what others built on", async ({ page, server }) => {
  await write(server, "laptop", KEY, "before\n");
  await write(server, "laptop", "note:Both.md", "before\n");
  await write(server, "phone", KEY, "ruined\n");
  await write(server, "phone", "note:Both.md", "changed\n");
  await write(server, "laptop", "note:Both.md", "changed, and more\n");

  await openApp(page, "/#/moment?device=phone");
  const form = page.locator("form").filter({ hasText: "Take back what a device did" });
  await expect(form.getByRole("combobox", { name: "Device" })).toHaveValue("phone");
  await form.getByRole("button", { name: "Show what would happen" }).click();
  const plan = page.getByRole("region", { name: "1 note would change" });
  await expect(plan).toContainText("Trip.md");
  await expect(plan).toContainText("1 note would stay as it is");
  await expect(plan).toContainText("someone else went on from these changes");
  expect((await siblings(server, KEY))[0]?.value).toBe("ruined\n");

  await plan.getByRole("button", { name: "Take it back" }).click();
  await expect(page.getByText("1 note was brought back.")).toBeVisible();
  expect((await siblings(server, KEY))[0]?.value).toBe("before\n");
  expect((await siblings(server, "note:Both.md"))[0]?.value).toBe("changed, and more\n");
});

test("the vault goes back to a moment, with everything in it", async ({ page, server }) => {
  await openApp(page);
  await write(server, "laptop", KEY, "here\n");
  await page.goto("/#/moment");
  const form = page.locator("form").filter({ hasText: "The vault as it was" });
  await form.getByRole("button", { name: "Show what would happen" }).click();
  const plan = page.getByRole("region", { name: "1 note would change" });
  await expect(plan).toContainText("goes to the trash");
  await plan.getByRole("button", { name: "Change nothing" }).click();
  await expect(plan).toHaveCount(0);
  expect((await siblings(server, KEY))[0]?.value).toBe("here\n");

  await form.getByRole("button", { name: "Show what would happen" }).click();
  await page.getByRole("button", { name: "Bring it back" }).click();
  await expect(page.getByText("1 note was brought back.")).toBeVisible();
  expect((await siblings(server, KEY))[0]?.value).toBeNull();
  await page.goto("/#/trash");
  await expect(page.getByRole("listitem").filter({ hasText: "Trip.md" })).toContainText("deleted on the server");
});

test("of a file that comes back no lines are counted", async ({ page, server, folder }) => {
  await folder.write("Trip.md", "milk\n");
  await folder.write("plan.png", new Uint8Array([137, 80, 78, 71, 0, 255]));
  await eventually(async () => (await siblings(server, "file:plan.png")).length === 1, "the file is on the server");
  await eventually(async () => (await siblings(server, KEY)).length === 1, "the note is on the server");
  await openApp(page, "/#/moment");
  const form = page.locator("form").filter({ hasText: "The vault as it was" });
  await form.getByRole("button", { name: "Show what would happen" }).click();
  const plan = page.getByRole("region", { name: "2 notes would change" });
  await expect(plan.getByRole("listitem").filter({ hasText: "Trip.md" })).toContainText("+0 -1 lines");
  await expect(plan.getByRole("listitem").filter({ hasText: "plan.png" })).not.toContainText("lines");
});

test("a deleted note comes back from the trash", async ({ page, server, folder }) => {
  await folder.write("Trip.md", "milk\n");
  await eventually(async () => (await siblings(server, KEY)).length === 1, "the note is on the server");
  await folder.remove("Trip.md");
  await openApp(page, "/#/trash");
  const row = page.getByRole("listitem").filter({ hasText: "Trip.md" });
  await expect(row).toContainText("deleted on laptop");
  await row.getByRole("button", { name: 'Restore "Trip.md"' }).click();
  await expect(page.getByText('"Trip.md" is back.')).toBeVisible();
  await expect(page.getByText("The trash is empty.")).toBeVisible();
  await eventually(async () => (await folder.read("Trip.md")) === "milk\n", "the folder has it again");
});

test("deletions that a device holds are shown, and decided from the browser", async ({ page, server }) => {
  const notes = Array.from({ length: 3 }, (_, number) => `note:Archive/Letter ${String(number)}.md`);
  const hold = { kind: "delete_out", keys: notes, count: notes.length, since: Date.now() };
  const report = async () => {
    const address = `${server.origin}/api/v1/holds?device_id=laptop`;
    const answer = await fetch(address, { method: "PUT", body: JSON.stringify({ holds: [hold] }) });
    return ((await answer.json()) as { decisions: unknown[] }).decisions;
  };
  expect(await report()).toEqual([]);
  await openApp(page);
  await page.getByRole("link", { name: /Held deletions/ }).click();
  const card = page.getByRole("region", { name: "3 notes are gone from the folder of laptop" });
  await expect(card.getByRole("listitem")).toHaveText([
    "Archive/Letter 0.md",
    "Archive/Letter 1.md",
    "Archive/Letter 2.md",
  ]);
  await card.getByRole("button", { name: "Bring them back" }).click();
  await expect(card.getByText("Decided. The device does it as soon as it is connected.")).toBeVisible();
  expect(await report()).toEqual([{ kind: "delete_out", decision: "refuse" }]);
});
