/** `Replica`: a vault's notes in this browser, and the same as the server's. The face of the package. */

import { TidenoteError } from "./errors";
import { Journal, type Write } from "./journal";
import { checkKey, utf8Length } from "./keys";
import { MAX_TEXT_BYTES } from "./messages";
import { NoteList, noteOf, targetOf } from "./notes";
import { sha256Hex } from "./sha256";
import type { Note, NoteInfo, PutOptions, ReplicaOptions, Status } from "./types";
import { dotOf, type BlobRef, type Dot } from "./version";

/** One browser profile's replica of a vault. */
export class Replica {
  private readonly notes = new NoteList();
  private readonly tab = randomName();
  private readonly subscribers = new Set<(event: { keys: string[] }) => void>();
  private readonly statusListeners = new Set<(status: Status) => void>();
  private readonly noticeListeners = new Set<(topic: string) => void>();

  private constructor(
    private readonly options: ReplicaOptions,
    private readonly journal: Journal,
  ) {}

  /**
   * Open the replica of a vault: what is stored here is there at once, what the server has comes by and by.
   *
   * @throws TidenoteError `bad_device`, `storage_failed`.
   */
  static async open(options: ReplicaOptions): Promise<Replica> {
    const journal = await Journal.open(`tidenote/${new URL(options.endpoint).origin}/${options.vault}`);
    try {
      await journal.bind(options.deviceId, options.vault);
      const replica = new Replica(options, journal);
      for await (const page of journal.allHeads()) for (const held of page) replica.notes.set(held);
      return replica;
    } catch (error) {
      journal.close();
      throw error;
    }
  }

  /** Stop syncing and close the journal; what is pending stays for the next time. */
  close(): Promise<void> {
    this.journal.close();
    return Promise.resolve();
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
   * Write a note; durable here when it resolves. What is shown already is not written again.
   *
   * @param options - `base`: the dots that the author had in front of them, which are what `get` or the last `put` of
   *   the note returned; by default what is shown now.
   * @returns the dot of what was written: the base of the next edit.
   * @throws TidenoteError `bad_key`, `bad_value`, `storage_full`, `storage_failed`: nothing was written.
   */
  async put(key: string, text: string, options: PutOptions = {}): Promise<Dot> {
    if (utf8Length(text) > MAX_TEXT_BYTES || text.includes("\0"))
      return this.putBlob(key, new Blob([text]), "text/plain");
    const base = options.base && { base: options.base.map(dotOf) };
    const live = options.live && { live: true };
    return this.write({ key, value: text, modified_at: Date.now(), ...base, ...live });
  }

  /**
   * Write a file; its bytes are durable here when it resolves, and uploaded by and by.
   *
   * @throws TidenoteError `bad_key`, `bad_value`, `storage_full`, `storage_failed`: nothing was written.
   */
  async putBlob(key: string, bytes: Blob, mediaType: string): Promise<Dot> {
    checkKey(key);
    const blob: BlobRef = { sha256: await sha256Hex(bytes), size: bytes.size, media_type: mediaType };
    return this.write({ key, value: "", blob, bytes, modified_at: Date.now() });
  }

  /**
   * Delete a note; nothing happens if there is none.
   *
   * @throws TidenoteError `storage_full`, `storage_failed`.
   */
  async delete(key: string): Promise<void> {
    if (this.notes.get(key)) await this.write({ key, value: null, modified_at: Date.now() });
  }

  /**
   * Give a note another name; edits that others make meanwhile follow.
   *
   * @throws TidenoteError `not_found`, if there is nothing under the old name; `bad_key`, if there is something under
   *   the new one.
   */
  async rename(key: string, to: string): Promise<void> {
    checkKey(to);
    const note = await this.get(key);
    if (!note) throw new TidenoteError("not_found", `there is no ${key}`);
    if (this.notes.get(to)) throw new TidenoteError("bad_key", `there is a ${to} already`);
    const modified = this.notes.get(key)?.modifiedAt ?? Date.now();
    const creation: Write = {
      key: to,
      value: note.text ?? "",
      modified_at: modified,
      ...(note.blob && { blob: note.blob }),
    };
    await this.write(creation, { key, value: null, moved_to: to, base: [note.dot], modified_at: Date.now() });
  }

  /**
   * Return the bytes of a blob, from this browser if it has them.
   *
   * @throws TidenoteError what the server said, or that it gave no answer.
   */
  async blob(sha256: string): Promise<Blob> {
    const kept = await this.journal.blob(sha256, Date.now());
    if (!kept) throw new TidenoteError("unreachable", "these bytes are not here");
    return kept;
  }

  // -- how things stand

  /** Call a function after every durable change of what is shown, local or remote; return what ends that. */
  subscribe(listener: (event: { keys: string[] }) => void): () => void {
    return added(this.subscribers, listener);
  }

  /** Return how things stand. */
  status(): Status {
    const { pending, parked, quarantined } = this.notes;
    return {
      state: "offline",
      behind: 0,
      pending,
      parked,
      held: quarantined,
      lastConfirmedAt: null,
      epoch: null,
      cursor: 0,
      leader: true,
      polling: false,
      deviceId: this.options.deviceId,
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

  /** Wait until the server has confirmed every change that it does not refuse. */
  flush(): Promise<void> {
    if (this.notes.pending === 0) return Promise.resolve();
    return Promise.reject(new TidenoteError("unreachable", "there is no connection"));
  }

  // -- inside

  private async write(...writes: Write[]): Promise<Dot> {
    const changes = await this.journal.write(writes, this.tab, Date.now());
    await this.refresh(writes.map(({ key }) => key));
    return dotOf(changes.at(-1) as Dot);
  }

  private async refresh(keys: string[]): Promise<void> {
    for (const held of await this.journal.heads(keys)) this.notes.set(held);
    for (const listener of this.subscribers) listener({ keys });
    for (const listener of this.statusListeners) listener(this.status());
  }
}

function added<T>(set: Set<T>, item: T): () => void {
  set.add(item);
  return () => set.delete(item);
}

function randomName(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
