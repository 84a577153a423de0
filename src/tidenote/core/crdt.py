"""A replica's whole state: key -> register.

`CrdtEngine` is the plain, in-memory form. Stores and journals keep the same state on disk and use
`Register.join` on the keys that they touch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tidenote.core.clock import LamportClock
from tidenote.core.register import EMPTY, Register
from tidenote.core.version import BlobRef, Change, Dot


@dataclass(frozen=True, slots=True)
class CrdtEntry:
    """The register of one key, as replicas exchange it.

    Attributes:
        key: the key.
        register: its state.
        changed_at: the clock at the last change of the key that was taken in; orders `CrdtEngine.changes_since`.
    """

    key: str
    register: Register
    changed_at: int = 0

    @property
    def winner(self) -> Change | None:
        """The sibling that everyone shows."""
        return self.register.winner


class CrdtEngine:
    """A last-writer-wins map of multi-value registers with its own Lamport clock.

    Args:
        device_id: the author of this replica's own writes.
        clock: this replica's clock; a new one by default.
    """

    def __init__(self, device_id: str, clock: LamportClock | None = None) -> None:
        self.device_id = device_id
        self.clock = clock or LamportClock()
        self._entries: dict[str, CrdtEntry] = {}

    def write(
        self,
        key: str,
        value: str | None,
        *,
        base: Iterable[Dot] | None = None,
        blob: BlobRef | None = None,
        moved_to: str | None = None,
    ) -> Change:
        """Write one key here and return the change, which others `apply` like anyone's.

        Args:
            key: a valid key.
            value: the text; None for a blob or a deletion.
            base: the dots in front of the author; by default the winner's, or nothing for a new key.
            blob: the bytes' name instead of a text.
            moved_to: for a deletion, the key that it was renamed to.
        """
        if base is None:
            winner = self.entry(key).winner
            base = [winner.dot] if winner else []
        dot = Dot(self.clock.tick(), self.device_id)
        change = Change(key, dot, value, blob, frozenset(base), moved_to)
        self.apply(change)
        return change

    def apply(self, change: Change) -> bool:
        """Take in one change, the author's own included; return whether the key's state altered."""
        return self.merge(CrdtEntry(change.key, Register.of(change)))

    def merge(self, entry: CrdtEntry) -> bool:
        """Join another replica's state of a key into ours; return whether ours altered."""
        self.clock.observe(*(change.dot.timestamp for change in entry.register.siblings))
        mine = self.entry(entry.key)
        joined = mine.register.join(entry.register)
        if joined == mine.register:
            return False
        self._entries[entry.key] = CrdtEntry(entry.key, joined, self.clock.tick())
        return True

    def entry(self, key: str) -> CrdtEntry:
        """Return the state of a key; an empty register if nobody wrote it."""
        return self._entries.get(key) or CrdtEntry(key, EMPTY)

    def winner(self, key: str) -> Change | None:
        """Return the sibling of a key that everyone shows, None if nobody wrote it."""
        return self.entry(key).winner

    def changes_since(self, cursor: int) -> list[CrdtEntry]:
        """Return the keys whose state altered after a cursor, in the order in which they did."""
        found = (entry for entry in self._entries.values() if entry.changed_at > cursor)
        return sorted(found, key=lambda entry: entry.changed_at)

    def __iter__(self) -> Iterator[CrdtEntry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)
