/**
 * Tidenote's protocol client for browsers (docs/protocol.md, docs/architecture.md): `Replica` keeps a vault's notes in
 * IndexedDB and the same as the server's. No user interface and no framework; everything public stands here.
 */

export { CODES, actionOf, TidenoteError, type Action } from "./errors";
export { keyOfPath, ownerOf, pathOfKey, type PathProblem, problemOfPath } from "./keys";
export { Replica } from "./replica";
export type { Deleted, Note, NoteInfo, Problem, PutOptions, ReplicaOptions, Status } from "./types";
export { sameDot, type BlobRef, type Change, type Dot } from "./version";
