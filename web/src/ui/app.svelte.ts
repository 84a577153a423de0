/** What all pages share: who this browser is, the vault's replica, and what of it is shown now. */
import { type NoteInfo, Replica, type Status } from "../sync";
import { rescue } from "./editor/rescue";
import { Api, ApiError, type Me, type Role } from "./api";
import { messages } from "./messages";
import { toast } from "./parts/toasts.svelte";

/**
 * Where the app is on its way: `pairing` if the server does not know this browser, `unstored` if the browser stores
 * nothing for it.
 */
export type Phase = "starting" | "pairing" | "ready" | "failed" | "unstored";

const ME_KEY = "tidenote-me";
const DEVICE_KEY = "tidenote-device";
const VAULT_KEY = "tidenote-vault";
const CAUGHT_UP_KEY = "tidenote-caught-up";

/** How long the server may take to say who this browser is, if it has said so before. */
const ME_MS = 4_000;

/** How long the server may take to confirm what was written, before people are told that it has not. */
const FLUSH_MS = 3_000;

/** How long signing out waits until the notes are deleted here. */
const FORGET_MS = 3_000;

/** Changes that come in a row are shown together. */
const REFRESH_MS = 40;

export class App {
  phase: Phase = $state("starting");
  me: Me | null = $state.raw(null);
  replica: Replica | null = $state.raw(null);
  /** All notes and files, sorted by path. */
  notes: readonly NoteInfo[] = $state.raw([]);
  status: Status | null = $state.raw(null);
  /** Whether this browser has had all notes of the vault once: until then, what is not here may still come. */
  caughtUp: boolean = $state(false);
  /** How many deletions a device holds until somebody decides. */
  holds: number = $state(0);
  api: Api = $state.raw(new Api());

  /** How many notes are in conflict. */
  readonly conflicts = $derived(this.notes.filter((note) => note.conflict).length);
  readonly role: Role = $derived(this.me?.role ?? "reader");
  readonly mayWrite = $derived(this.role !== "reader");
  readonly vault = $derived(this.api.vault);
  readonly online = $derived(this.status?.state === "connected" || this.status?.state === "catching_up");
  /** Whether the server has let go of this browser; what it holds is still here. */
  readonly signedOut = $derived(this.status?.state === "stopped" && this.status.problem?.code === "unauthorized");

  #refresh: ReturnType<typeof setTimeout> | undefined;

  /** The device id of this browser; on a server without authentication it makes its own. */
  get deviceId(): string {
    return this.me?.device_id ?? ownDeviceId();
  }

  /** The device that this browser is, or was before the server let go of it; null for one that was never paired. */
  get lastDeviceId(): string | null {
    return (this.me ?? lastMe())?.device_id ?? null;
  }

  /** Ask who this browser is, and open its vault; offline with what it was told last. */
  async start(): Promise<void> {
    this.phase = "starting";
    if (!hasStorage()) {
      this.phase = "unstored";
      return;
    }
    const last = lastMe();
    try {
      // A network that swallows everything must not keep people from their notes.
      this.me = await this.api.me(last ? AbortSignal.timeout(ME_MS) : undefined);
      localStorage.setItem(ME_KEY, JSON.stringify(this.me));
    } catch (error) {
      this.me = last;
      if (error instanceof ApiError && error.status === 401) {
        // Whoever was let go of still has what they wrote: it is shown beside the way back.
        if (this.me) await this.#open(vaultOf(this.me));
        this.phase = "pairing";
        return;
      }
    }
    if (this.me) await this.openVault(vaultOf(this.me));
    else this.phase = "failed";
  }

