/** What the face of the package shows: options, notes and how things stand. */

import type { BlobRef, Change, Dot } from "./version";

/** What `Replica.open` needs to know. */
export interface ReplicaOptions {
  /** The server's origin, such as `http://127.0.0.1:8787`. */
  readonly endpoint: string;
  readonly vault: string;
  /** Of this browser profile; without incarnation, of which the journal keeps count. */
  readonly deviceId: string;
  /** The device's token; absent, the session cookie says who is there, or the server asks nobody. */
  readonly token?: string;
  /** Of the database in this browser; by default made of the endpoint and the vault. */
  readonly name?: string;
  /** Between two polls while no WebSocket can be had, ms; by default 5000. */
  readonly pollMs?: number;
  /**
   * Called when the browser has closed the database: its data was cleared, or a later version of the app needs it.
   * Nothing can be read or written any more; open another replica, best by loading the page again.
   */
  readonly onGone?: () => void;
}

/** One note or file in the list. */
export interface NoteInfo {
  readonly key: string;
  readonly path: string;
  /** Of the change that is shown. */
  readonly dot: Dot;
  /** ms since 1970; null if its author did not say. */
  readonly modifiedAt: number | null;
  /** Whether a person should look at it (docs/protocol.md 5.4). */
  readonly conflict: boolean;
  /** Whether the server has not yet confirmed all that was written here. */
  readonly pending: boolean;
  readonly blob?: BlobRef;
  /** There if the server may have deleted and forgotten it: see `Status.held`. */
  readonly held?: true;
}

/** One note with its text, or the name of its bytes. */
export interface Note {
  readonly key: string;
  /** The text; null for a blob. */
  readonly text: string | null;
  readonly blob?: BlobRef;
  /** Of the change that is shown. */
  readonly dot: Dot;
  /** All changes that no other has replaced, our own unconfirmed ones included. */
  readonly siblings: readonly Change[];
  readonly conflict: boolean;
  readonly pending: boolean;
}

/** What was deleted, and the deletion: the base of what brings it back. */
export interface Deleted {
  readonly note: Note;
  readonly over: Dot;
}

/** A key that needs a person, and why. */
export interface Problem {
  readonly key: string;
  readonly code: string;
  readonly message: string;
}

/** How things stand. */
export interface Status {
  /** `stopped`: trying again does not cure it; `problem` says what is wrong. */
  readonly state: "connected" | "offline" | "catching_up" | "stopped";
  /** How many keys are still to come. */
  readonly behind: number;
  /** How many changes the server has not yet confirmed, the parked ones left out. */
  readonly pending: number;
  /** Changes that the server refused for good: kept here and no longer sent. */
  readonly parked: readonly Problem[];
  /** Notes that the server may have deleted and forgotten: shown, but not sent unless their user says so. */
  readonly held: readonly Problem[];
  /** Keys of which the server sent something that must not be: they stay as they were here. */
  readonly skipped: readonly Problem[];
  /** When the server last confirmed anything, ms since 1970. */
  readonly lastConfirmedAt: number | null;
  /** Of the log; null before the first contact. */
  readonly epoch: string | null;
  /** The receipt up to which everything is applied. */
  readonly cursor: number;
  /** Why there is no connection. */
  readonly problem?: { readonly code: string; readonly message: string };
  /** Whether this tab is the one that talks to the server. */
  readonly leader: boolean;
  /** Whether the exchange goes by HTTP because no WebSocket can be had. */
  readonly polling: boolean;
  /** Who we are, with incarnation. */
  readonly deviceId: string;
}

/** How a note is written. */
export interface PutOptions {
  /** Typed in an editor that shows other people's edits as they come. */
  readonly live?: boolean;
  /** The dots that the author had in front of them; by default the one that is shown now. */
  readonly base?: readonly Dot[];
}
