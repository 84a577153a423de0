import { defineConfig } from "@playwright/test";

import { launchOptions } from "./tests/e2e/chromium";

export default defineConfig({
  testDir: "tests/e2e",
  globalSetup: "./tests/e2e/setup.ts",
  // Conditions have time to come true on a busy machine; only a failing test waits so long.
  timeout: 120_000,
  expect: { timeout: 45_000 },
  workers: process.env.WORKERS ? Number(process.env.WORKERS) : 2,
  fullyParallel: true,
  forbidOnly: Boolean(process.env.CI),
  reporter: "list",
  use: {
    launchOptions: launchOptions(),
    trace: "retain-on-failure",
    viewport: { width: 1280, height: 800 },
  },
});
