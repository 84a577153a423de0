/** `Replica`: a vault's notes in this browser, and the same as the server's. The face of the package. */

import { deleteSent, type Meta } from "./database";
import { TidenoteError } from "./errors";
import { Journal, type Write } from "./journal";
import { checkKey, utf8Length } from "./keys";
import { Link, type LinkOwner } from "./link";
import { MAX_TEXT_BYTES } from "./messages";
import { NoteList, noteOf, targetOf } from "./notes";
import { DEFAULT_CONFIG } from "./policy";
import { randomName } from "./random";
import { Rest } from "./rest";
import { sha256Hex } from "./sha256";
import { Tabs, type LeaderStatus, type TabMessage } from "./tabs";
import type { Deleted, Note, NoteInfo, PutOptions, ReplicaOptions, Status } from "./types";
import { dotOf, type BlobRef, type Change, type Dot } from "./version";

/** How many notes one commit writes: they are in memory with their texts meanwhile. */
const AT_ONCE = 20;

/** One browser profile's replica of a vault. */
export class Replica {
  private readonly notes = new NoteList();
  private readonly tab = randomName();
  private readonly tabs: Tabs;
  private readonly rest: Rest;
  private readonly subscribers = new Set<(event: { keys: string[] }) => void>();
  private readonly statusListeners = new Set<(status: Status) => void>();
  private readonly noticeListeners = new Set<(topic: string) => void>();
  private readonly leaving = new AbortController();
  private link: { readonly link: Link; readonly done: Promise<void> } | null = null;
  private meta: Meta;
  private heard: LeaderStatus | null = null;

  private constructor(
    private readonly options: ReplicaOptions,
    private readonly journal: Journal,
    name: string,
    meta: Meta,
  ) {
    this.meta = meta;
    this.rest = new Rest(options.endpoint, options.vault, options.token);
    this.tabs = new Tabs(name, this.tab, journal, {
      onLead: () => {
        this.lead();
      },
      onFollow: () => this.follow(),
      onMessage: (message) => void this.hear(message),
    });
  }

  /**
   * Open the replica of a vault: what is stored here is there at once, what the server has comes by and by.
   *
   * @throws TidenoteError `bad_device`, `storage_failed`.
   */
  static async open(options: ReplicaOptions): Promise<Replica> {
    const name = options.name ?? `${prefixOf(options.endpoint)}${options.vault}`;
    const journal = await Journal.open(name, options.onGone);
    try {
      await journal.bind(options.deviceId, options.vault);
      const replica = new Replica(options, journal, name, await journal.meta());
      await replica.reload();
      replica.watchPage();
      replica.tabs.join();
      return replica;
    } catch (error) {
      journal.close();
      throw error;
    }
  }

  /**
   * Delete what is stored here of a server's vaults, but for vaults with something that was not sent or is held back.
   *
   * @param vault - the one that is known to be here, for browsers that do not tell which are.
   * @throws TidenoteError `storage_failed`: some may be left.
   */
  static async forget(endpoint: string, vault: string): Promise<void> {
    const prefix = prefixOf(endpoint);
    const known = "databases" in indexedDB ? await indexedDB.databases() : [{ name: prefix + vault }];
    await deleteSent(known.flatMap(({ name }) => (name?.startsWith(prefix) ? [name] : [])));
  }

  /** Stop syncing and close the journal; what is pending stays for the next time. */
  async close(): Promise<void> {
    this.leaving.abort();
    // First of all, or whoever waits for an answer is waited for.
    this.rest.close();
    await this.tabs.close();
    this.journal.close();
  }

  // -- notes

  /** Return all notes and files, sorted by path, without their texts. */
  list(): NoteInfo[] {
    return this.notes.list();
  }

  /** Return a note with its text; null if there is none. */
  async get(key: string): Promise<Note | null> {
    return noteOf(await this.journal.read(key));
  }

  /** Return the key that a note goes by since it was renamed; null if it is there, or is gone. */
  async movedTo(key: string): Promise<string | null> {
    return targetOf(await this.journal.read(key));
  }

