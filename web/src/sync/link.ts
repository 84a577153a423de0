/**
 * Keeps a journal and its vault the same: over a WebSocket, or by polling where none can be had. policy.ts decides what
 * comes next, session.ts what may be said; this does it.
 */

import { checkGeneration, DataSync, fetchSiblings } from "./dataSync";
import { actionOf, TidenoteError } from "./errors";
import { Holds } from "./holds";
import { Job } from "./job";
import type { Journal } from "./journal";
import { encode, PROTOCOL_VERSION, SUBPROTOCOL } from "./messages";
import * as policy from "./policy";
import type { Rest } from "./rest";
import { ClientSession, type Failed, type Received } from "./session";
import { Signal } from "./signal";
import { Socket } from "./socket";
import type { Problem } from "./types";
import type { Change } from "./version";
import { randomName } from "./random";
import { Uploader } from "./uploads";

/** How many keys in doubt are asked for at once. */
const DOUBTS = 100;

/** How the connection stands. */
export interface LinkStatus {
  readonly state: "connected" | "offline" | "catching_up" | "stopped";
  readonly behind: number;
  readonly polling: boolean;
  /** Keys of which the server sent something that must not be. */
  readonly skipped: readonly Problem[];
  readonly problem?: { readonly code: string; readonly message: string };
}

/** What a link needs of whoever owns it. */
export interface LinkOwner {
  readonly endpoint: string;
  readonly vault: string;
  readonly token?: string | undefined;
  readonly config: policy.LinkConfig;
  /** The tab: only the messages of the one that leads are applied. */
  readonly tab: string;
  /** Called with the keys that were altered here. */
  onTouched(keys: Iterable<string>): Promise<void>;
  /** Called when anything about the connection is new. */
  onNews(): void;
  /** Called when something other than notes is new. */
  onNotice(topic: string): void;
}

/** One tab's connection to the server, for as long as `run` runs. */
export class Link {
  private state = policy.INITIAL;
  private readonly uploader: Uploader;
  private readonly holds: Holds;
  private readonly news = new Signal();
  private readonly leaving = new AbortController();
  /** Whether the outbox may hold something to send. */
  private hungry = true;
  private doubtful = false;
  /** The id that our latest connection was opened under. */
  private named = "";
  private holdUntil = 0;
  private refusals = 0;
  private resyncs = 0;
  private answered = false;
  private behind = 0;
  private resyncing = false;
  private readonly settling = new Job(() => this.askDoubts());
  private readonly skipped = new Map<string, Problem>();
  private problem: TidenoteError | null = null;

  constructor(
    private readonly owner: LinkOwner,
    private readonly journal: Journal,
    private readonly rest: Rest,
  ) {
    this.uploader = new Uploader(owner.config, journal, rest, (key) => {
      void owner.onTouched([key]);
      this.wake();
    });
    this.holds = new Holds(journal, rest, owner.tab, (keys) => {
      void owner.onTouched(keys);
      this.wake();
    });
  }

  /** Return how the connection stands. */
  status(): LinkStatus {
    const { problem } = this;
    return {
      state: this.stateNow(),
      behind: this.behind,
      polling: this.state.polling,
      skipped: [...this.skipped.values()],
      ...(problem && { problem: { code: problem.code, message: problem.message } }),
    };
  }

  /** Say that the outbox has grown. */
  wake(): void {
    this.hungry = true;
    this.state = policy.hurried(this.state);
    this.news.stir();
    this.uploader.wake();
  }

  /** Say that the network may have changed, or that somebody looks: find out at once how things stand. */
  doubt(): void {
    this.doubtful = true;
    this.state = policy.awakened(this.state);
    this.news.stir();
  }

  /** Let `run` end. */
  close(): void {
    this.leaving.abort();
    this.state = policy.stopped(this.state);
    this.news.stir();
  }

  /** Sync until closed, or until the server says something that trying again does not cure. */
  async run(): Promise<void> {
    this.uploader.wake();
    for (let step = this.next(); step.kind !== "stop"; step = this.next()) {
      if (step.kind === "wait") await this.news.wait(step.ms);
      else await this.attempt(step.kind);
    }
    await this.uploader.close();
    await this.holds.close();
    await this.settling.idle();
    this.owner.onNews();
  }

  // -- attempts

  private get closing(): boolean {
    return this.leaving.signal.aborted;
  }

  private next(): policy.Step {
    return policy.nextStep(this.state, performance.now());
  }

  private stateNow(): LinkStatus["state"] {
    if (this.state.stopped) return "stopped";
    if (this.resyncing || this.behind > 0) return "catching_up";
    return this.state.connectedAt !== null || this.state.polling ? "connected" : "offline";
  }

