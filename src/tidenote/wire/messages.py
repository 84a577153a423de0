"""Every message of the protocol as a type: the one source of JSON names (docs/protocol.md is the prose).

Structs are what JSON looks like; `Change` and `Dot` of core are what the program means. `to_change` is the door
where the first become the second: whatever passes it is well-formed. When a message may come is session.py's matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from tidenote.core.clock import MAX_TIMESTAMP, is_timestamp
from tidenote.core.crdt import CrdtEntry
from tidenote.core.keys import check_device_id, check_key
from tidenote.core.merged import Spot
from tidenote.core.version import BlobRef, Change, Dot, Head
from tidenote.errors import ProtocolError, RefusedChange

PROTOCOL_VERSION: Final = 1
SUBPROTOCOL: Final = "tidenote"
"""The WebSocket subprotocol that the server answers to a client that offered `tidenote, bearer.TOKEN`."""

DEFAULT_VAULT: Final = "main"

MAX_PUSH_CHANGES: Final = 2000
"""The most changes of one push that a server looks at by default: each costs it far more than its bytes."""

MAX_PUSH_DOTS: Final = 20_000
"""The most versions that the changes of one push name: a server looks up each."""

MAX_MESSAGE_CHANGES: Final = 500
"""About how many changes one message holds."""
MAX_MESSAGE_BYTES: Final = 2**19
"""About how many bytes of text one message holds; a message with a single key may be larger.

JSON makes two bytes of a line's end, a quotation mark, a tab or a backslash: it is then still below 1 MiB, which is all
that many WebSocket libraries take unless they are told otherwise.
"""
MAX_FRAME_BYTES: Final = 8 * 2**20
"""The largest message that either end accepts: a full one, with every character escaped."""
MAX_TEXT_BYTES: Final = 2**20
"""The largest text, in bytes of UTF-8, that travels as a value; a larger one travels as a blob."""
MAX_BASE_DOTS: Final = 1000
"""The most dots that a change may name as its base."""

MAX_ID_LENGTH: Final = 128
"""The longest `id` of a push, if it is a string; a number is in the range of all JSON implementations."""

MAX_NONCE_LENGTH: Final = 64
"""The longest name that a client may give a connection."""

MAX_HOLD_KEYS: Final = 1000
"""The most keys that a hold names; `count` says how many there are."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}")


class WireDot(Struct, frozen=True):
    """A dot."""

    timestamp: int
    device_id: str


class WireBlob(Struct, frozen=True, omit_defaults=True):
    """The name of a blob; `size` in bytes."""

    sha256: str
    size: int
    media_type: str | None = None


class WireChange(Struct, omit_defaults=True):
    """One write to one key. Only the first four fields are mandatory."""

    key: str
    value: str | None
    timestamp: int
    device_id: str
    base: list[WireDot] | None = None
    deleted: bool = False
    moved_to: str | None = None
    blob: WireBlob | None = None
    modified_at: int | None = None
    live: bool = False
    conflict: bool = False
    merged_from: list[WireDot] | None = None


class Rejected(Struct, omit_defaults=True):
    """A change of a push that is not in the log.

    `key`, `timestamp` and `device_id` are as the client sent them, null where they could not be read.
    `clock` is the server's Lamport clock, for a re-stamp.
    """

    key: Any
    timestamp: Any
    device_id: Any
    code: str
    message: str
    clock: int | None = None


class SyncPush(Struct, tag="sync_push", omit_defaults=True):
    """Client to server: new changes, and up to where the client has durably applied the log.

    `offer` names the epoch under which the client synced before a resync: changes of other authors are accepted.
    """

    changes: list[WireChange]
    last_ack: int
    id: int | None = None
    epoch: str | None = None
    offer: str | None = None


class IncomingPush(Struct, tag="sync_push"):
    """A `SyncPush` as the server reads it: each change is decoded on its own, so that one cannot spoil the others."""

    changes: list[Raw]
    last_ack: int
    id: int | str | None = None
    epoch: str | None = None
    offer: str | None = None


class SyncAck(Struct, tag="sync_ack", omit_defaults=True):
    """Server to client: an answer, a page of catch-up or a live delivery, all the same message."""

    ack_timestamp: int
    changes: list[WireChange]
    epoch: str | None = None
    id: int | str | None = None
    behind: int | None = None
    rejected: list[Rejected] | None = None


