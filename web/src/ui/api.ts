/**
 * The server's REST (docs/protocol.md 11) with types: one method a route, one kind of error.
 *
 * Nothing here knows Svelte, words for people, or how notes sync. Names on the wire are kept as they are.
 */

import { sameDot, type BlobRef, type Change, type Dot } from "../sync";

/** What was written: all siblings of each key of it. */
export interface Written {
  epoch: string;
  changes: Change[];
}

export type Role = "reader" | "editor" | "owner";
export type OnTie = "review" | "ask" | "merge";

/** Who asks, and what there is for them; `vault` is null for who may use any. */
export interface Me {
  auth: "none" | "session" | "token";
  device_id: string | null;
  role: Role;
  vault: string | null;
  vaults: string[];
  version: string;
  protocol: number;
}

/** A one-time link for a new device. */
export interface Pairing {
  link: string;
  code: string;
  expires_at: number;
  qr_svg: string;
}

export interface Redeemed {
  device_id: string;
  vault: string | null;
  role: Role;
  token?: string;
}

/** `role` and `created_at` are null for one that syncs under no credential of its own. */
export interface Device {
  device_id: string;
  vault: string | null;
  role: Role | null;
  created_at: number | null;
  last_seen_at: number;
  cursor: number | null;
  connected: boolean;
  web: boolean;
  this: boolean;
}

export interface Devices {
  clock: number;
  devices: Device[];
}

export interface Vault {
  name: string;
  on_tie: OnTie;
  notes: number;
  clock: number;
  /** The epoch of the later copy elsewhere that it gave way to; null while it takes changes in. */
  fenced_by: string | null;
}

export type HoldKind = "delete_out" | "delete_in" | "quarantine";
export type HoldDecision = "confirm" | "refuse";

/**
 * What a device keeps from happening until a person decides (docs/protocol.md 11.9).
 *
 * `keys` are the first thousand of `count`; `decision` is what was decided and the device has not yet done.
 */
export interface Hold {
  device_id: string;
  kind: HoldKind;
  keys: string[];
  count: number;
  since: number;
  decision?: HoldDecision | null;
}

export interface SearchHit {
  key: string;
  title: string;
  parts: { text: string; hit: boolean }[];
}

export interface SearchPage {
  hits: SearchHit[];
  more: boolean;
}

export type ConflictKind = "siblings" | "merged";

export interface ConflictEntry {
  key: string;
  kind: ConflictKind;
  siblings: Dot[];
  authors: string[];
  since: number;
}

export interface ConflictPage {
  epoch: string;
  clock: number;
  conflicts: ConflictEntry[];
  next?: string;
}

/** Where a person may want to look: lines `start` to `end` of the merge, and what the texts had there. */
export interface Spot {
  start: number;
  end: number;
  reason: "both_changed" | "deleted_and_changed" | "front_matter";
  base: string;
  first: string;
  second: string;
}

/** All that is needed to settle one conflict (docs/protocol.md 11.5). */
export interface ConflictDetails {
  epoch: string;
  key: string;
  kind: ConflictKind;
  siblings: Dot[];
  sources: Change[];
  since: number;
  base?: Change;
  proposal?: string;
  merged?: string;
  spots?: Spot[];
}

export type Choice = { keep: Dot } | { text: string } | { keep_both: { as?: string } } | { confirm: true };

/** One version without its text (docs/protocol.md 11.6). */
export interface Version extends Dot {
  key: string;
  receipt: number;
  received_at: number;
  size: number;
  parents?: Dot[];
  merged_from?: Dot[];
  conflict?: boolean;
  deleted?: boolean;
  moved_to?: string;
  blob?: BlobRef;
  modified_at?: number;
  current?: boolean;
  gone?: boolean;
  sha256?: string;
}

export interface HistoryPage {
  epoch: string;
  versions: Version[];
  next?: number;
}

export interface VersionText {
  version: Version;
  value?: string;
}