  private async attempt(kind: "connect" | "poll"): Promise<void> {
    this.answered = false;
    try {
      if (kind === "connect") {
        await this.overSocket();
        this.state = policy.closed(this.state);
      } else {
        await this.overHttp();
        this.state = policy.polled(this.state, this.owner.config, performance.now(), Math.random());
        this.works();
      }
    } catch (error) {
      await this.failed(kind, known(error));
    }
    this.owner.onNews();
  }

  private works(): void {
    this.problem = null;
    // Uploads need not wait for their own pauses to end.
    this.uploader.wake();
    this.holds.again();
  }

  private async failed(kind: "connect" | "poll", error: TidenoteError): Promise<void> {
    if (this.closing) return;
    this.behind = 0;
    if (error.action === "resync" && this.resyncs === 0) {
      const second = await this.resync(error.quarantine);
      if (second === null) {
        this.state = policy.closed(this.state);
        return;
      }
      error = second;
    }
    this.resyncs = 0;
    this.problem = error;
    const now = performance.now();
    const { config } = this.owner;
    if (error.action === "stop") this.state = policy.stopped(this.state);
    else if (kind === "poll") this.state = policy.pollFailed(this.state, config, now, Math.random());
    else {
      // In another name nobody is there to be chased out.
      const meta = await this.journal.meta().catch(() => null);
      const replaced = error.code === "replaced" && (meta?.deviceId ?? this.named) === this.named;
      this.state = policy.lost(this.state, config, now, Math.random(), replaced);
    }
  }

  /** Compare everything; return why that failed, null if it did not. */
  private async resync(quarantine: boolean): Promise<TidenoteError | null> {
    this.resyncs += 1;
    this.resyncing = true;
    this.owner.onNews();
    try {
      await new DataSync(this.journal, this.rest, this.owner.tab, (keys) => this.owner.onTouched(keys)).run(quarantine);
      return null;
    } catch (error) {
      return known(error);
    } finally {
      this.resyncing = false;
    }
  }

  // -- over a WebSocket

  private async overSocket(): Promise<void> {
    // A new name each time: the memory of a virtual machine is copied with all that is in it.
    const nonce = randomName();
    const meta = await this.journal.connecting(nonce);
    this.named = meta.deviceId;
    const { config, token } = this.owner;
    const protocols = token === undefined ? [] : [SUBPROTOCOL, `bearer.${token}`];
    const signal = AbortSignal.any([this.leaving.signal, AbortSignal.timeout(config.connectTimeoutMs)]);
    const socket = await Socket.open(this.address(meta.deviceId, nonce), protocols, signal, this.news);
    try {
      await this.converse(socket, new ClientSession(meta.cursor, meta.epoch), meta.deviceId);
    } finally {
      socket.close();
    }
  }

  private address(deviceId: string, nonce: string): string {
    const url = new URL("/ws/sync", this.owner.endpoint);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    // With the incarnation: the device that this one was cloned from may be connected, too.
    const query = { device_id: deviceId, vault: this.owner.vault, v: String(PROTOCOL_VERSION), nonce };
    url.search = new URLSearchParams(query).toString();
    return url.href;
  }

  /** Talk until the owner closes the link, or until we go on as another incarnation. */
  private async converse(socket: Socket, session: ClientSession, deviceId: string): Promise<void> {
    const { config } = this.owner;
    let heardAt = performance.now();
    let askedAt: number | null = heardAt;
    let unsent = 0;
    this.hungry = true;
    this.doubtful = false;
    await this.push(session, true);
    for (;;) {
      for (const message of session.outgoing()) socket.send(encode(message));
      if (this.closing) return;
      const data = socket.next();
      if (data !== undefined) {
        heardAt = performance.now();
        this.doubtful = false;
        await this.receive(session, data);
        if (this.answered) this.opened();
        if ((await this.journal.meta()).deviceId !== deviceId) return;
      } else if (socket.failure) {
        throw socket.failure;
      }
      if (socket.unsent < unsent) heardAt = performance.now();
      unsent = socket.unsent;
      await this.push(session, false);
      askedAt = session.canPush ? null : (askedAt ?? performance.now());
      const verdict = policy.watch({ heardAt, askedAt, doubtful: this.doubtful }, config, performance.now());
      if (verdict.kind === "dead") throw new TidenoteError("unreachable", "the server has fallen silent");
      if (verdict.kind === "probe") {
        session.push([]);
        askedAt = performance.now();
      } else if (data === undefined) {
        for (const message of session.outgoing()) socket.send(encode(message));
        await this.news.wait(verdict.ms);
      }
    }
  }

  private opened(): void {
    if (this.state.connectedAt !== null) return;
    this.state = policy.opened(this.state, performance.now());
    this.works();
    this.owner.onNews();
  }

  // -- over HTTP

