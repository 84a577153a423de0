/** `npm run images`: the pictures of docs/images and the icons, drawn by the app itself. */
import { defineConfig } from "@playwright/test";

import base from "./playwright.config";

export default defineConfig(base, { testDir: "tests/images", workers: 1 });
