"""Dots, changes and versions: the values that everything else passes around.

Immutable. How versions compete is register.py's matter; how they look in JSON is wire/messages.py's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

SERVER_PREFIX: Final = "server"
"""Device ids that start with this are the server's own authors (`server.<epoch>`)."""


def is_server(device_id: str) -> bool:
    """Say whether an author is a server: of a merge, or of what a person asked it for."""
    return device_id.startswith(SERVER_PREFIX)


class Dot(NamedTuple):
    """Lamport time and author of a change: its name within a key, and the order of last-writer-wins."""

    timestamp: int
    device_id: str


UNDATED: Final = Dot(0, SERVER_PREFIX)
"""The dot of what the server is to write on somebody's behalf, until intake.py gives it one of its own."""


@dataclass(frozen=True, slots=True)
class BlobRef:
    """Bytes that are kept beside the log, named by their hash.

    Attributes:
        sha256: 64 lower-case hex digits.
        size: bytes.
        media_type: a hint such as `image/png`, or None.
    """

    sha256: str
    size: int
    media_type: str | None = None


class Head(NamedTuple):
    """What two replicas compare of a sibling beside its dot.

    Attributes:
        content_hash: SHA-256 in hex of the bytes that it leaves at the key; None for a deletion. A log that was
            restored takes a dot that it has lost for something else, if its device has lost its memory.
        conflict: its mark. A restored log that has what a change replaces may mark one that others have unmarked.
    """

    content_hash: str | None
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One write to one key: a text value, a blob, or a deletion.

    Attributes:
        key: `note:<path>` or `file:<path>`, already validated.
        dot: the change's name; never used twice for a key.
        value: the text; None for a blob and for a deletion.
        blob: the bytes' name; None for a text and for a deletion.
        base: the dots that the author had in front of them; None is a blind write, empty is "there was nothing".
        moved_to: the key that a deletion renamed this one to.
        modified_at: ms since 1970, shown to people only.
        live: typed in an editor that shows remote edits as they come.
        conflict: a merge by the server that a person should look at.
        merged_from: the dots of another key's versions that were merged into this one.
    """

    key: str
    dot: Dot
    value: str | None = None
    blob: BlobRef | None = None
    base: frozenset[Dot] | None = None
    moved_to: str | None = None
    modified_at: int | None = None
    live: bool = False
    conflict: bool = False
    merged_from: frozenset[Dot] = frozenset()

    @property
    def deleted(self) -> bool:
        """Whether this change says "there is nothing here any more"."""
        return self.value is None and self.blob is None

    @property
    def content_hash(self) -> str | None:
        """SHA-256 in hex of the bytes that the change leaves at the key; None for a deletion."""
        if self.blob:
            return self.blob.sha256
        return None if self.value is None else hashlib.sha256(self.value.encode()).hexdigest()

    @property
    def head(self) -> Head:
        """What two replicas compare if both have a sibling with this dot."""
        return Head(self.content_hash, self.conflict)

    @property
    def text_size(self) -> int:
        """The bytes of its text in UTF-8; 0 for a blob or a deletion."""
        return len((self.value or "").encode())

    @property
    def weight(self) -> int:
        """About how many bytes the change takes in a message."""
        return weight(self.key, self.text_size, len(self.base or ()) + len(self.merged_from))

    def same_content(self, other: Change) -> bool:
        """Say whether both leave the same bytes at the key."""
        if self.blob and other.blob:
            return self.blob.sha256 == other.blob.sha256
        return self.value == other.value and self.blob == other.blob and self.moved_to == other.moved_to


def weight(key: str, text_size: int, dots: int) -> int:
    """Return about how many bytes a change takes in a message.

    Args:
        key: its key.
        text_size: of its text, in bytes of UTF-8.
        dots: how many it names, as its base or as merged from.
    """
    return 200 + len(key) + text_size + 100 * dots


def weight_of(changes: Iterable[Change]) -> int:
    """Return about how many bytes changes take in a message, together."""
    return sum(change.weight for change in changes)


@dataclass(frozen=True, slots=True)
class Version:
    """A change as the history keeps it.

    Attributes:
        change: what the author wrote.
        receipt: the server's Lamport time at which it was taken in; 0 while no server has.
        received_at: the server's wall clock then, ms since 1970; shown to people, and what retention counts from.
    """

    change: Change
    receipt: int = 0
    received_at: int = 0

    @property
    def dot(self) -> Dot:
        """The change's dot."""
        return self.change.dot


@dataclass(frozen=True, slots=True)
class Record:
    """A version without its text: what stays of it for ever, what histories list, and what retention decides on.

    Attributes:
        key, dot, base, merged_from, moved_to, modified_at, live, conflict: of the change.
        receipt, received_at: of the version.
        content_hash: SHA-256 in hex of the content; None for a deletion.
        size: bytes of the content; 0 for a deletion.
        blob: the name of the bytes, if the content is a blob.
        gone: whether the history has let go of the content. Its hash stays, so that it is known should it come back.
    """

    key: str
    dot: Dot
    receipt: int
    received_at: int
    base: frozenset[Dot] | None
    content_hash: str | None
    size: int
    blob: BlobRef | None = None
    moved_to: str | None = None
    merged_from: frozenset[Dot] = frozenset()
    modified_at: int | None = None
    live: bool = False
    conflict: bool = False
    gone: bool = False

    @classmethod
    def of(cls, version: Version) -> Record:
        """Return the record of a version."""
        change = version.change
        blob = change.blob
        return cls(
            change.key,
            change.dot,
            version.receipt,
            version.received_at,
            change.base,
            change.content_hash,
            blob.size if blob else change.text_size,
            blob,
            change.moved_to,
            change.merged_from,
            change.modified_at,
            change.live,
            change.conflict,
        )

    @property
    def deleted(self) -> bool:
        """Whether the version says "there is nothing here any more"."""
        return self.content_hash is None

    @property
    def kept(self) -> bool:
        """Whether there is content, and the history still has it."""
        return self.content_hash is not None and not self.gone

    def is_of(self, change: Change) -> bool:
        """Say whether a change is this version sent again: same key, dot and content, base included."""
        return (
            self.key == change.key
            and self.dot == change.dot
            and self.content_hash == change.content_hash
            and (self.blob and self.blob.size) == (change.blob and change.blob.size)
            and self.moved_to == change.moved_to
            and self.base == change.base
            and self.merged_from == change.merged_from
        )