  /** Push and pull everything that there is. */
  private async overHttp(): Promise<void> {
    this.state = policy.sending(this.state);
    this.hungry = true;
    do {
      const meta = await this.journal.meta();
      const session = new ClientSession(meta.cursor, meta.epoch);
      await this.push(session, true);
      let sent = 0;
      for (const push of session.outgoing()) {
        sent += push.changes.length;
        await this.receive(session, await this.rest.sync(push, meta.deviceId));
      }
      if (!session.canPush) throw new TidenoteError("unreachable", "the server did not answer a push");
      // Only ever forwards, so that this ends. An answer to changes may have no room for what is new.
      if (this.behind > 0 && session.cursor <= meta.cursor && sent === 0) {
        throw new TidenoteError("unreachable", "the server does not get on");
      }
    } while (!this.closing && (this.behind > 0 || (this.hungry && !this.isHolding())));
    await this.settling.idle();
  }

  // -- what both have in common

  private isHolding(): boolean {
    return performance.now() < this.holdUntil;
  }

  /** Hand the session what may be sent now, if no push is under way; the first push may be empty. */
  private async push(session: ClientSession, first: boolean): Promise<void> {
    if (!session.canPush) return;
    let changes: readonly Change[] = [];
    if (this.hungry && !this.isHolding()) {
      this.hungry = false;
      changes = await this.journal.take();
      // What was not taken with these, because a change of the same key goes before it, is next.
      this.hungry ||= changes.length > 0;
    }
    if (changes.length > 0 || first) session.push(changes);
  }

  /** Apply a message durably, then let the session acknowledge it. */
  private async receive(session: ClientSession, data: string): Promise<void> {
    try {
      session.receive(data);
    } catch (error) {
      throw new TidenoteError("unreachable", `the server's answer makes no sense: ${(error as Error).message}`);
    }
    for (const event of session.events()) {
      if (event.kind === "noticed") this.noticed(event.topic);
      else if (event.kind === "failed") throw await this.failure(event);
      else await this.apply(session, event);
    }
  }

  private noticed(topic: string): void {
    if (topic === "holds") this.holds.again();
    this.owner.onNotice(topic);
  }

  private async failure({ code, message, epoch, quarantine, nonce }: Failed): Promise<TidenoteError> {
    if (epoch !== null) checkGeneration((await this.journal.meta()).epoch, epoch);
    if (code === "replaced" && nonce !== null) await this.owner.onTouched(await this.journal.replacedBy(nonce));
    return new TidenoteError(code, message, quarantine);
  }

  private async apply(session: ClientSession, received: Received): Promise<void> {
    const touched = await this.journal.apply(received, this.owner.tab, Date.now());
    session.applied(received.cursor);
    this.behind = received.behind;
    this.resyncs = 0;
    this.answered ||= received.answered;
    for (const key of received.siblings.keys()) this.skipped.delete(key);
    for (const [key, message] of received.skipped) this.skipped.set(key, { key, code: "bad_change", message });
    if (touched.size > 0) await this.owner.onTouched(touched);
    if (received.accepted.length > 0 || (this.answered && received.behind === 0)) this.settling.start();
    this.owner.onNews();
    this.holds.look();
    this.heed(received);
  }

  /** Do about refusals what the journal cannot: wait, upload, stop. */
  private heed({ rejected, answered }: Received): void {
    const codes = new Set(rejected.map(([, { code }]) => code));
    const actions = new Set([...codes].map(actionOf));
    if (actions.has("upload")) this.uploader.wake();
    if (actions.has("retry") || codes.has("move_target_missing")) {
      this.refusals += 1;
      const wait = policy.pause(this.refusals, this.owner.config, (1 + Math.random()) / 2);
      this.holdUntil = performance.now() + wait;
      // A little later, so that the pause is over when it asks.
      setTimeout(() => {
        this.wake();
      }, wait + 5);
    } else if (answered) {
      this.refusals = 0;
    }
    for (const [, { code, message }] of rejected) {
      if (["stop", "resync"].includes(actionOf(code))) throw new TidenoteError(code, message);
    }
  }

  /** Ask for the keys whose confirmed state is a guess; what was delivered meanwhile is newer and stays. */
  private async askDoubts(): Promise<void> {
    const keys = (await this.journal.doubts()).slice(0, DOUBTS);
    if (keys.length === 0) return;
    const { epoch } = await this.journal.meta();
    const before = new Map<string, readonly Change[]>();
    for (const key of keys) before.set(key, await this.journal.confirmed(key));
    const found = await fetchSiblings(this.rest, keys, epoch);
    const touched = await this.journal.reconcile(found, this.owner.tab, before);
    await this.owner.onTouched(touched);
    if (touched.size > 0) this.settling.start();
  }
}

/** Return any error as one of ours: a bug is no reason to stop for good, what is pending is safe. */
function known(error: unknown): TidenoteError {
  return error instanceof TidenoteError ? error : new TidenoteError("internal_error", String(error));
}