  /**
   * Write a note; durable here when it resolves. What is shown already is not written again. A text over 1 MiB is kept
   * as a blob; half of a surrogate pair, which is no character, becomes U+FFFD.
   *
   * @param options - `base`: the dots that the author had in front of them, which are what `get` or the last `put` of
   *   the note returned; by default what is shown now.
   * @returns the dot of what was written: the base of the next edit.
   * @throws TidenoteError `bad_key`, `bad_value`, `storage_full`, `storage_failed`: nothing was written.
   */
  async put(key: string, typed: string, options: PutOptions = {}): Promise<Dot> {
    return this.writeOne(await writeOf(key, typed, options));
  }

  /**
   * Write several notes in one commit, each over the version that the author had in front of them.
   *
   * @throws TidenoteError as `put`: none was written.
   */
  async putAll(texts: readonly { readonly key: string; readonly text: string; readonly over: Dot }[]): Promise<void> {
    await this.write(await Promise.all(texts.map(({ key, text, over }) => writeOf(key, text, { base: [over] }))));
  }

  /**
   * Write a file; its bytes are durable here when it resolves, and uploaded by and by.
   *
   * @throws TidenoteError `bad_key`, `bad_value`, `storage_full`, `storage_failed`: nothing was written.
   */
  async putBlob(key: string, bytes: Blob, mediaType: string): Promise<Dot> {
    checkKey(key);
    return this.writeOne({ key, modified_at: Date.now(), ...(await content(bytes, mediaType)) });
  }

  /**
   * Delete notes and files, some at a time; those that are not there are left out.
   *
   * @param onSome - called with how many are done, after each commit.
   * @returns what was deleted, for `bringBack`.
   * @throws TidenoteError `storage_full`, `storage_failed`: those after the last commit are still there.
   */
  async delete(keys: readonly string[], onSome: (done: number) => void = () => undefined): Promise<Deleted[]> {
    const deleted: Deleted[] = [];
    for (const [some, done] of parts(keys)) {
      const notes = await this.present(some);
      const changes = await this.write(notes.map(({ key }) => ({ key, value: null, modified_at: Date.now() })));
      deleted.push(...notes.map((note, index) => ({ note, over: dotOf(changes[index] as Dot) })));
      onSome(done);
    }
    return deleted;
  }

  /**
   * Write again what was deleted; what others wrote in its place since stays beside it.
   *
   * @throws TidenoteError `storage_full`, `storage_failed`.
   */
  async bringBack(deleted: readonly Deleted[]): Promise<void> {
    for (const [some] of parts(deleted)) {
      await this.write(
        some.map(({ note, over }) => ({ ...contentOf(note), key: note.key, base: [over], modified_at: Date.now() })),
      );
    }
  }

  /**
   * Give notes and files other names, some at a time; edits that others make meanwhile follow. One that is gone by its
   * turn is left out.
   *
   * @param moves - keys, each with the one that comes in its place.
   * @param onSome - called with how many are done, after each commit.
   * @throws TidenoteError `not_found`, if there is nothing under an old name; `bad_key`, if there is something under a
   *   new one: nothing was renamed. `storage_full`, `storage_failed`: those after the last commit have their old names.
   */
  async rename(
    moves: readonly (readonly [string, string])[],
    onSome: (done: number) => void = () => undefined,
  ): Promise<void> {
    for (const [key, to] of moves) {
      checkKey(to);
      if (!this.notes.get(key)) throw new TidenoteError("not_found", `there is no ${key}`);
      if (this.notes.get(to)) throw new TidenoteError("bad_key", `there is a ${to} already`);
    }
    const targets = new Map(moves);
    for (const [some, done] of parts(moves)) {
      const notes = await this.present(some.map(([key]) => key));
      await this.write(
        notes.flatMap((note): Write[] => {
          const { key, dot } = note;
          const to = targets.get(key) as string;
          const modifiedAt = this.notes.get(key)?.modifiedAt ?? Date.now();
          return [
            { ...contentOf(note), key: to, modified_at: modifiedAt },
            { key, value: null, moved_to: to, base: [dot], modified_at: Date.now() },
          ];
        }),
      );
      onSome(done);
    }
  }

  /**
   * Return the bytes of a blob, from this browser if it has them.
   *
   * @throws TidenoteError what the server said, or that it gave no answer.
   */
  async blob(blob: BlobRef): Promise<Blob> {
    const kept = await this.journal.blob(blob.sha256, Date.now());
    if (kept) return kept;
    const bytes = await this.rest.download(blob);
    // Without room for it, it is fetched again the next time.
    await this.journal.keep(blob.sha256, bytes, Date.now()).catch(() => undefined);
    return bytes;
  }

