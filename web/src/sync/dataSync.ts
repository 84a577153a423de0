/**
 * The difference of two replicas, and a two-way sync that needs no cursor (docs/protocol.md 9.2): what the server has
 * and we lack is fetched, what it lost is offered to it, and nothing is ever taken for deleted because it is missing.
 * One that is cut starts over; every step of it may be done twice.
 */

import { actionOf, TidenoteError } from "./errors";
import type { Journal, Write } from "./journal";
import type { Head, Rejected } from "./messages";
import type { Rest } from "./rest";
import { ClientSession, generationOf, siblingsOf, type Siblings } from "./session";
import { sha256Hex } from "./sha256";
import { isForGood } from "./uploads";
import { dotId, sameDot, stubOf, type Change, type Stub } from "./version";

/** How many keys are asked for at once; the protocol allows 500. */
const FETCH_KEYS = 200;

type Heads<S extends Head = Head> = ReadonlyMap<string, readonly S[]>;
/** A version of ours; its hash is there if it may be another than the other's of the same dot. */
type Ours = Stub & Head;

/** What two replicas do not share. */
export interface Difference {
  /** The keys that the other holds in another state than we. */
  readonly pull: string[];
  /** The versions of ours that are no siblings of the other's. */
  readonly offer: Ours[];
  /** The keys that only we hold. */
  readonly ours: string[];
}

/**
 * Return what two replicas do not share, by the dots of their siblings; a missing key says nothing. Marks count, too: a
 * restored log that has what a change replaces may mark one that others have unmarked. And hashes do: such a log takes
 * a dot that it has lost for something else, if its device has lost its memory.
 */
export function difference(ours: Heads<Ours>, theirs: Heads): Difference {
  const pull = [...theirs.keys()].filter((key) => !sameHeads(ours.get(key) ?? [], theirs.get(key) ?? []));
  const offer = [...ours].flatMap(([key, siblings]) => {
    const there = new Set((theirs.get(key) ?? []).map(versionId));
    return siblings.filter((sibling) => !there.has(versionId(sibling)));
  });
  return { pull, offer, ours: [...ours.keys()].filter((key) => !theirs.has(key)) };
}

/** One full reconcile of a journal with the server. */
export class DataSync {
  /**
   * @param tab - the one that compares.
   * @param onTouched - called with the keys that were altered here.
   */
  constructor(
    private readonly journal: Journal,
    private readonly rest: Rest,
    private readonly tab: string,
    private readonly onTouched: (keys: Iterable<string>) => Promise<void>,
  ) {}

  /**
   * Reconcile; afterwards the cursor is the server's.
   *
   * @param quarantine - whether the server has forgotten deletions of which we may not have heard: what it lacks is
   *   then not offered but held back. So it is in the epoch that we followed: such a log has lost nothing.
   * @throws TidenoteError `fenced`, if the server's log is of an earlier generation than ours; what the server said.
   */
  async run(quarantine: boolean): Promise<void> {
    const meta = await this.journal.meta();
    const { epoch, clock, theirs } = await this.manifest();
    checkGeneration(meta.epoch, epoch);
    const { pull, offer, ours } = difference(await this.heads(theirs), theirs);
    if (quarantine || meta.epoch === epoch) {
      await this.onTouched(await this.journal.quarantine(ours, this.tab, Date.now()));
    } else if (meta.epoch !== null) {
      // First what the server lost: it is replaced here only once it is safe there.
      const undecided = new Set((await this.journal.quarantined()).map(({ key }) => key));
      const offered = offer.filter(({ key }) => !undecided.has(key));
      await this.offer(offered, meta.deviceId, () => new ClientSession(clock, epoch, meta.epoch));
    }
    for (let start = 0; start < pull.length; start += FETCH_KEYS) {
      const siblings = await fetchSiblings(this.rest, pull.slice(start, start + FETCH_KEYS), epoch);
      await this.onTouched(await this.journal.reconcile(siblings, this.tab));
    }
    // What changed since the manifest's first page lies behind its clock, and is delivered from there.
    await this.journal.resynced(epoch, clock, this.tab, Date.now());
  }