  /** Show a vault from now on. */
  async openVault(name: string): Promise<void> {
    // Without storage nothing that is written here would be safe.
    this.phase = (await this.#open(name)) ? "ready" : "unstored";
  }

  /** Write what other tabs have put aside. */
  async rescue(): Promise<void> {
    const { replica, vault } = this;
    if (replica && !(await rescue(vault, replica))) toast(messages.editor.stillAside, { kind: "danger", sticky: true });
  }

  /** Open the replica of a vault; return false if this browser has no storage for it. */
  async #open(name: string): Promise<boolean> {
    await this.replica?.close();
    this.replica = null;
    this.api = new Api(name);
    try {
      this.#follow(
        await Replica.open({
          endpoint: location.origin,
          vault: name,
          deviceId: this.deviceId,
          onGone: () => location.reload(),
        }),
      );
      localStorage.setItem(VAULT_KEY, name);
    } catch {
      return false;
    }
    await this.rescue();
    return true;
  }

  /** Return how many changes the server does not have, after it had a moment to take them. */
  async unsent(): Promise<number> {
    const { replica } = this;
    if (!replica) return 0;
    await Promise.race([replica.flush().catch(() => undefined), new Promise((late) => setTimeout(late, FLUSH_MS))]);
    const { pending, parked, held } = replica.status();
    return pending + parked.length + held.length;
  }

  /**
   * End the session of this browser, and take the notes out of it. A vault with something that was not sent stays until
   * the browser is paired again.
   *
   * @throws ApiError if the server did not hear of it: then the session goes on.
   */
  async signOut(): Promise<void> {
    await this.api.logout().catch((error: unknown) => {
      // Who is not known there any more has nothing to end there.
      if (!(error instanceof ApiError && error.status === 401)) throw error;
    });
    localStorage.removeItem(ME_KEY);
    await this.replica?.close();
    // Another tab may be slow to let go; the browser deletes it then.
    const deleted = Replica.forget(location.origin, this.vault).catch(() => undefined);
    await Promise.race([deleted, new Promise((late) => setTimeout(late, FORGET_MS))]);
    location.hash = "";
    location.reload();
  }

  /** Ask the server how many deletions are held; without an answer the number stays. */
  async countHolds(): Promise<void> {
    try {
      const { holds } = await this.api.holds();
      this.holds = holds.reduce((sum, hold) => sum + hold.count, 0);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
  }

  #follow(replica: Replica): void {
    this.replica = replica;
    this.notes = replica.list();
    this.status = replica.status();
    // A journal that was thrown away begins anew.
    this.caughtUp = this.status.epoch !== null && localStorage.getItem(`${CAUGHT_UP_KEY}/${this.vault}`) !== null;
    this.#noticeCatchUp(this.status);
    replica.subscribe(() => {
      this.#refresh ??= setTimeout(() => {
        this.#refresh = undefined;
        if (this.replica === replica) this.notes = replica.list();
      }, REFRESH_MS);
    });
    replica.onStatus((status) => {
      const wasOnline = this.online;
      this.status = status;
      this.#noticeCatchUp(status);
      if (this.online && !wasOnline) void this.countHolds();
    });
    replica.onNotice((topic) => {
      if (topic === "holds") void this.countHolds();
    });
    void this.countHolds();
  }

  #noticeCatchUp(status: Status): void {
    if (this.caughtUp || status.state !== "connected") return;
    this.caughtUp = true;
    try {
      localStorage.setItem(`${CAUGHT_UP_KEY}/${this.vault}`, "");
    } catch {
      // Without room for it, it is found out anew the next time.
    }
  }
}

export const app = new App();

/** Say whether this browser lets the app keep anything: some throw when they are only asked. */
function hasStorage(): boolean {
  try {
    return "indexedDB" in globalThis && localStorage.length >= 0;
  } catch {
    return false;
  }
}

function lastMe(): Me | null {
  const stored = localStorage.getItem(ME_KEY);
  return stored === null ? null : (JSON.parse(stored) as Me);
}

/** Return the vault to show: the only one that the device may open, or the one that was shown last. */
function vaultOf(me: Me): string {
  return me.vault ?? localStorage.getItem(VAULT_KEY) ?? "main";
}

function ownDeviceId(): string {
  let id = localStorage.getItem(DEVICE_KEY);
  if (id === null) {
    id = `web-${crypto.getRandomValues(new Uint32Array(1))[0]?.toString(36) ?? ""}`;
    localStorage.setItem(DEVICE_KEY, id);
  }
  return id;
}