  // -- what a person decides

  /** Send again what the server refused, all or the changes of some keys. */
  async retryParked(keys?: readonly string[]): Promise<void> {
    await this.altered(await this.journal.retryParked(keys), true);
  }

  /** Let the refused changes of a note go; what the server has is shown again. */
  async discardParked(key: string): Promise<void> {
    await this.journal.discardParked(key);
    await this.altered([key], false);
  }

  // -- how things stand

  /** Call a function after every durable change of what is shown, local or remote; return what ends that. */
  subscribe(listener: (event: { keys: string[] }) => void): () => void {
    return added(this.subscribers, listener);
  }

  /** Return how things stand. */
  status(): Status {
    const { pending, parked, quarantined } = this.notes;
    const { leads } = this.tabs;
    const link = leads ? (this.link?.link.status() ?? null) : this.heard;
    const { deviceId, epoch, cursor, lastConfirmedAt } = (leads ? null : this.heard) ?? fromMeta(this.meta);
    return {
      state: link?.state ?? "offline",
      behind: link?.behind ?? 0,
      pending,
      parked,
      held: quarantined,
      skipped: link?.skipped ?? [],
      lastConfirmedAt,
      epoch,
      cursor,
      leader: leads,
      polling: link?.polling ?? false,
      deviceId,
      ...(link?.problem && { problem: link.problem }),
    };
  }

  /** Call a function when anything about the status is new; return what ends that. */
  onStatus(listener: (status: Status) => void): () => void {
    return added(this.statusListeners, listener);
  }

  /** Call a function when the server says that something other than notes is new: look again by REST. */
  onNotice(listener: (topic: string) => void): () => void {
    return added(this.noticeListeners, listener);
  }

