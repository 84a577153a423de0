/** The Lamport clock and the bounds of a timestamp. One replica keeps one clock a vault (docs/protocol.md 10). */

/** The greatest timestamp: the greatest integer that every JSON implementation reads back unchanged. */
export const MAX_TIMESTAMP = Number.MAX_SAFE_INTEGER;

/** A logical clock that a write advances and that every seen timestamp pushes forward. */
export class LamportClock {
  /** @param time - the last timestamp issued or seen; 0 for a new replica. */
  constructor(public time = 0) {}

  /** Return the timestamp of a new write: one greater than everything seen. */
  tick(): number {
    this.time += 1;
    return this.time;
  }

  /** Note timestamps and receipts seen, so that the next write is greater than all of them. */
  observe(...timestamps: number[]): void {
    for (const timestamp of timestamps) this.time = Math.max(this.time, timestamp);
  }
}

/** Say whether a value is an integer in 1..2^53-1. */
export function isTimestamp(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1;
}
