import { fileURLToPath } from "node:url";

import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

import { pack } from "./build/pack.ts";

function here(path: string): string {
  return fileURLToPath(new URL(path, import.meta.url));
}

export default defineConfig({
  plugins: [svelte(), pack(here("src/worker/service-worker.ts"))],
  resolve: { alias: { "@codemirror/lang-html": here("build/no-html.ts") } },
  build: {
    // The Python package serves and carries what is built here.
    outDir: here("../src/tidenote/server/static"),
    emptyOutDir: true,
    target: "es2022",
    // Inlined assets would need a wider content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // The editor is one piece, and loaded only when a note is opened.
    chunkSizeWarningLimit: 700,
    // How long the plugins took is nothing for whoever builds the app to act on.
    rolldownOptions: { checks: { bundlerTimings: false } },
  },
  // During development a server that runs answers for the app: `npm run dev`.
  server: { proxy: { "/api": "http://127.0.0.1:8787", "/ws": { target: "ws://127.0.0.1:8787", ws: true } } },
  test: {
    include: ["tests/unit/**/*.test.ts"],
    // Conditions have time to come true on a busy machine; only a failing test waits so long.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
