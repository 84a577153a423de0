/**
 * One error class, and the one table of codes with what a client does about each (docs/protocol.md 14).
 */

/** What a client does about a code. */
export type Action = "retry" | "re-stamp" | "re-incarnate" | "upload" | "park" | "resync" | "stop";

export const CODES: Readonly<Record<string, Action>> = {
  // One change was refused; the rest of its push was taken in.
  bad_change: "park",
  bad_key: "park",
  bad_timestamp: "park",
  bad_device: "park",
  bad_author: "park",
  bad_base: "park",
  bad_value: "park",
  value_too_large: "park",
  clock_too_far: "re-stamp",
  dot_reused: "re-incarnate",
  blob_missing: "upload",
  move_target_missing: "park",
  read_only: "park",
  no_room: "retry",
  // The store could not take it in; nothing was acknowledged.
  storage_full: "retry",
  storage_failed: "retry",
  fenced: "stop",
  // The connection or request as a whole.
  bad_message: "stop",
  message_too_large: "stop",
  resync_required: "resync",
  stale: "stop",
  replaced: "retry",
  too_slow: "retry",
  server_stopping: "retry",
  overloaded: "retry",
  internal_error: "retry",
  too_many_attempts: "retry",
  bad_link: "stop",
  unauthorized: "stop",
  forbidden: "stop",
  unknown_vault: "stop",
  not_found: "stop",
  unsupported_version: "stop",
  bad_blob: "retry",
  bad_offset: "retry",
  bad_request: "stop",
  // The client's own side.
  unreachable: "retry",
  folder_unfit: "stop",
  bad_config: "stop",
};

/** Return what a client does about a code; one of a later version is worth another try (docs/protocol.md 3.3). */
export function actionOf(code: string): Action {
  return CODES[code] ?? "retry";
}

/** Every error that this package throws on purpose: a `code` of the table, and one line for people. */
export class TidenoteError extends Error {
  override readonly name = "TidenoteError";

  /** @param quarantine - with `resync_required`: whether we may hold notes whose deletion the server has forgotten. */
  constructor(
    readonly code: string,
    message: string,
    readonly quarantine = false,
  ) {
    super(message);
  }

  /** What a client does about it. */
  get action(): Action {
    return actionOf(this.code);
  }
}
