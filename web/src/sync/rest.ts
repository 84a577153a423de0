/**
 * The server's REST from a device's side: sync by polling, manifest, fetch, blobs (docs/protocol.md 11 and 12).
 * Every failure of a request is a `TidenoteError`: what the server said, or `unreachable`.
 */

import { TidenoteError } from "./errors";
import {
  decodeBlobStatus,
  decodeDecisions,
  decodeFetched,
  decodeFromServer,
  decodeManifest,
  encode,
  PROTOCOL_VERSION,
  type Decisions,
  type Fetched,
  type Manifest,
  type SyncPush,
  type WireHold,
} from "./messages";
import { sha256Hex } from "./sha256";
import type { BlobRef } from "./version";

/** How long a request may take; a piece of a blob is one. */
const TIMEOUT_MS = 60_000;
/** How many bytes of a blob go in one request: what got there stays there, and there is time for each piece. */
const PIECE_BYTES = 2 ** 20;
/** How many keys a page of the manifest has. */
const MANIFEST_KEYS = 2000;

/** Requests of one device to one vault. */
export class Rest {
  private readonly gone = new AbortController();

  /**
   * @param endpoint - the server's origin.
   * @param token - the device's; absent, a session cookie goes along.
   */
  constructor(
    private readonly endpoint: string,
    private readonly vault: string,
    private readonly token?: string,
  ) {}

  /** End all requests. */
  close(): void {
    this.gone.abort();
  }

  /** Send one `sync_push` and return the answer, a `sync_ack`, as JSON. */
  async sync(push: SyncPush, deviceId: string): Promise<string> {
    const query = { device_id: deviceId, vault: this.vault, v: String(PROTOCOL_VERSION) };
    return text(await this.ask("/api/v1/sync", query, { method: "POST", body: encode(push) }));
  }

  /** Return a page of what the server holds, after a key. */
  async manifest(after?: string | null): Promise<Manifest> {
    const query = { vault: this.vault, limit: String(MANIFEST_KEYS), ...(after != null && { after }) };
    return read(await this.ask("/api/v1/manifest", query), decodeManifest);
  }

  /** Return all siblings of some keys, at most 500; the answer may be cut after a whole key. */
  async fetch(keys: readonly string[]): Promise<Fetched> {
    const body = encode({ keys });
    return read(await this.ask("/api/v1/fetch", { vault: this.vault }, { method: "POST", body }), decodeFetched);
  }

  /** Tell what this device holds back, and return what was decided about exactly that. */
  async reportHolds(deviceId: string, holds: readonly WireHold[]): Promise<Decisions> {
    const query = { device_id: deviceId, vault: this.vault };
    return read(await this.ask("/api/v1/holds", query, { method: "PUT", body: encode({ holds }) }), decodeDecisions);
  }

  /**
   * Bring bytes to the server, going on where an earlier upload broke off.
   *
   * @param signal - breaks it off.
   */
  async upload(blob: BlobRef, bytes: Blob, signal?: AbortSignal): Promise<void> {
    let offset = await this.blobOffset(blob.sha256);
    while (offset !== null) {
      const further: number | null = await this.uploadPiece(blob, bytes, offset, signal);
      // Only ever forwards, so that this ends.
      if (further !== null && further <= offset) {
        throw new TidenoteError("bad_offset", "the upload does not get on");
      }
      offset = further;
    }
  }

  /** Return the bytes of a blob, verified. */
  async download({ sha256, size }: BlobRef): Promise<Blob> {
    const pieces: Blob[] = [];
    let offset = 0;
    while (offset < size) {
      const piece = await this.downloadPiece(sha256, offset);
      // Only ever forwards, so that this ends.
      if (piece.size === 0) break;
      pieces.push(piece);
      offset += piece.size;
    }
    const bytes = new Blob(pieces);
    if ((await sha256Hex(bytes)) !== sha256) {
      throw new TidenoteError("bad_blob", "the server's bytes are not those that were asked for");
    }
    return bytes;
  }

  /** Return how many bytes of a blob the server has, null if it has all. */
  private async blobOffset(sha256: string): Promise<number | null> {
    const response = await this.send(`/api/v1/blobs/${sha256}`, {}, { method: "HEAD" });
    if (response.ok) return null;
    if (response.status === 404) return Number(response.headers.get("Upload-Offset") ?? 0);
    // A HEAD has no body that says more; a GET has.
    throw await errorOf(await this.send(`/api/v1/blobs/${sha256}`, {}));
  }

  /** Send the piece of a blob at an offset; return where to go on, null once the server has all. */
  private async uploadPiece(
    blob: BlobRef,
    bytes: Blob,
    offset: number,
    signal: AbortSignal | null = null,
  ): Promise<number | null> {
    const response = await this.send(
      `/api/v1/blobs/${blob.sha256}`,
      {},
      {
        method: "PUT",
        body: bytes.slice(offset, offset + PIECE_BYTES),
        headers: { "Upload-Offset": String(offset), "Upload-Length": String(blob.size) },
        signal,
      },
    );
    if (!response.ok) {
      const error = await errorOf(response);
      // What an upload that broke off had on its way may have arrived after we had asked.
      if (error.code === "bad_offset") return this.blobOffset(blob.sha256);
      throw error;
    }
    const status = await read(response, decodeBlobStatus);
    return status.complete ? null : status.size;
  }

  /** Return the piece of a blob at an offset; all of it, if something in between has no parts. */
  private async downloadPiece(sha256: string, offset: number): Promise<Blob> {
    const headers = { Range: `bytes=${String(offset)}-${String(offset + PIECE_BYTES - 1)}` };
    const response = await this.ask(`/api/v1/blobs/${sha256}`, {}, { headers });
    return answered(response.blob());
  }

  private async ask(path: string, query: Record<string, string>, init: RequestInit = {}): Promise<Response> {
    const response = await this.send(path, query, init);
    if (!response.ok) throw await errorOf(response);
    return response;
  }

  private async send(path: string, query: Record<string, string>, init: RequestInit = {}): Promise<Response> {
    const url = new URL(path, this.endpoint);
    url.search = new URLSearchParams(query).toString();
    const headers = new Headers(init.headers);
    if (this.token !== undefined) headers.set("Authorization", `Bearer ${this.token}`);
    const signal = AbortSignal.any([
      this.gone.signal,
      AbortSignal.timeout(TIMEOUT_MS),
      ...(init.signal ? [init.signal] : []),
    ]);
    return answered(fetch(url, { ...init, headers, signal, cache: "no-store" }));
  }
}

async function answered<T>(response: Promise<T>): Promise<T> {
  try {
    return await response;
  } catch (error) {
    throw new TidenoteError("unreachable", `the server does not answer: ${(error as Error).message}`);
  }
}

function text(response: Response): Promise<string> {
  return answered(response.text());
}

async function read<T>(response: Response, decode: (body: string) => T): Promise<T> {
  const body = await text(response);
  try {
    return decode(body);
  } catch (error) {
    // Something in between answers in the server's place; that passes.
    const why = (error as Error).message;
    throw new TidenoteError("unreachable", `the server's address does not answer as Tidenote does: ${why}`);
  }
}

/** Return the error that an HTTP answer means; one that is not Tidenote's own is worth another try. */
async function errorOf(response: Response): Promise<TidenoteError> {
  const body = await text(response);
  try {
    const message = decodeFromServer(body);
    if (message?.type === "error") return new TidenoteError(message.code, message.message, message.quarantine);
  } catch {
    // Not Tidenote's.
  }
  const status = String(response.status);
  return new TidenoteError("unreachable", `the server's address answers with HTTP ${status}, but not as Tidenote does`);
}