  private async heads(theirs: Heads): Promise<Map<string, readonly Ours[]>> {
    const found = new Map<string, readonly Ours[]>();
    for (const { key, confirmed } of await this.journal.allHeads()) {
      const there = new Set((theirs.get(key) ?? []).map(dotId));
      const isShared = confirmed.some((sibling) => there.has(dotId(sibling)));
      if (confirmed.length > 0) found.set(key, isShared ? await this.hashed(key) : confirmed);
    }
    return found;
  }

  private async hashed(key: string): Promise<Ours[]> {
    const found: Ours[] = [];
    for (const change of await this.journal.confirmed(key)) {
      const sha256 = await hashOf(change);
      found.push({ ...stubOf(change), ...(sha256 !== undefined && { sha256 }) });
    }
    return found;
  }

  private async manifest(): Promise<{ epoch: string; clock: number; theirs: Heads }> {
    const theirs = new Map<string, readonly Head[]>();
    const first = await this.rest.manifest();
    for (let page = first; ; page = await this.rest.manifest(page.next)) {
      if (page.epoch !== first.epoch) throw new TidenoteError("unreachable", REPLACED);
      for (const { key, dots } of page.entries) theirs.set(key, dots);
      if (page.next == null) return { epoch: first.epoch, clock: first.clock, theirs };
    }
  }

  /** Offer versions that the server has lost; keep parked what it will not take. */
  private async offer(offer: readonly Stub[], deviceId: string, begin: () => ClientSession): Promise<void> {
    // Tombstones of renames last: their targets have to be there.
    let left = [...offer.filter(({ moved_to }) => !moved_to), ...offer.filter(({ moved_to }) => moved_to)];
    const kept: [Change, Rejected][] = [];
    const tried = new Map<string, TidenoteError | null>();
    while (left.length > 0) {
      const refused = await this.offerAll(left, deviceId, begin());
      const uploaded = await this.uploadMissing(refused, tried);
      // A refused rename may find its target now, if anything was taken in that was not there before.
      const hopeful = uploaded.size > 0 || refused.length < left.length;
      left = [];
      for (const [change, rejection] of refused) {
        const again =
          rejection.code === "blob_missing"
            ? uploaded.has(change.blob?.sha256 ?? "")
            : hopeful && rejection.code === "move_target_missing";
        if (again) left.push(stubOf(change));
        else kept.push([change, why(change, rejection, tried)]);
      }
    }
    await this.keep(kept);
  }

  private async offerAll(
    stubs: readonly Stub[],
    deviceId: string,
    session: ClientSession,
  ): Promise<(readonly [Change, Rejected])[]> {
    const refused: (readonly [Change, Rejected])[] = [];
    for (let done = 0; done < stubs.length;) {
      const changes = await this.texts(stubs.slice(done, done + FETCH_KEYS));
      for (let sent = 0; sent < changes.length;) {
        sent += session.push(changes.slice(sent));
        for (const push of session.outgoing()) session.receive(await this.rest.sync(push, deviceId));
        for (const event of session.events()) {
          if (event.kind === "failed") throw new TidenoteError(event.code, event.message, event.quarantine);
          if (event.kind === "received") refused.push(...event.rejected);
        }
        if (!session.canPush) throw new TidenoteError("unreachable", "the server did not answer the offer");
      }
      done += FETCH_KEYS;
    }
    for (const [, { code, message }] of refused) {
      if (["retry", "stop"].includes(actionOf(code))) throw new TidenoteError(code, message);
    }
    return refused;
  }

  private async texts(stubs: readonly Stub[]): Promise<Change[]> {
    const found: Change[] = [];
    for (const stub of stubs) {
      const changes = await this.journal.confirmed(stub.key);
      found.push(...changes.filter((change) => sameDot(change, stub)));
    }
    return found;
  }

  /**
   * Upload the blobs that the server lacks and this browser has, each once; return those that are there now.
   *
   * @param tried - by its hash what is not tried again, with why it is not taken; it grows.
   */
  private async uploadMissing(
    refused: readonly (readonly [Change, Rejected])[],
    tried: Map<string, TidenoteError | null>,
  ): Promise<Set<string>> {
    const uploaded = new Set<string>();
    for (const [{ blob }, { code }] of refused) {
      if (code !== "blob_missing" || !blob || tried.has(blob.sha256)) continue;
      tried.set(blob.sha256, null);
      const bytes = await this.journal.blob(blob.sha256, Date.now());
      if (!bytes) continue;
      try {
        await this.rest.upload(blob, bytes);
        uploaded.add(blob.sha256);
      } catch (error) {
        if (!(error instanceof TidenoteError && isForGood(error))) throw error;
        tried.set(blob.sha256, error);
      }
    }
    return uploaded;
  }

