/** Something to wait for that remembers: a `stir` while nobody waits ends the next `wait` at once. */
export class Signal {
  private stirred = false;
  private wake: () => void = () => undefined;

  /** End the wait, or the next one. */
  stir(): void {
    this.stirred = true;
    this.wake();
  }

  /** Wait for a `stir`, or for some time. */
  async wait(ms: number): Promise<void> {
    if (!this.stirred) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
        timer = setTimeout(resolve, ms);
      });
      clearTimeout(timer);
    }
    this.stirred = false;
  }
}