/** A moment of the vault: a time in ms since 1970, or a receipt of the log. */
export type Moment = { at: number } | { receipt: number };

export interface RestoredNote {
  key: string;
  added: number;
  removed: number;
  version?: Version;
  moved_to?: string;
}

export interface RefusedNote {
  key: string;
  reason: string;
}

export interface Restored {
  epoch: string;
  receipt: number;
  notes: RestoredNote[];
  refused: RefusedNote[];
  dry_run?: boolean;
}

export interface TrashEntry {
  key: string;
  deletion: Version;
  last?: Version;
}

export interface TrashPage {
  epoch: string;
  notes: TrashEntry[];
  next?: string;
}

/** What the server, or the way to it, said instead of an answer. */
export class ApiError extends Error {
  override readonly name = "ApiError";

  /**
   * @param code of docs/protocol.md 14; `unreachable` if there was no answer.
   * @param message one line, for logs: people read what messages.ts says of the code.
   * @param status of HTTP; 0 if there was no answer.
   */
  constructor(
    readonly code: string,
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

type Query = Record<string, string | number | undefined>;
type Fetch = (input: string, init?: RequestInit) => Promise<Response>;

/** Talk to the server that this page came from, about one vault, as who the session cookie says. */
export class Api {
  constructor(
    readonly vault: string = "main",
    private readonly fetch: Fetch = (input, init) => globalThis.fetch(input, init),
  ) {}

  // -- identity

  /** @param signal ends the wait for an answer. */
  me(signal?: AbortSignal): Promise<Me> {
    return this.get("/me", {}, signal ? { signal } : {});
  }

  pair(device_id: string | null, role: Role): Promise<Pairing> {
    return this.post("/pair", { vault: this.vault, device_id, role });
  }

  /** Become a device of the vault that the code is for; the session is a cookie that no script can read. */
  redeem(code: string, device_id: string | null): Promise<Redeemed> {
    return this.post("/redeem", { code, device_id, session: true });
  }

  async logout(): Promise<void> {
    await this.send("POST", "/logout", {}, json({}));
  }

  devices(): Promise<Devices> {
    return this.get("/devices");
  }

  async revoke(device_id: string): Promise<void> {
    await this.send("POST", "/devices/revoke", {}, json({ device_id }));
  }

  rotate(): Promise<{ token?: string }> {
    return this.post("/devices/rotate", {});
  }

  vaults(): Promise<{ vaults: Vault[] }> {
    return this.get("/vaults");
  }

  async createVault(name: string, on_tie: OnTie): Promise<void> {
    await this.send("POST", "/vaults", {}, json({ name, on_tie }));
  }

  async unfenceVault(name: string): Promise<void> {
    await this.send("POST", "/vaults/unfence", {}, json({ name }));
  }

  async setVault(name: string, on_tie: OnTie): Promise<void> {
    await this.send("POST", "/vaults/set", {}, json({ name, on_tie }));
  }

  holds(): Promise<{ holds: Hold[] }> {
    return this.get("/holds");
  }

  decideHold(device_id: string, kind: HoldKind, decision: HoldDecision): Promise<{ holds: Hold[] }> {
    return this.post("/holds/decide", { device_id, kind, decision });
  }

  // -- notes

  rename(key: string, to: string, dot: Dot): Promise<Written> {
    return this.post("/rename", { key, to, timestamp: dot.timestamp, device_id: dot.device_id });
  }

  search(q: string, query: { limit?: number; offset?: number } = {}): Promise<SearchPage> {
    return this.get("/search", { q, ...query });
  }

  async blob(sha256: string): Promise<Blob> {
    return (await this.send("GET", `/blobs/${sha256}`)).blob();
  }

  // -- conflicts

  conflicts(query: { after?: string; limit?: number } = {}): Promise<ConflictPage> {
    return this.get("/conflicts", query);
  }

  conflict(key: string): Promise<ConflictDetails> {
    return this.get("/conflicts/one", { key });
  }

  /** Settle a conflict; `stale` if the siblings are others by now, `not_found` if it is settled. */
  resolve(key: string, siblings: Dot[], choice: Choice): Promise<Written> {
    return this.post("/conflicts/resolve", { key, siblings, choice });
  }

  reopen(key: string, siblings: Dot[]): Promise<Written> {
    return this.post("/conflicts/reopen", { key, siblings });
  }

  // -- the past

  history(key: string, query: { before?: number; limit?: number } = {}): Promise<HistoryPage> {
    return this.get("/history", { key, ...query });
  }

  version(key: string, dot: Dot): Promise<VersionText> {
    return this.get("/version", { key, timestamp: dot.timestamp, device_id: dot.device_id });
  }

  /** Bring a version back to a note; it may have been written under an earlier name of it. */
  restore(key: string, version: Pick<Version, "key" | keyof Dot>): Promise<Restored> {
    const { timestamp, device_id } = version;
    const source = version.key === key ? {} : { source: version.key };
    return this.post("/restore", { key, timestamp, device_id, ...source });
  }

  restoreAll(moment: Moment, dry_run: boolean): Promise<Restored> {
    return this.post("/restore-all", { ...moment, dry_run });
  }

  undo(device: string, since: number, dry_run: boolean): Promise<Restored> {
    return this.post("/undo", { device, since, dry_run });
  }

  trash(query: { after?: string; limit?: number } = {}): Promise<TrashPage> {
    return this.get("/trash", query);
  }

  restoreTrash(key: string): Promise<Restored> {
    return this.post("/trash/restore", { key });
  }

  // -- the way there

  private async get<T>(route: string, query: Query = {}, init: RequestInit = {}): Promise<T> {
    return (await this.send("GET", route, query, init)).json() as Promise<T>;
  }

  private async post<T>(route: string, body: unknown): Promise<T> {
    return (await this.send("POST", route, {}, json(body))).json() as Promise<T>;
  }

  private async send(method: string, route: string, query: Query = {}, init: RequestInit = {}): Promise<Response> {
    const url = `/api/v1${route}?${parameters({ vault: this.vault, ...query })}`;
    let response: Response;
    try {
      response = await this.fetch(url, { ...init, method, credentials: "same-origin", cache: "no-store" });
    } catch (error) {
      throw new ApiError("unreachable", String(error), 0);
    }
    if (!response.ok) throw await errorOf(response);
    return response;
  }
}

/** Say whether two lists name the same versions of a key, in whatever order. */
export function sameDots(some: readonly Dot[], others: readonly Dot[]): boolean {
  return some.length === others.length && some.every((dot) => others.some((other) => sameDot(dot, other)));
}

/** Call with the last `next` until there is none; return all that came. */
export async function allPages<P extends { next?: N }, N, T>(
  page: (after: N | undefined) => Promise<P>,
  items: (page: P) => T[],
): Promise<T[]> {
  const found: T[] = [];
  let after: N | undefined;
  do {
    const one = await page(after);
    found.push(...items(one));
    after = one.next;
  } while (after !== undefined);
  return found;
}

function parameters(query: Query): string {
  const known = Object.entries(query).filter((pair): pair is [string, string | number] => pair[1] !== undefined);
  return new URLSearchParams(known.map(([name, value]) => [name, String(value)])).toString();
}

function json(body: unknown): RequestInit {
  return { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
}

/** Return what an answer that is no success says; a proxy in between may say it without our JSON. */
async function errorOf(response: Response): Promise<ApiError> {
  try {
    const body: unknown = await response.json();
    if (body !== null && typeof body === "object" && "code" in body && typeof body.code === "string") {
      const message = "message" in body ? String(body.message) : body.code;
      return new ApiError(body.code, message, response.status);
    }
  } catch {
    // Not JSON: said below.
  }
  const code = response.status >= 500 ? "unreachable" : "bad_request";
  return new ApiError(code, `HTTP ${response.status}`, response.status);
}