class ErrorMessage(Struct, tag="error", omit_defaults=True):
    """Server to client: the connection cannot go on. `epoch` is the vault's, with `resync_required`.

    `quarantine` goes with `resync_required`: the client may hold notes whose deletion the server has forgotten.
    `nonce` goes with `replaced`: the one that the newer connection gave.
    """

    code: str
    message: str
    epoch: str | None = None
    quarantine: bool = False
    nonce: str | None = None


class Notice(Struct, tag="notice"):
    """Server to client: something else than the notes is new, to be looked at again by REST.

    `topic` is `holds`, `devices`, or one of a later version.
    """

    topic: str


class WireHead(WireDot, frozen=True, omit_defaults=True):
    """The dot of a sibling, whether that bears the mark of a merge that a person should look at, and its hash."""

    conflict: bool = False
    sha256: str | None = None


Receipt = Annotated[int, Meta(ge=0, le=MAX_TIMESTAMP)]
"""A place in the log; 0 is before everything."""


class ManifestEntry(Struct):
    """What the server holds of one key: the dots of its siblings."""

    key: str
    dots: list[WireHead]


class Manifest(Struct, omit_defaults=True):
    """One page of `GET /api/v1/manifest`, ordered by key; `next` is the key to go on after."""

    epoch: str
    clock: Receipt
    entries: list[ManifestEntry]
    next: str | None = None


class FetchRequest(Struct):
    """The body of `POST /api/v1/fetch`."""

    keys: list[str]


class Fetched(Struct):
    """The answer: all siblings of each key that has any."""

    epoch: str
    changes: list[WireChange]


class ConflictEntry(Struct):
    """One open conflict in the list: `kind` is `siblings` or `merged`, `since` ms since 1970."""

    key: str
    kind: Literal["siblings", "merged"]
    siblings: list[WireDot]
    authors: list[str]
    since: int


class Conflicts(Struct, omit_defaults=True):
    """One page of `GET /api/v1/conflicts`, ordered by key; `next` is the key to go on after."""

    epoch: str
    clock: int
    conflicts: list[ConflictEntry]
    next: str | None = None


class WireSpot(Struct):
    """A place of a merge to look at: its lines `start` to `end`, counted from 0, and what the texts had there."""

    start: int
    end: int
    reason: Literal["both_changed", "deleted_and_changed", "front_matter"]
    base: str
    first: str
    second: str


class ConflictDetails(Struct, omit_defaults=True):
    """The answer of `GET /api/v1/conflicts/one`; `spots` are lines of `merged`."""

    epoch: str
    key: str
    kind: Literal["siblings", "merged"]
    siblings: list[WireDot]
    sources: list[WireChange]
    since: int
    base: WireChange | None = None
    proposal: str | None = None
    merged: str | None = None
    spots: list[WireSpot] | None = None


class WireKeepBoth(Struct, forbid_unknown_fields=True, rename={"key": "as"}):
    """A choice's `keep_both`; `as` is the other note's key."""

    key: str | None = None


