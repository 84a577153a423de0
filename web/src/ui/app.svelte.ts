/** What all pages share: who this browser is, the vault's replica, and what of it is shown now. */
import { Api, ApiError, type Me, type Role } from "./api";

/** Where the app is on its way: `pairing` if the server does not know this browser. */
export type Phase = "starting" | "pairing" | "ready" | "failed";

const ME_KEY = "tidenote-me";
const DEVICE_KEY = "tidenote-device";

export class App {
  phase: Phase = $state("starting");
  me: Me | null = $state.raw(null);
  /** How many conflicts there are to settle, and deletions that a device holds. */
  conflicts: number = $state(0);
  holds: number = $state(0);

  api = new Api();

  get role(): Role {
    return this.me?.role ?? "reader";
  }

  get mayWrite(): boolean {
    return this.role !== "reader";
  }

  get vault(): string {
    return this.api.vault;
  }

  /** The device id of this browser; an unpaired one, on a server without authentication, makes its own. */
  get deviceId(): string {
    return this.me?.device_id ?? ownDeviceId();
  }

  /** Ask who this browser is, and open its vault; offline with what it was told last. */
  async start(): Promise<void> {
    this.phase = "starting";
    try {
      this.me = await this.api.me();
      localStorage.setItem(ME_KEY, JSON.stringify(this.me));
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) {
        this.phase = "pairing";
        return;
      }
      this.me = lastMe();
    }
    if (!this.me) {
      this.phase = "failed";
      return;
    }
    this.api = new Api(this.me.vault ?? "main");
    this.phase = "ready";
  }

  /** End the session of this browser. What was not sent stays in it until it is paired again. */
  async signOut(): Promise<void> {
    await this.api.logout();
    localStorage.removeItem(ME_KEY);
    location.hash = "";
    location.reload();
  }
}

export const app = new App();

function lastMe(): Me | null {
  const stored = localStorage.getItem(ME_KEY);
  return stored === null ? null : (JSON.parse(stored) as Me);
}

function ownDeviceId(): string {
  let id = localStorage.getItem(DEVICE_KEY);
  if (id === null) {
    id = `web-${crypto.getRandomValues(new Uint32Array(1))[0]?.toString(36) ?? ""}`;
    localStorage.setItem(DEVICE_KEY, id);
  }
  return id;
}
