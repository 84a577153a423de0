/** Something to do that is done once at a time: asked for meanwhile, it is done once more. */
export class Job {
  private running: Promise<void> | null = null;
  private wanted = false;

  /** @param once - does it; what it throws ends nothing but the one time. */
  constructor(private readonly once: () => Promise<void>) {}

  /** Do it now, or once more after what is under way. */
  start(): void {
    this.wanted = true;
    this.running ??= this.run();
  }

  /** Wait for what is under way. */
  async idle(): Promise<void> {
    await this.running;
  }

  private async run(): Promise<void> {
    while (this.wanted) {
      this.wanted = false;
      await this.once().catch(() => undefined);
    }
    this.running = null;
  }
}