class WireChoice(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """How to settle: exactly one of these."""

    keep: WireDot | None = None
    text: str | None = None
    keep_both: WireKeepBoth | None = None
    confirm: Literal[True] | None = None


class ResolveRequest(Struct):
    """The body of `POST /api/v1/conflicts/resolve`; `siblings` are all that the person has seen."""

    key: str
    siblings: list[WireDot]
    choice: WireChoice


class ReopenRequest(Struct):
    """The body of `POST /api/v1/conflicts/reopen`."""

    key: str
    siblings: list[WireDot]


class HistoryEntry(Struct, omit_defaults=True):
    """One version without its text; `current` says that no other has replaced it, `gone` that its text is not kept."""

    key: str
    timestamp: int
    device_id: str
    receipt: int
    received_at: int
    size: int
    parents: list[WireDot] | None = None
    merged_from: list[WireDot] | None = None
    conflict: bool = False
    deleted: bool = False
    moved_to: str | None = None
    blob: WireBlob | None = None
    modified_at: int | None = None
    current: bool = False
    gone: bool = False
    sha256: str | None = None


class HistoryPage(Struct, omit_defaults=True):
    """One page of `GET /api/v1/history`, the latest version first; `next` is the `before` of the next page."""

    epoch: str
    versions: list[HistoryEntry]
    next: int | None = None


class MergeDetails(Struct, omit_defaults=True):
    """How the server made a version: of which ones, with which base, and the lines of it to look at."""

    sources: list[HistoryEntry]
    spots: list[WireSpot]
    base: HistoryEntry | None = None


class VersionText(Struct, omit_defaults=True):
    """The answer of `GET /api/v1/version`; `value` is null for a blob, a deletion, and what is gone.

    `merged` is there if the server merged it, and what it was merged of is still kept.
    """

    version: HistoryEntry
    value: str | None = None
    merged: MergeDetails | None = None


Timestamp = Annotated[int, Meta(ge=1, le=MAX_TIMESTAMP)]
"""A Lamport timestamp that somebody asks for."""


class RestoreRequest(Struct):
    """The body of `POST /api/v1/restore`: a version by its dot, or what was there at a time or after a receipt."""

    key: str
    timestamp: Timestamp | None = None
    device_id: str | None = None
    source: str | None = None
    at: int | None = None
    receipt: Receipt | None = None


class RestoreAllRequest(Struct):
    """The body of `POST /api/v1/restore-all`: a time in ms since 1970, or a receipt.

    What was written after the receipt `seen` is left as it is.
    """

    at: int | None = None
    receipt: Receipt | None = None
    dry_run: bool = False
    seen: Receipt | None = None


class UndoRequest(Struct):
    """The body of `POST /api/v1/undo`: `since` is a time in ms since 1970; `seen` as in `RestoreAllRequest`."""

    device: str
    since: int
    dry_run: bool = False
    seen: Receipt | None = None


class TrashRestoreRequest(Struct):
    """The body of `POST /api/v1/trash/restore`."""

    key: str


class RestoredNote(Struct, omit_defaults=True):
    """What comes back at one key: `version` is the one whose content it is, absent for a deletion.

    `added` and `removed` say how many lines come and go, roughly.
    """

    key: str
    added: int
    removed: int
    version: HistoryEntry | None = None
    moved_to: str | None = None


class RefusedNote(Struct):
    """A key that is left as it is, and why."""

    key: str
    reason: str


class Restored(Struct, omit_defaults=True):
    """What was or would be written; restoring everything to `receipt` takes it back."""

    epoch: str
    receipt: int
    notes: list[RestoredNote]
    refused: list[RefusedNote]
    dry_run: bool = False


class TrashEntry(Struct, omit_defaults=True):
    """A deleted note: its deletion, and the last version whose content is kept."""

    key: str
    deletion: HistoryEntry
    last: HistoryEntry | None = None


class Trash(Struct, omit_defaults=True):
    """One page of `GET /api/v1/trash`, ordered by key; `next` is the key to go on after."""

    epoch: str
    notes: list[TrashEntry]
    next: str | None = None


HoldKind = Literal["delete_out", "delete_in", "quarantine"]
"""What a device holds back until a person decides: deletions going out, deletions coming in, notes that may be gone."""

HoldDecision = Literal["confirm", "refuse"]


class WireHold(Struct):
    """What a device holds back, of one kind: `count` keys, the first of them by name, `since` ms since 1970."""

    kind: HoldKind
    keys: list[str]
    count: int
    since: int


class HoldsReport(Struct):
    """The body of `PUT /api/v1/holds`: all that the device holds back now."""

    holds: list[WireHold]


class DecidedHold(Struct):
    """What a person decided about a hold."""

    kind: HoldKind
    decision: HoldDecision


class DecidedHolds(Struct):
    """The answer of `PUT /api/v1/holds`."""

    decisions: list[DecidedHold]


class DeviceHold(Struct, omit_defaults=True):
    """One hold of one device in the list; `decision` is what the device has not yet done."""

    device_id: str
    kind: HoldKind
    keys: list[str]
    count: int
    since: int
    decision: HoldDecision | None = None


class Holds(Struct):
    """The answer of `GET /api/v1/holds`."""

    holds: list[DeviceHold]


class DecideRequest(Struct):
    """The body of `POST /api/v1/holds/decide`."""

    device_id: str
    kind: HoldKind
    decision: HoldDecision


class GcRequest(Struct):
    """The body of `POST /api/v1/gc`."""

    dry_run: bool = False


class Collected(Struct):
    """The answer of `POST /api/v1/gc`: what was or would be let go; sizes in bytes."""

    versions: int
    size: int
    tombstones: int
    blobs: int
    blob_size: int


class NoteEntry(Struct, omit_defaults=True):
    """A note of a list: its winner without the text; `size` in bytes."""

    key: str
    timestamp: int
    device_id: str
    size: int
    modified_at: int | None = None
    conflict: bool = False
    blob: WireBlob | None = None


class Notes(Struct, omit_defaults=True):
    """One page of `GET /api/v1/notes`, ordered by key; `next` is the key to go on after."""

    epoch: str
    clock: int
    notes: list[NoteEntry]
    next: str | None = None


class RenameRequest(Struct):
    """The body of `POST /api/v1/rename`: the key, the one it becomes, and the dot of the winner that was seen."""

    key: str
    to: str
    timestamp: Timestamp
    device_id: str


Role = Literal["reader", "editor", "owner"]
"""What a device may do: read; write, too; and say who else may."""


class Me(Struct):
    """The answer of `GET /api/v1/me`: who asks, what they may, and what there is for them."""

    auth: Literal["none", "session", "token"]
    device_id: str | None
    role: Role
    vault: str | None
    vaults: list[str]
    version: str
    protocol: int


class PairRequest(Struct):
    """The body of `POST /api/v1/pair`; `vault` null is every one, `device_id` null lets the device choose."""

    vault: str | None = DEFAULT_VAULT
    device_id: str | None = None
    role: Role = "editor"


class Paired(Struct):
    """The answer: a one-time link, its code, when it expires (ms since 1970), and the link as a QR code in SVG."""

    link: str
    code: str
    expires_at: int
    qr_svg: str


class RedeemRequest(Struct):
    """The body of `POST /api/v1/redeem`; with `session` the token comes as a cookie."""

    code: str
    device_id: str | None = None
    session: bool = False


class Redeemed(Struct, omit_defaults=True):
    """The answer: who the device is now; `token` is shown this once, and absent with `session`."""

    device_id: str
    vault: str | None
    role: Role
    token: str | None = None


class DeviceEntry(Struct):
    """A device: what it may, and up to where it has applied the log of the vault that was asked for.

    `role` and `created_at` are null for one that syncs under no credential of its own.
    """

    device_id: str
    vault: str | None
    role: Role | None
    created_at: int | None
    last_seen_at: int
    cursor: int | None
    connected: bool
    web: bool
    this: bool


class Devices(Struct):
    """The answer of `GET /api/v1/devices`; `clock` is the vault's."""

    clock: int
    devices: list[DeviceEntry]


class RevokeRequest(Struct):
    """The body of `POST /api/v1/devices/revoke`."""

    device_id: str


class Rotated(Struct, omit_defaults=True):
    """The answer of `POST /api/v1/devices/rotate`; `token` is absent where it came as a cookie."""

    token: str | None = None


class VaultEntry(Struct):
    """A vault: what it does with ties, how many notes and files it has, its clock, and the epoch it gave way to."""

    name: str
    on_tie: Literal["review", "ask", "merge"]
    notes: int
    clock: int
    fenced_by: str | None = None


class Vaults(Struct):
    """The answer of `GET /api/v1/vaults`, ordered by name."""

    vaults: list[VaultEntry]


class VaultRequest(Struct):
    """The body of `POST /api/v1/vaults`, `/vaults/set`, and `/vaults/unfence`, which asks for the name only."""

    name: str
    on_tie: str | None = None


class HitPart(Struct):
    """A piece of a snippet; `hit` if it is what was searched for."""

    text: str
    hit: bool


class SearchHit(Struct):
    """A note that was found, and the place in it."""

    key: str
    title: str
    parts: list[HitPart]


class Hits(Struct):
    """The answer of `GET /api/v1/search`, the best first; `more` if there are."""

    hits: list[SearchHit]
    more: bool


class BlobStatus(Struct):
    """The answer to a `PUT` of a part of a blob: how many bytes the server has now."""

    sha256: str
    size: int
    complete: bool


class Health(Struct):
    """The answer of `GET /health`."""

    status: Literal["ok", "failed"]
    version: str
    protocol: int


class _Head(Struct):
    type: str


T = TypeVar("T")
_ENCODER = msgspec.json.Encoder()
_HEAD = msgspec.json.Decoder(_Head)
_PUSH = msgspec.json.Decoder(IncomingPush)
_CHANGE = msgspec.json.Decoder(WireChange)
_FIELDS = msgspec.json.Decoder(dict[str, Raw])
_FROM_SERVER = msgspec.json.Decoder(SyncAck | ErrorMessage | Notice)


def encode(message: object) -> bytes:
    """Return a message as JSON."""
    return _ENCODER.encode(message)


def decode(data: bytes | str, kind: type[T]) -> T:
    """Return the body of a REST request or answer.

    Raises:
        ProtocolError: `bad_message`.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ProtocolError(f"not a valid {kind.__name__}: {error}") from None


def decode_push(data: bytes | str) -> IncomingPush | None:
    """Return a client's message; None for a type that this version does not know, which is ignored.

    Raises:
        ProtocolError: `bad_message`.
    """
    try:
        if _HEAD.decode(data).type != "sync_push":
            return None
        push = _PUSH.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ProtocolError(f"not a valid message: {error}") from None
    if not 0 <= push.last_ack <= MAX_TIMESTAMP:
        raise ProtocolError("last_ack is not an integer in 0..2^53-1")
    if isinstance(push.id, str) and len(push.id) > MAX_ID_LENGTH:
        raise ProtocolError(f"the id is over {MAX_ID_LENGTH} characters")
    if isinstance(push.id, int) and abs(push.id) > MAX_TIMESTAMP:
        raise ProtocolError("the id is not in -(2^53-1)..2^53-1")
    return push


def decode_from_server(data: bytes | str) -> SyncAck | ErrorMessage | Notice | None:
    """Return a server's message; None for a type that this version does not know, which is ignored.

    Raises:
        ProtocolError: `bad_message`.
    """
    try:
        if _HEAD.decode(data).type not in ("sync_ack", "error", "notice"):
            return None
        message: SyncAck | ErrorMessage | Notice = _FROM_SERVER.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ProtocolError(f"not a valid message: {error}") from None
    return message


def decode_change(raw: Raw, *, max_text_bytes: int = MAX_TEXT_BYTES, allow_server: bool = False) -> Change:
    """Return one change of a push, checked as `to_change` does.

    Raises:
        RefusedChange: with the code of what is wrong first.
    """
    try:
        wire = _CHANGE.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RefusedChange(str(error), _code_of_malformed(raw)) from None
    return to_change(wire, max_text_bytes=max_text_bytes, allow_server=allow_server)


def to_change(wire: WireChange, *, max_text_bytes: int | None = None, allow_server: bool = False) -> Change:
    """Return a change as the program means it.

    Args:
        wire: as it came.
        max_text_bytes: the largest text, in bytes of UTF-8; None for no limit.
        allow_server: whether authors may be servers.

    Raises:
        RefusedChange: with the code of what is wrong first.
    """
    check_key(wire.key)
    dot = _to_dot(wire.timestamp, wire.device_id, allow_server=allow_server)
    base = None if wire.base is None else _to_dots(wire.base, "bad_base")
    merged_from = _to_dots(wire.merged_from or [], "bad_base")
    if base and any(seen.timestamp >= dot.timestamp for seen in base):
        raise RefusedChange("every base dot must be smaller than the change's timestamp", "bad_base")
    value, blob = _to_content(wire, max_text_bytes)
    if wire.moved_to is not None:
        if value is not None or blob is not None:
            raise RefusedChange("only a deletion has moved_to", "bad_value")
        check_key(wire.moved_to)
        if wire.moved_to == wire.key:
            raise RefusedChange("a key cannot move to itself", "bad_value")
    if wire.modified_at is not None and not 0 <= wire.modified_at <= MAX_TIMESTAMP:
        raise RefusedChange("modified_at is not ms since 1970", "bad_change")
    return Change(
        wire.key, dot, value, blob, base, wire.moved_to, wire.modified_at, wire.live, wire.conflict, merged_from
    )


def from_change(change: Change) -> WireChange:
    """Return a change as JSON shows it; dots in order, so that equal changes are equal bytes."""
    blob = change.blob
    return WireChange(
        key=change.key,
        value="" if blob else change.value,
        timestamp=change.dot.timestamp,
        device_id=change.dot.device_id,
        base=None if change.base is None else from_dots(change.base),
        deleted=change.deleted,
        moved_to=change.moved_to,
        blob=WireBlob(blob.sha256, blob.size, blob.media_type) if blob else None,
        modified_at=change.modified_at,
        live=change.live,
        conflict=change.conflict,
        merged_from=from_dots(change.merged_from) or None,
    )


def from_spots(spots: Iterable[Spot]) -> list[WireSpot]:
    """Return places of a merge as JSON shows them."""
    return [WireSpot(spot.start, spot.end, spot.reason, spot.base, spot.first, spot.second) for spot in spots]


def from_entries(entries: list[CrdtEntry]) -> list[WireChange]:
    """Return all siblings of all entries, those of a key next to each other."""
    return [from_change(change) for entry in entries for change in entry.register.siblings]


def from_dots(dots: frozenset[Dot]) -> list[WireDot]:
    """Return dots as JSON shows them, in order."""
    return [WireDot(*dot) for dot in sorted(dots)]


def from_heads(heads: Mapping[Dot, Head]) -> list[WireHead]:
    """Return siblings as the manifest shows them, in the order of their dots."""
    return [WireHead(*dot, heads[dot].conflict, heads[dot].content_hash) for dot in sorted(heads)]


def rejection(raw: Raw, refusal: RefusedChange) -> Rejected:
    """Return the answer to a change that could not be read, with as much of its name as could be."""
    names = _readable_fields(raw)
    return Rejected(names.get("key"), names.get("timestamp"), names.get("device_id"), refusal.code, refusal.message)


def _to_dot(timestamp: int, device_id: str, *, allow_server: bool) -> Dot:
    if not is_timestamp(timestamp):
        raise RefusedChange("the timestamp is not an integer in 1..2^53-1", "bad_timestamp")
    check_device_id(device_id, allow_server=allow_server)
    return Dot(timestamp, device_id)


def _to_dots(wire: list[WireDot], code: str) -> frozenset[Dot]:
    if len(wire) > MAX_BASE_DOTS:
        raise RefusedChange(f"more than {MAX_BASE_DOTS} dots", code)
    try:
        return frozenset(_to_dot(dot.timestamp, dot.device_id, allow_server=True) for dot in wire)
    except RefusedChange as refusal:
        raise RefusedChange(refusal.message, code) from None


def _to_content(wire: WireChange, max_text_bytes: int | None) -> tuple[str | None, BlobRef | None]:
    if wire.blob is not None:
        if wire.value != "" or wire.deleted:
            raise RefusedChange('a blob comes with value "" and is no deletion', "bad_value")
        return None, _to_blob(wire.blob)
    if wire.value is None:
        return None, None
    if wire.deleted:
        raise RefusedChange("a deletion has value null", "bad_value")
    if "\0" in wire.value:
        raise RefusedChange("the value holds U+0000; send it as a blob", "bad_value")
    if max_text_bytes is not None and len(wire.value) * 4 > max_text_bytes < len(wire.value.encode()):
        raise RefusedChange(f"the text is over {max_text_bytes} bytes; send it as a blob", "value_too_large")
    return wire.value, None


def _to_blob(wire: WireBlob) -> BlobRef:
    if not _SHA256.fullmatch(wire.sha256) or not 0 <= wire.size <= MAX_TIMESTAMP:
        raise RefusedChange("a blob needs a sha256 of 64 hex digits and a size", "bad_value")
    if wire.media_type is not None and not _MEDIA_TYPE.fullmatch(wire.media_type):
        raise RefusedChange("the media type is malformed", "bad_value")
    return BlobRef(wire.sha256, wire.size, wire.media_type)


_CODE_OF_FIELD: Final = {
    "key": "bad_key",
    "timestamp": "bad_timestamp",
    "device_id": "bad_device",
    "base": "bad_base",
    "value": "bad_value",
    "blob": "bad_value",
    "moved_to": "bad_value",
}
_DECODER_OF_FIELD: Final = {
    field.name: msgspec.json.Decoder(field.type) for field in msgspec.structs.fields(WireChange)
}


def _code_of_malformed(raw: Raw) -> str:
    """Return the code of the first field of the wrong type; a missing field is a `bad_change`."""
    try:
        fields = _FIELDS.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return "bad_change"
    for name, code in _CODE_OF_FIELD.items():
        if name in fields:
            try:
                _DECODER_OF_FIELD[name].decode(fields[name])
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                return code
    return "bad_change"


def _readable_fields(raw: Raw) -> dict[str, object]:
    names: dict[str, object] = {}
    try:
        fields = _FIELDS.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return names
    for name in ("key", "timestamp", "device_id"):
        try:
            value = msgspec.json.decode(fields.get(name, b"null"))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            continue
        if isinstance(value, str | int | float) and len(str(value)) <= 2000:
            names[name] = value
    return names
