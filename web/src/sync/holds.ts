/**
 * Tells the server which notes are held back here because they may have been deleted elsewhere, and does what a person
 * decided about them anywhere (docs/protocol.md 9.5 and 11.9).
 */

import type { Quarantined } from "./database";
import { Job } from "./job";
import type { Journal } from "./journal";
import type { Rest } from "./rest";

/** How many keys a report names. */
const MAX_KEYS = 1000;
/** How often a report is made again while something is held: the server forgets reports. */
const REPORT_AGAIN_MS = 3_600_000;

/** Reports what is held, whenever it is told to. */
export class Holds {
  /** The keys that the server was told; null before. */
  private reported: string | null = null;
  private reportedAt = -Infinity;
  private failed = false;
  private readonly job = new Job(() => this.report().catch(() => this.giveUp()));

  /**
   * @param tab - the one that reports.
   * @param onReleased - called with the keys that were written anew.
   */
  constructor(
    private readonly journal: Journal,
    private readonly rest: Rest,
    private readonly tab: string,
    private readonly onReleased: (keys: readonly string[]) => void,
  ) {}

  /** Report what is held, if that is new or the server may have forgotten it. */
  look(): void {
    if (!this.failed) this.job.start();
  }

  /** Report what is held, whether it is new or not: something was decided, or the connection is. */
  again(): void {
    this.reportedAt = -Infinity;
    this.failed = false;
    this.look();
  }

  /** Wait for what is under way. */
  async close(): Promise<void> {
    await this.job.idle();
  }

  private async report(): Promise<void> {
    const held = await this.journal.quarantined();
    const keys = held.map(({ key }) => key);
    const names = keys.join("\n");
    const isKnown = names === this.reported && (keys.length === 0 || Date.now() - this.reportedAt < REPORT_AGAIN_MS);
    if (!isKnown) await this.tell(keys, names, held);
  }

  /** The next connection reports it again. */
  private giveUp(): void {
    this.failed = true;
  }

  private async tell(keys: readonly string[], names: string, held: readonly Quarantined[]): Promise<void> {
    // Whoever asks for another one meanwhile puts this back.
    this.reportedAt = Date.now();
    const { deviceId } = await this.journal.meta();
    const since = held.reduce((first, hold) => Math.min(first, hold.since), Date.now());
    const hold = { kind: "quarantine" as const, keys: keys.slice(0, MAX_KEYS), count: keys.length, since };
    const { decisions } = await this.rest.reportHolds(deviceId, keys.length > 0 ? [hold] : []);
    this.reported = names;
    const decided = decisions.find(({ kind }) => kind === "quarantine");
    if (!decided || keys.length === 0) return;
    await this.journal.release(keys, decided.decision === "confirm", this.tab, Date.now());
    this.onReleased(keys);
    this.job.start();
  }
}