  /**
   * Wait until the server has confirmed every change that it does not refuse.
   *
   * @throws TidenoteError why syncing stopped; `unreachable`, if the replica is closed meanwhile.
   */
  flush(): Promise<void> {
    this.hurry();
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const { pending, state, problem } = this.status();
        if (pending > 0 && state !== "stopped" && !this.leaving.signal.aborted) return;
        this.statusListeners.delete(look);
        this.leaving.signal.removeEventListener("abort", look);
        if (pending === 0) resolve();
        else reject(new TidenoteError(problem?.code ?? "unreachable", problem?.message ?? "the replica was closed"));
      };
      this.statusListeners.add(look);
      this.leaving.signal.addEventListener("abort", look);
      look();
    });
  }

  // -- inside

  /** Return those of some notes and files that are there, with their texts. */
  private async present(keys: readonly string[]): Promise<Note[]> {
    return (await Promise.all(keys.map((key) => this.get(key)))).filter((note) => note !== null);
  }

  private async writeOne(write: Write): Promise<Dot> {
    const [change] = await this.write([write]);
    return dotOf(change as Dot);
  }

  private async write(writes: readonly Write[]): Promise<Change[]> {
    if (writes.length === 0) return [];
    const changes = await this.journal.write(writes, this.tab, Date.now());
    await this.altered(
      writes.map(({ key }) => key),
      true,
    );
    return changes;
  }

  /** Show what altered in the journal, here and in the other tabs. */
  private async altered(keys: Iterable<string>, written: boolean): Promise<void> {
    const touched = [...keys];
    if (touched.length === 0) return;
    this.tabs.tell({ kind: "touched", keys: touched, written });
    if (written) this.link?.link.wake();
    await this.refresh(touched);
  }

  private async refresh(keys: string[]): Promise<void> {
    for (const held of await this.journal.heads(keys)) this.notes.set(held);
    for (const listener of [...this.subscribers]) listener({ keys });
    this.tellStatus();
  }

  private tellStatus(): void {
    const status = this.status();
    for (const listener of [...this.statusListeners]) listener(status);
  }

  /** Read all that is in the journal; after that, changes come key by key. */
  private async reload(): Promise<void> {
    const all = await this.journal.allHeads();
    this.notes.clear();
    for (const held of all) this.notes.set(held);
  }

  // -- one tab among others

  private lead(): void {
    const { options } = this;
    const config = { ...DEFAULT_CONFIG, ...(options.pollMs !== undefined && { pollMs: options.pollMs }) };
    const owner: LinkOwner = {
      endpoint: options.endpoint,
      vault: options.vault,
      token: options.token,
      config,
      tab: this.tab,
      onTouched: (keys) => this.altered(keys, false),
      onNews: () => void this.tellNews(),
      onNotice: (topic) => {
        this.tabs.tell({ kind: "notice", topic });
        this.notice(topic);
      },
    };
    const link = new Link(owner, this.journal, this.rest);
    this.link = { link, done: link.run() };
    this.tellStatus();
  }

  private async follow(): Promise<void> {
    const { link } = this;
    link?.link.close();
    await link?.done;
    this.link = null;
    this.heard = null;
    this.tellStatus();
  }

  /** Tell everybody how the connection stands. */
  private async tellNews(): Promise<void> {
    // A journal that cannot be read is the connection's problem, and told as such.
    this.meta = await this.journal.meta().catch(() => this.meta);
    const link = this.link?.link.status();
    if (link) this.tabs.tell({ kind: "status", status: { ...link, ...fromMeta(this.meta) } });
    this.tellStatus();
  }

  private async hear(message: TabMessage): Promise<void> {
    switch (message.kind) {
      case "touched":
        if (message.written) this.link?.link.wake();
        await this.refresh([...message.keys]);
        break;
      case "status":
        this.heard = message.status;
        this.tellStatus();
        break;
      case "notice":
        this.notice(message.topic);
        break;
      case "hello":
        if (this.link) await this.tellNews();
        break;
      case "hurry":
        this.link?.link.wake();
        break;
      case "bye":
        break;
    }
  }

  private notice(topic: string): void {
    for (const listener of [...this.noticeListeners]) listener(topic);
  }

  private hurry(): void {
    this.link?.link.wake();
    this.tabs.tell({ kind: "hurry" });
  }

  /** Heed what the browser tells about the network, and about a page that was asleep. */
  private watchPage(): void {
    if (typeof window === "undefined") return;
    const { signal } = this.leaving;
    const doubt = (): void => this.link?.link.doubt();
    window.addEventListener("online", doubt, { signal });
    window.addEventListener("offline", doubt, { signal });
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && doubt(), { signal });
    const awake = (): void => void this.reload().then(() => this.refresh(this.list().map(({ key }) => key)));
    // What other tabs told meanwhile was not heard.
    document.addEventListener("resume", awake, { signal });
    window.addEventListener("pageshow", ({ persisted }) => persisted && awake(), { signal });
  }
}

function fromMeta(meta: Meta): Omit<LeaderStatus, keyof ReturnType<Link["status"]>> {
  return { deviceId: meta.deviceId, epoch: meta.epoch, cursor: meta.cursor, lastConfirmedAt: meta.confirmedAt };
}

async function writeOf(key: string, typed: string, { base, live }: PutOptions): Promise<Write> {
  const text = typed.toWellFormed();
  const write = {
    key,
    value: text,
    modified_at: Date.now(),
    ...(base && { base: base.map(dotOf) }),
    ...(live && { live: true as const }),
  };
  if (utf8Length(text) <= MAX_TEXT_BYTES && !text.includes("\0")) return write;
  return { ...write, ...(await content(new Blob([text]), "text/plain")) };
}

async function content(bytes: Blob, mediaType: string): Promise<Pick<Write, "value" | "blob" | "bytes">> {
  const blob: BlobRef = { sha256: await sha256Hex(bytes), size: bytes.size, media_type: mediaType };
  return { value: "", blob, bytes };
}

function contentOf({ text, blob }: Note): Pick<Write, "value" | "blob"> {
  return { value: text ?? "", ...(blob && { blob }) };
}

/** Yield what one commit takes of a list, and how many are done with it. */
function* parts<T>(all: readonly T[]): Iterable<[some: readonly T[], done: number]> {
  for (let at = 0; at < all.length; at += AT_ONCE)
    yield [all.slice(at, at + AT_ONCE), Math.min(at + AT_ONCE, all.length)];
}

function added<T>(set: Set<T>, item: T): () => void {
  set.add(item);
  return () => set.delete(item);
}

/** Return how the names of a server's databases begin. */
function prefixOf(endpoint: string): string {
  return `tidenote/${new URL(endpoint).origin}/`;
}
