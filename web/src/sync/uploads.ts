/**
 * Uploads the blobs of the outbox, beside everything else: texts never wait for a video. One at a time, in order. When
 * a blob is there, its change may be sent; link.ts does that.
 */

import { TidenoteError } from "./errors";
import { Job } from "./job";
import type { Journal } from "./journal";
import type { OutboxRow } from "./outbox";
import { pause, type LinkConfig } from "./policy";
import type { Rest } from "./rest";

/** Uploads what the outbox names, whenever it is woken. */
export class Uploader {
  private readonly job = new Job(() => this.uploadAll());
  private failures = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly leaving = new AbortController();

  /** @param onUploaded - called after each, and after one that was parked, with its key. */
  constructor(
    private readonly config: LinkConfig,
    private readonly journal: Journal,
    private readonly rest: Rest,
    private readonly onUploaded: (key: string) => void,
  ) {}

  /** Say that there may be something to upload. */
  wake(): void {
    if (!this.closed) this.job.start();
  }

  /** End what is under way. */
  async close(): Promise<void> {
    this.leaving.abort();
    clearTimeout(this.timer);
    await this.job.idle();
  }

  private get closed(): boolean {
    return this.leaving.signal.aborted;
  }

  private async uploadAll(): Promise<void> {
    try {
      for (const row of await this.journal.uploads()) if (this.closed || !(await this.upload(row))) break;
    } catch {
      // The journal failed; the link meets the same and says so.
      this.retry();
    }
  }

  /** Upload one blob; return whether to go on with the next. */
  private async upload(row: OutboxRow): Promise<boolean> {
    const { blob } = row.change;
    const bytes = blob && (await this.journal.blob(blob.sha256, Date.now()));
    if (!blob || !bytes) {
      await this.park(row, "blob_missing", "the bytes of this file are no longer here: add the file again");
      return true;
    }
    try {
      await this.rest.upload(blob, bytes, this.leaving.signal);
    } catch (error) {
      if (!(error instanceof TidenoteError)) throw error;
      return this.failed(row, error);
    }
    this.failures = 0;
    await this.journal.uploaded(row);
    this.onUploaded(row.key);
    return true;
  }

  private async failed(row: OutboxRow, error: TidenoteError): Promise<boolean> {
    if (isForGood(error)) {
      await this.park(row, error.code, error.message);
      return true;
    }
    this.retry();
    return false;
  }

  private async park(row: OutboxRow, code: string, message: string): Promise<void> {
    await this.journal.park(row, code, message);
    this.onUploaded(row.key);
  }

  private retry(): void {
    if (this.closed) return;
    this.failures += 1;
    clearTimeout(this.timer);
    const ms = pause(this.failures, this.config, (1 + Math.random()) / 2);
    this.timer = setTimeout(() => {
      this.wake();
    }, ms);
  }
}

/** Return whether an upload failed because the server will never take these bytes. */
export function isForGood({ action, code }: TidenoteError): boolean {
  return action === "park" || code === "message_too_large";
}
