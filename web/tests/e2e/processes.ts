/** A real server and real folder daemons, from the environment that `make setup` made. Loopback only. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../../..");
const PYTHON = join(ROOT, ".venv/bin/python");
const START_MS = 90_000;
const POLL_MS = 20;

const run = promisify(execFile);

/** Return an environment without settings of the person who runs the tests. */
function environment(): NodeJS.ProcessEnv {
  const clean = Object.entries(process.env).filter(([name]) => !name.startsWith("TIDENOTE_"));
  return { ...Object.fromEntries(clean), NO_COLOR: "1", COLUMNS: "200", PYTHONUNBUFFERED: "1" };
}

/** Run one command to its end; return what it printed. */
export async function tidenote(...args: string[]): Promise<string> {
  const { stdout } = await run(PYTHON, ["-m", "tidenote", ...args], { env: environment(), timeout: START_MS });
  return stdout;
}

/** Ask again and again until a condition holds. */
export async function eventually(
  condition: () => boolean | Promise<boolean>,
  what: string,
  withinMs = START_MS,
): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within ${String(withinMs)} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** One running command. */
class Running {
  output = "";
  private readonly child: ChildProcess;

  constructor(args: readonly string[]) {
    this.child = spawn(PYTHON, ["-m", "tidenote", ...args], { env: environment(), stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.setEncoding("utf-8").on("data", (text: string) => (this.output += text));
    }
  }

  get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** Wait until it prints something, and return the match. */
  async says(pattern: RegExp): Promise<RegExpExecArray> {
    await eventually(() => pattern.test(this.output) || this.ended, `the command says ${String(pattern)}`);
    const match = pattern.exec(this.output);
    if (!match) throw new Error(`the command ended:\n${this.output}`);
    return match;
  }

  async stop(): Promise<void> {
    if (this.ended) return;
    const gone = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGTERM");
    await gone;
  }
}

/** A server on a port of its own. */
export class Server {
  private process: Running | undefined;
  /** Where it answers, such as `http://127.0.0.1:40123`. */
  origin = "";

  constructor(
    readonly data: string,
    private readonly auth: boolean,
  ) {}

  /** Start it; a second time on the same port. */
  async start(): Promise<void> {
    const port = this.origin ? new URL(this.origin).port : "0";
    const process = new Running(["serve", "--data", this.data, "--port", port, ...(this.auth ? [] : ["--no-auth"])]);
    this.process = process;
    const [, origin] = await process.says(/serves (http:\/\/\S+?),/);
    this.origin = origin ?? "";
  }

  async stop(): Promise<void> {
    await this.process?.stop();
  }

  /** What it printed so far. */
  get output(): string {
    return this.process?.output ?? "";
  }

  /** Write a note by REST, as somebody else; return when it is in the log. */
  async put(path: string, text: string, etag?: string): Promise<void> {
    const address = `${this.origin}/api/v1/notes/${path.split("/").map(encodeURIComponent).join("/")}`;
    const condition: Record<string, string> = etag ? { "If-Match": etag } : { "If-None-Match": "*" };
    const response = await fetch(address, { method: "PUT", body: text, headers: condition });
    if (!response.ok) throw new Error(await response.text());
  }

  /** Write many notes at once, as a plain client that knows the mandatory fields only. */
  async seed(notes: readonly (readonly [key: string, text: string])[]): Promise<void> {
    const inOneMessage = 500;
    let last_ack = 0;
    for (let at = 0; at < notes.length; at += inOneMessage) {
      const changes = notes
        .slice(at, at + inOneMessage)
        .map(([key, value]) => ({ key, value, timestamp: 1, device_id: "seed" }));
      const response = await fetch(`${this.origin}/api/v1/sync?device_id=seed`, {
        method: "POST",
        body: JSON.stringify({ type: "sync_push", changes, last_ack, id: at }),
        headers: { "Content-Type": "application/json" },
      });
      const answer = (await response.json()) as { rejected?: unknown[]; ack_timestamp: number };
      if (!response.ok || answer.rejected?.length) throw new Error(JSON.stringify(answer));
      last_ack = answer.ack_timestamp;
    }
  }

  /** Return a number of /metrics; 0 if it is not there. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.origin}/metrics`)).text();
    return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1] ?? 0);
  }
}

/** A folder that a daemon keeps the same as the server's vault. */
export class Folder {
  private process: Running | undefined;

  constructor(
    readonly path: string,
    private readonly server: Server,
    private readonly deviceId: string,
  ) {}

  async start(): Promise<void> {
    await mkdir(this.path, { recursive: true });
    const endpoint = `${this.server.origin.replace("http", "ws")}/ws/sync`;
    const process = new Running(["sync", this.path, "--endpoint", endpoint, "--device-id", this.deviceId, "--yes"]);
    this.process = process;
    await process.says(/in sync/);
  }

  async stop(): Promise<void> {
    await this.process?.stop();
  }

  async write(path: string, text: string | Uint8Array): Promise<void> {
    await mkdir(dirname(join(this.path, path)), { recursive: true });
    await writeFile(join(this.path, path), text);
  }

  /** Return a file's text; null if there is none. */
  async read(path: string): Promise<string | null> {
    try {
      return await readFile(join(this.path, path), "utf-8");
    } catch {
      return null;
    }
  }

  async rename(path: string, to: string): Promise<void> {
    await rename(join(this.path, path), join(this.path, to));
  }

  async remove(path: string): Promise<void> {
    await rm(join(this.path, path));
  }
}

/** Return a new folder that is nobody else's. */
export function temporaryFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), "tidenote-web-"));
}

/** Let ten minutes pass for all one-time links of a running server. */
export async function expirePairings(server: Server): Promise<void> {
  const statement = "UPDATE pairings SET expires_at = 1";
  const script = `import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute("${statement}"); c.commit(); c.close()`;
  await run(PYTHON, ["-c", script, join(server.data, "tidenote.db")], { timeout: START_MS });
}
