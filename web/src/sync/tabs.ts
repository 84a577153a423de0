/**
 * The tabs of one vault in one browser: one leads and talks to the server, the others follow. All write to the same
 * journal and tell each other. When the leader goes, another takes over.
 */

import { TidenoteError } from "./errors";
import type { Journal } from "./journal";
import type { LinkStatus } from "./link";

/** How long a leader leads without saying so again; only where the browser has no locks. */
const LEASE_MS = 15_000;
const RENEW_MS = 5000;

/** What the leader tells the others about the connection. */
export interface LeaderStatus extends LinkStatus {
  readonly deviceId: string;
  readonly epoch: string | null;
  readonly cursor: number;
  readonly lastConfirmedAt: number | null;
}

/** What tabs tell each other; never a text. */
export type TabMessage =
  /** These keys hold something else in the journal now; `written` by a tab, there is something to send. */
  | { readonly kind: "touched"; readonly keys: readonly string[]; readonly written: boolean }
  | { readonly kind: "status"; readonly status: LeaderStatus }
  | { readonly kind: "notice"; readonly topic: string }
  /** A tab has opened, and asks how things stand. */
  | { readonly kind: "hello" }
  /** Somebody waits: send what there is, and find out whether the server is there. */
  | { readonly kind: "hurry" }
  /** The leader goes. */
  | { readonly kind: "bye" };

/** What this tab does when it leads, follows, or is told something. */
export interface TabRole {
  onLead(): void;
  onFollow(): Promise<void>;
  onMessage(message: TabMessage): void;
}

/** One tab among those of a vault. */
export class Tabs {
  private readonly channel: BroadcastChannel;
  private readonly leaving = new AbortController();
  private timer: ReturnType<typeof setInterval> | undefined;
  private settled: Promise<void> = Promise.resolve();
  private leading = false;

  /**
   * @param name - of the journal's database.
   * @param tab - this tab's name.
   */
  constructor(
    private readonly name: string,
    private readonly tab: string,
    private readonly journal: Journal,
    private readonly role: TabRole,
  ) {
    this.channel = new BroadcastChannel(name);
    this.channel.onmessage = ({ data }) => {
      const message = data as TabMessage;
      if (message.kind === "bye" && this.timer !== undefined) this.campaign();
      this.role.onMessage(message);
    };
  }

  /** Whether this tab is the one that talks to the server. */
  get leads(): boolean {
    return this.leading;
  }

  /** Try to lead, now and whenever the leader goes. */
  join(): void {
    this.tell({ kind: "hello" });
    // The types say that it is always there; pages from `http:` other than localhost know better.
    const locks = (globalThis.navigator as Navigator | undefined)?.locks as LockManager | undefined;
    if (locks) this.settled = this.queue(locks);
    else {
      this.timer = setInterval(() => {
        this.campaign();
      }, RENEW_MS);
      this.campaign();
    }
  }

  /** Tell the other tabs. */
  tell(message: TabMessage): void {
    if (!this.leaving.signal.aborted) this.channel.postMessage(message);
  }

  /** Leave the others alone. */
  async close(): Promise<void> {
    clearInterval(this.timer);
    const { leading } = this;
    this.leaving.abort();
    await this.settled;
    if (this.leading) await this.follow();
    if (leading) this.channel.postMessage({ kind: "bye" } satisfies TabMessage);
    this.channel.close();
  }

  /** Wait for the lock, and hold it until this tab goes. */
  private async queue(locks: LockManager): Promise<void> {
    const { signal } = this.leaving;
    try {
      await locks.request(this.name, { signal }, async () => {
        if (!(await this.takeOver(signal))) return;
        this.lead();
        await new Promise<void>((resolve) => {
          if (signal.aborted) resolve();
          signal.addEventListener("abort", () => {
            resolve();
          });
        });
        await this.follow();
      });
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /** Note that whoever led before is gone, as soon as the journal can be written; return false if this tab goes first. */
  private async takeOver(signal: AbortSignal): Promise<boolean> {
    while (!signal.aborted) {
      try {
        return await this.journal.lead(this.tab, Date.now(), Number.MAX_SAFE_INTEGER, true);
      } catch (error) {
        if (!(error instanceof TidenoteError)) throw error;
      }
      await delay(RENEW_MS, signal);
    }
    return false;
  }

  /** Where the browser has no locks: lead for some time, if nobody else does. */
  private campaign(): void {
    this.settled = this.settled.then(async () => {
      if (this.leaving.signal.aborted) return;
      const now = Date.now();
      const leads = await this.journal.lead(this.tab, now, now + LEASE_MS, false).catch((error: unknown) => {
        if (error instanceof TidenoteError) return false;
        throw error;
      });
      if (leads && !this.leading) this.lead();
      else if (!leads && this.leading) await this.follow();
    });
  }

  private lead(): void {
    this.leading = true;
    this.role.onLead();
  }

  private async follow(): Promise<void> {
    this.leading = false;
    await this.role.onFollow();
    // The journal may be the reason why.
    await this.journal.resign(this.tab).catch(() => undefined);
  }
}

/** Wait for some time, or until a signal is given. */
function delay(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
