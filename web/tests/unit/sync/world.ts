/** A real server and real replicas for tests: everything is real but the browser around them. */

import "fake-indexeddb/auto";

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { afterEach } from "vitest";
import { WebSocket } from "ws";

import { Replica, type ReplicaOptions } from "../../../src/sync";

Object.assign(globalThis, { WebSocket });

const ROOT = resolve(fileURLToPath(import.meta.url), "../../../../..");
const BOUND_MS = 60_000;

/** What has to be ended after the test, the last first. */
const endings: (() => Promise<unknown> | undefined)[] = [];

afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
});

/** Do something after the test; what began last ends first. */
export function ending(end: () => Promise<unknown> | undefined): void {
  endings.push(end);
}

/** A server process with its data in a folder of its own. */
export class Server {
  private process: ChildProcess | null = null;
  private port = 0;
  readonly data = mkdtempSync(join(tmpdir(), "tidenote-web-"));

  private constructor(private readonly flags: string[]) {}

  static async start(...flags: string[]): Promise<Server> {
    const server = new Server(flags);
    ending(async () => {
      await server.kill();
      rmSync(server.data, { recursive: true, force: true });
    });
    await server.restart();
    return server;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${String(this.port)}`;
  }

  /** Start it, at the same port as before. */
  async restart(): Promise<void> {
    const args = ["serve", "--no-auth", "--data", this.data, "--port", String(this.port), ...this.flags];
    const child = spawn(join(ROOT, ".venv/bin/tidenote"), args, { stdio: ["ignore", "pipe", "pipe"] });
    this.process = child;
    let complaints = "";
    child.stderr.on("data", (data: Buffer) => (complaints += data.toString()));
    for await (const line of createInterface({ input: child.stdout })) {
      const found = /serves http:\/\/127\.0\.0\.1:(\d+)/.exec(line);
      if (!found) continue;
      this.port = Number(found[1]);
      child.stdout.resume();
      return;
    }
    throw new Error(`the server did not start: ${complaints}`);
  }

  /** End it without a goodbye. */
  async kill(): Promise<void> {
    const child = this.process;
    this.process = null;
    if (!child || child.exitCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  }
}

/** Open a replica that is closed after the test. */
export async function open(options: Partial<ReplicaOptions> & Pick<ReplicaOptions, "endpoint">): Promise<Replica> {
  const name = options.name ?? `browser-${String(Math.random())}`;
  const replica = await Replica.open({ vault: "main", deviceId: "browser", name, pollMs: 200, ...options });
  ending(() => replica.close());
  return replica;
}

/** Wait until something holds, which is looked at after every change of the replicas. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + BOUND_MS;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`in vain: ${what}`);
    await new Promise((next) => setTimeout(next, 10));
  }
}

/** Return what a replica shows of a note. */
export async function textOf(replica: Replica, key: string): Promise<string | null> {
  return (await replica.get(key))?.text ?? null;
}

/** Wait until a note has a text. */
export async function shows(replica: Replica, key: string, text: string): Promise<void> {
  await until(`${key} shows ${text}`, async () => (await textOf(replica, key)) === text);
}
