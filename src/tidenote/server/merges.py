"""What was merged of what, told from the log: a version's sources, their base, and the merge made again.

Asks a `Past` for what was. Nothing of this is written down, since all that it takes is kept anyway; where a text is
gone it cannot be told. What people are shown of it is conflicts.py's and history_api.py's matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tidenote.core.ancestry import NoBase, nearest_common_ancestor
from tidenote.core.merged import Merge, Merged
from tidenote.core.version import Change, Dot, Record
from tidenote.server.store.contract import Store

MAX_STEPS: Final = 1000
"""How many versions back a merge is looked for."""


class Past(Protocol):
    """All that ever came of a vault's notes."""

    def records(self, key: str) -> Mapping[Dot, Record]:
        """Return the records of a key, by receipt."""
        ...

    def renames_to(self, key: str) -> Sequence[Record]:
        """Return the tombstones of keys that were renamed to a key, by receipt."""
        ...

    def change(self, record: Record) -> Change | None:
        """Return a version with its content; None if that is gone."""
        ...


class StoredPast:
    """The past in a store, each key read once.

    Args:
        store: the logs.
        vault: its name.
    """

    def __init__(self, store: Store, vault: str) -> None:
        self._store = store
        self._vault = vault
        self._records: dict[str, dict[Dot, Record]] = {}

    def records(self, key: str) -> Mapping[Dot, Record]:
        """Return the records of a key, by receipt."""
        if key not in self._records:
            self._records[key] = {record.dot: record for record in self._store.records(self._vault, key)}
        return self._records[key]

    def renames_to(self, key: str) -> Sequence[Record]:
        """Return the tombstones of keys that were renamed to a key, by receipt."""
        return self._store.renames_to(self._vault, key, 2**62)

    def change(self, record: Record) -> Change | None:
        """Return a version with its content; None if that is gone."""
        version = self._store.version(self._vault, record.key, record.dot)
        return version.change if version else None


@dataclass(frozen=True, slots=True)
class Union:
    """A version that took the place of several others, and these, in the order of their dots."""

    record: Record
    sources: tuple[Record, ...]


def union_of(record: Record, past: Past) -> Union | None:
    """Return what one version united; None if it was made of one, or only says that somebody should look at it."""
    own, guests = _own(record, past), _guests(record, past)
    if len(own) + len(guests) < 2 or _is_mark(record, own, guests):
        return None
    return Union(record, tuple(sorted([*own, *guests], key=lambda source: source.dot)))


def union_behind(record: Record, past: Past) -> Union | None:
    """Return what was united last on the way to a version, also under the note's earlier names; None if nothing was."""
    at: Record | None = record
    for _ in range(MAX_STEPS):
        if at is None:
            return None
        if union := union_of(at, past):
            return union
        at = _before(at, past)
    return None


def base_of(sources: Sequence[Record], past: Past) -> Record | None:
    """Return what the last source and those before it, united, were both made of; None if that is not certain."""
    if len(sources) < 2:
        return None
    *before, last = sources
    if all(source.key == last.key for source in before):
        return _ancestor(last.key, [source.dot for source in before], [last.dot], past)
    if len(sources) > 2:
        return None
    first, second = sources
    return _parted(first, second, past) or _parted(second, first, past) or _renamed_twice(first.key, second.key, past)


def merge_again(union: Union, past: Past, merge: Merge) -> Merged | None:
    """Return the merge that a version holds, without spots if its sources are more than two.

    None if it was made otherwise, by a person who settled a conflict, or if a text is gone.

    Raises:
        TooMuchWork: the merge says so.
    """
    texts = texts_of(union.sources, past)
    if texts is None:
        return None
    merged = Merged(texts[0])
    for number in range(1, len(texts)):
        base = base_of(union.sources[: number + 1], past)
        old = past.change(base) if base else None
        if base and (old is None or old.value is None):
            return None
        merged = merge((old and old.value) or "", merged.text, texts[number])
    if Change("", union.record.dot, merged.text).content_hash != union.record.content_hash:
        return None
    return merged if len(texts) == 2 else Merged(merged.text)


def texts_of(records: Iterable[Record], past: Past) -> list[str] | None:
    """Return the texts of versions; None if one is gone, or is none."""
    changes = [past.change(record) for record in records]
    texts = [change.value for change in changes if change and change.value is not None]
    return texts if len(texts) == len(changes) else None


def _own(record: Record, past: Past) -> list[Record]:
    """Return what a version replaced at its own key, deletions left out."""
    known = past.records(record.key)
    return [known[dot] for dot in sorted(record.base or ()) if dot in known and not known[dot].deleted]


def _guests(record: Record, past: Past) -> list[Record]:
    """Return what followed a rename to a version's key and was merged into it."""
    if not record.merged_from:
        return []
    keys = dict.fromkeys(rename.key for rename in past.renames_to(record.key))
    return [past.records(key)[dot] for key in keys for dot in record.merged_from if dot in past.records(key)]


def _is_mark(record: Record, own: Sequence[Record], guests: Sequence[Record]) -> bool:
    """Say whether a version only takes along that a note, renamed to its key, is to be looked at."""
    return (
        bool(guests)
        and all(guest.conflict for guest in guests)
        and [parent.content_hash for parent in own] == [record.content_hash]
    )


def _before(record: Record, past: Past) -> Record | None:
    """Return the version that one was made of: a marked guest, its parent, or what the note was before its rename."""
    own, guests = _own(record, past), _guests(record, past)
    if guests and (not own or _is_mark(record, own, guests)):
        return guests[-1]
    if own:
        return own[-1]
    known = past.records(record.key)
    if deletions := [known[dot] for dot in sorted(record.base or ()) if dot in known]:
        return deletions[-1]
    # The two changes of a rename come in one push, the new name first.
    for rename in past.renames_to(record.key):
        if rename.receipt > record.receipt and rename.received_at == record.received_at:
            before = _own(rename, past)
            return before[-1] if before else None
    return None


def _parted(host: Record, guest: Record, past: Past) -> Record | None:
    """Return what a note was when it was renamed to the host's key and edited under its old name, the guest's."""
    for rename in reversed(past.renames_to(host.key)):
        # Later ones are the server's: they say that the edit came along.
        if rename.key == guest.key and guest.dot not in (rename.base or ()):
            return _ancestor(guest.key, [rename.dot], [guest.dot], past)
    return None


def _renamed_twice(one: str, other: str, past: Past) -> Record | None:
    """Return what a note was when it was renamed to two keys."""
    for rename in past.renames_to(one):
        for rival in past.renames_to(other):
            seen = (rename.base or frozenset()) | (rival.base or frozenset())
            if rename.key == rival.key and seen.isdisjoint((rename.dot, rival.dot)):
                return _ancestor(rename.key, [rename.dot], [rival.dot], past)
    return None


def _ancestor(key: str, first: Iterable[Dot], second: Iterable[Dot], past: Past) -> Record | None:
    known = past.records(key)

    def parents(dot: Dot) -> frozenset[Dot] | None:
        return (known[dot].base or frozenset()) if dot in known else None

    found = nearest_common_ancestor(first, second, parents)
    return None if isinstance(found, NoBase) else known[found]