  /**
   * Park what the server lost and will not take back, so that no text is lost; a lost deletion is let go. What is
   * refused for its dot alone is sent anew, beside what took the dot.
   */
  private async keep(refused: readonly (readonly [Change, Rejected])[]): Promise<void> {
    const rest = new Map<string, Change[]>();
    for (const [{ key }] of refused) {
      const gone = refused.filter(([change]) => change.key === key);
      const confirmed = await this.journal.confirmed(key);
      rest.set(
        key,
        confirmed.filter((change) => !gone.some(([lost]) => sameDot(lost, change))),
      );
    }
    const parked: [Change, string, string][] = [];
    const anew: Write[] = [];
    for (const [change, { code, message }] of refused) {
      if (change.deleted) continue;
      if (code === "dot_reused") anew.push(await this.anew(change));
      else parked.push([change, code, message]);
    }
    await this.onTouched(await this.journal.reconcile(rest, this.tab, undefined, { parked, anew, now: Date.now() }));
  }

  /** Return a write of ours that says what a change said whose dot the log has for something else. */
  private async anew({ key, value, blob, base, modified_at }: Change): Promise<Write> {
    const bytes = blob && (await this.journal.blob(blob.sha256, Date.now()));
    return {
      key,
      // What a blind write did not see it does not replace: that came after it, by another's hand.
      base: base ?? [],
      ...(blob ? { value: null, blob } : { value }),
      ...(modified_at !== undefined && { modified_at }),
      ...(bytes && { bytes }),
    };
  }
}

/**
 * Return all siblings of those of the keys that have any; a key with a change that must not be is left out.
 *
 * @param keys - at most 500.
 * @param epoch - the log that is asked; null for any.
 * @throws TidenoteError what the server said; `unreachable`, also if another log answers than was asked.
 */
export async function fetchSiblings(rest: Rest, keys: readonly string[], epoch: string | null): Promise<Siblings> {
  const found = new Map<string, readonly Change[]>();
  let left = [...keys];
  while (left.length > 0) {
    const answer = await rest.fetch(left);
    if (epoch !== null && answer.epoch !== epoch) throw new TidenoteError("unreachable", REPLACED);
    const asked = new Set(left);
    const changes = answer.changes.filter(({ key }) => asked.has(key));
    if (changes.length === 0) break;
    for (const [key, siblings] of siblingsOf(changes).siblings) found.set(key, siblings);
    const told = new Set(changes.map(({ key }) => key));
    left = left.filter((key) => !told.has(key));
  }
  return found;
}

/**
 * Check that a log is not of an earlier generation than the one that we follow.
 *
 * @throws TidenoteError `fenced`.
 */
export function checkGeneration(ours: string | null, theirs: string): void {
  if (ours !== null && generationOf(theirs) < generationOf(ours)) {
    throw new TidenoteError(
      "fenced",
      `this server has an earlier copy of the vault (${theirs}) than this browser has synced with (${ours}): ` +
        "open the server that holds the later one",
    );
  }
}

/** Return why a change is not taken: that of its bytes, if they are what is lacking. */
function why({ blob }: Change, rejection: Rejected, tried: ReadonlyMap<string, TidenoteError | null>): Rejected {
  const refusal = rejection.code === "blob_missing" ? tried.get(blob?.sha256 ?? "") : null;
  return refusal ? { ...rejection, code: refusal.code, message: refusal.message } : rejection;
}

const REPLACED = "the server's log was replaced while it was read";

function sameHeads(first: readonly Head[], second: readonly Head[]): boolean {
  const marks = new Map(second.map((head) => [versionId(head), head.conflict ?? false]));
  return (
    first.length === second.length && first.every((head) => marks.get(versionId(head)) === (head.conflict ?? false))
  );
}

/** Return a name for what a sibling is, whether marked or not. */
function versionId(head: Head): string {
  return `${dotId(head)} ${head.sha256 ?? ""}`;
}

async function hashOf({ value, blob }: Change): Promise<string | undefined> {
  return blob?.sha256 ?? (value === null ? undefined : await sha256Hex(new Blob([value])));
}
