/** What happens to the built files: a list for the service worker, compressed copies, and a look at their size. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

import { build as buildWorker, type Plugin } from "vite";

/** All scripts and styles together, compressed by gzip, whatever is loaded when. */
const BUDGET_BYTES = 350 * 1024;
const TEXT = /\.(?:js|css|svg|webmanifest)$/;
const CODE = /\.(?:js|css)$/;

/** Finish a build in `outDir`. */
export function pack(worker: string): Plugin {
  let outDir = "";
  return {
    name: "tidenote-pack",
    apply: "build",
    configResolved(config) {
      outDir = config.build.outDir;
    },
    closeBundle: {
      order: "post",
      async handler() {
        await addWorker(worker, outDir);
        const size = compress(outDir);
        console.log(
          `all scripts and styles: ${(size / 1024).toFixed(1)} KiB of ${String(BUDGET_BYTES / 1024)} in gzip`,
        );
        if (size > BUDGET_BYTES) throw new Error("the app is larger than its budget; see build/pack.ts");
      },
    },
  };
}

/** Build the service worker with what it has to keep: every file that there is. */
async function addWorker(entry: string, outDir: string): Promise<void> {
  const names = filesIn(outDir).sort();
  const hash = createHash("sha256");
  for (const name of names) hash.update(name).update(readFileSync(join(outDir, name)));
  const files = names.map((name) => (name === "index.html" ? "/" : `/${name}`));
  await buildWorker({
    configFile: false,
    logLevel: "warn",
    publicDir: false,
    define: { __FILES__: JSON.stringify(files), __VERSION__: JSON.stringify(hash.digest("hex").slice(0, 16)) },
    build: {
      outDir,
      emptyOutDir: false,
      target: "es2022",
      rollupOptions: { input: entry, output: { format: "es", entryFileNames: "sw.js" } },
    },
  });
}

/** Write compressed copies; return how large all code is in gzip. */
function compress(outDir: string): number {
  let total = 0;
  for (const name of filesIn(outDir)) {
    if (!TEXT.test(name)) continue;
    const path = join(outDir, name);
    const bytes = readFileSync(path);
    const gzip = gzipSync(bytes, { level: 9 });
    if (CODE.test(name)) total += gzip.length;
    writeFileSync(`${path}.gz`, gzip);
    writeFileSync(`${path}.br`, brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }));
  }
  return total;
}

function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)));
}
