"""One tree of errors, split by what the caller should do; and the one table of wire codes.

    TidenoteError
    ├── RefusedChange        one change of a push was refused; the others were not
    ├── ProtocolError        the peer broke the protocol, or must start afresh
    ├── AccessError          who asks may not (HTTP 401, 403, 404)
    ├── StorageError         our disk said no: nothing was acknowledged
    ├── UnreachableError     no answer from the server; trying again helps
    ├── FolderError          the folder on disk is not fit to sync
    └── ConfigError          a setting, flag or file of the user's is wrong

Every error carries a `code` of the table `CODES` and a message for people. The table is shared by REST
and WebSocket: docs/protocol.md lists it, and a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    """What a client does about a code."""

    RETRY = "retry"
    """Send the same again later, with back-off."""
    RESTAMP = "re-stamp"
    """Move the clock to what the server says and give the change a new dot."""
    REINCARNATE = "re-incarnate"
    """Go on under the next device id (`ID~2`) and give the change a new dot."""
    UPLOAD = "upload"
    """Upload the blob, then send the change again."""
    PARK = "park"
    """Keep the change, stop sending it, tell the user."""
    RESYNC = "resync"
    """Compare everything by manifest, offer what the server lost, delete nothing."""
    STOP = "stop"
    """Stop and tell the user."""


@dataclass(frozen=True, slots=True)
class Code:
    """One row of the table of codes."""

    action: Action
    http_status: int
    meaning: str


CODES: dict[str, Code] = {
    # One change was refused; the rest of its push was taken in.
    "bad_change": Code(Action.PARK, 422, "a mandatory field is missing or has the wrong type"),
    "bad_key": Code(Action.PARK, 422, "the key is not a valid one"),
    "bad_timestamp": Code(Action.PARK, 422, "the timestamp is not an integer in 1..2^53-1"),
    "bad_device": Code(Action.PARK, 422, "the device id is malformed or reserved"),
    "bad_author": Code(Action.PARK, 403, "the change names another device as its author"),
    "bad_base": Code(Action.PARK, 422, "a base dot is malformed or not smaller than the change"),
    "bad_value": Code(
        Action.PARK, 422, "it holds U+0000, the blob has another size, or value, blob, deleted and moved_to contradict"
    ),
    "value_too_large": Code(Action.PARK, 413, "the text is over the limit; send it as a blob"),
    "clock_too_far": Code(Action.RESTAMP, 422, "the timestamp is too far ahead of the server's clock"),
    "dot_reused": Code(Action.REINCARNATE, 409, "the same key and dot came before with other content"),
    "blob_missing": Code(Action.UPLOAD, 409, "the server lacks the blob that the change names"),
    "move_target_missing": Code(Action.PARK, 409, "the key that a tombstone moved to has no version"),
    "read_only": Code(Action.PARK, 403, "this device may only read"),
    "no_room": Code(Action.RETRY, 413, "the change is in the log, but the answer has no room for the state of its key"),
    # The store could not take it in; nothing was acknowledged.
    "storage_full": Code(Action.RETRY, 507, "the server's disk is full"),
    "storage_failed": Code(Action.RETRY, 503, "the server's disk failed"),
    "fenced": Code(Action.STOP, 503, "a later generation of this vault exists; this server no longer writes"),
    # The connection or request as a whole.
    "bad_message": Code(Action.STOP, 400, "the message is not valid JSON of a known shape"),
    "message_too_large": Code(Action.STOP, 413, "the message is over the limit"),
    "resync_required": Code(Action.RESYNC, 409, "unknown epoch, cursor ahead of the log, or deletions missed"),
    "stale": Code(Action.STOP, 409, "others wrote meanwhile; look again before settling"),
    "replaced": Code(Action.RETRY, 409, "the same device connected again"),
    "too_slow": Code(Action.RETRY, 408, "the client did not read for too long"),
    "server_stopping": Code(Action.RETRY, 503, "the server is shutting down"),
    "overloaded": Code(Action.RETRY, 503, "the server has as many connections as it may"),
    "internal_error": Code(Action.RETRY, 500, "the server has a bug; its log tells more"),
    "too_many_attempts": Code(Action.RETRY, 429, "too many links were tried from this address; wait a minute"),
    "bad_link": Code(Action.STOP, 403, "the one-time link was used, has expired, or never was one"),
    "unauthorized": Code(Action.STOP, 401, "no token, or an unknown one"),
    "forbidden": Code(Action.STOP, 403, "the caller's device or role may not do this, or the origin is foreign"),
    "unknown_vault": Code(Action.STOP, 404, "no vault of this name"),
    "not_found": Code(Action.STOP, 404, "nothing here"),
    "unsupported_version": Code(Action.STOP, 426, "the protocol version is not spoken here"),
    "bad_blob": Code(Action.RETRY, 422, "the bytes do not have the hash or the size that was announced"),
    "bad_offset": Code(Action.RETRY, 409, "the upload must go on at another offset"),
    "bad_request": Code(Action.STOP, 400, "a parameter is missing or malformed"),
    # The client's own side.
    "unreachable": Code(Action.RETRY, 503, "the server does not answer"),
    "folder_unfit": Code(Action.STOP, 409, "the folder is missing, unreadable, swapped or in use"),
    "bad_config": Code(Action.STOP, 400, "a setting is missing or wrong"),
}


class TidenoteError(Exception):
    """Base of all errors that Tidenote raises on purpose.

    Args:
        message: one line for people.
        code: a key of `CODES`; each class has a default.
    """

    default_code = "bad_request"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        assert self.code in CODES, self.code

    @property
    def action(self) -> Action:
        """What a client does about it."""
        return CODES[self.code].action


class RefusedChange(TidenoteError):
    """One change of a push was refused."""

    default_code = "bad_change"


class ProtocolError(TidenoteError):
    """The peer broke the protocol, or must start afresh.

    Attributes:
        quarantine: with `resync_required`: the client may hold notes whose deletion the server has forgotten.
    """

    default_code = "bad_message"
    quarantine = False


class AccessError(TidenoteError):
    """Who asks may not."""

    default_code = "unauthorized"


class StorageError(TidenoteError):
    """The store could not commit: nothing of the batch is acknowledged."""

    default_code = "storage_failed"


class UnreachableError(TidenoteError):
    """The server gave no answer; trying again helps."""

    default_code = "unreachable"


class FolderError(TidenoteError):
    """The folder is not fit to sync: missing, swapped, unreadable, in use."""

    default_code = "folder_unfit"


class ConfigError(TidenoteError):
    """A setting, flag or file of the user's is wrong."""

    default_code = "bad_config"
