"""A vault's log in a list and two dicts: the plainest thing that `core.intake` can run on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tidenote.core.crdt import CrdtEntry
from tidenote.core.intake import Batch, take_in
from tidenote.core.merge import merge_text
from tidenote.core.merged import Merge
from tidenote.core.register import EMPTY, Register
from tidenote.core.sides import OnTie
from tidenote.core.version import BlobRef, Change, Dot, Record, Version
from tidenote.errors import RefusedChange
from tidenote.wire.session import Page


class Log:
    """One vault's log; the view that an intake sees, and what it leaves behind."""

    def __init__(self, clock: int = 0, author: str = "server.1-x") -> None:
        self.clock = clock
        self.author = author
        self.on_tie: OnTie = "review"
        self.versions: list[Version] = []
        self.entries: dict[str, CrdtEntry] = {}
        self.blobs: set[str] = set()

    def take_in(
        self, *pushes: Sequence[Change], wall_ms: int = 0, settle: Iterable[str] = (), merge: Merge = merge_text
    ) -> Batch:
        batch = take_in(
            self, pushes, author=self.author, wall_ms=wall_ms, on_tie=self.on_tie, settle=settle, merge=merge
        )
        self.versions += batch.versions
        self.entries |= {entry.key: entry for entry in batch.entries}
        self.clock = batch.clock
        return batch

    def register(self, key: str) -> Register:
        return self.entries[key].register if key in self.entries else EMPTY

    def changed_at(self, key: str) -> int:
        return self.entries[key].changed_at if key in self.entries else 0

    def record(self, key: str, dot: Dot) -> Record | None:
        found = self.version(key, dot)
        return Record.of(found) if found else None

    def version(self, key: str, dot: Dot) -> Version | None:
        return next((found for found in self.versions_of(key) if found.dot == dot), None)

    def had_content(self, key: str, content_hash: str, before: int) -> bool:
        siblings = self.register(key).dots
        return any(
            found.dot not in siblings and found.receipt < before and found.change.content_hash == content_hash
            for found in self.versions_of(key)
        )

    def check_blob(self, blob: BlobRef) -> None:
        if blob.sha256 not in self.blobs:
            raise RefusedChange("upload it first", "blob_missing")

    def versions_of(self, key: str) -> list[Version]:
        return [found for found in self.versions if found.change.key == key]

    def page(self, after: int, max_keys: int = 1000) -> Page:
        """Return the next keys that altered after a cursor."""
        altered = sorted((entry.changed_at, entry.key) for entry in self.entries.values() if entry.changed_at > after)
        taken = tuple(self.entries[key] for _, key in altered[:max_keys])
        behind = len(altered) - len(taken)
        return Page(taken, taken[-1].changed_at if behind else self.clock, behind)

    def entries_of(self, keys: Iterable[str]) -> list[CrdtEntry]:
        return [self.entries[key] for key in keys if key in self.entries]

    def siblings(self) -> dict[str, tuple[Change, ...]]:
        return {key: entry.register.siblings for key, entry in self.entries.items()}
