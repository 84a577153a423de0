"""What happens to concurrent siblings: the one table of automatic outcomes (docs/merge.md, section 2).

Pure. The first row that applies says which versions the server writes, each based on exactly the siblings that it
settles; if none applies, the siblings stay and a person is asked. How two texts become one is sides.py's matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tidenote.core.ancestry import NoBase, nearest_common_ancestor
from tidenote.core.merge import merge_text
from tidenote.core.merged import Merge
from tidenote.core.register import Register
from tidenote.core.sides import OnTie, Side, latest
from tidenote.core.version import BlobRef, Change, Dot, Record, Version

MAX_HOPS: Final = 16
"""How many renames in a row an edit follows."""

MAX_SIBLINGS: Final = 64
"""More texts than these are not merged: what one key costs has to be bounded."""

MAX_CHARACTERS: Final = 2**22
"""Texts that are longer together are not merged, for the same reason."""


class Log(Protocol):
    """What a row may ask about the vault, this batch included."""

    def register(self, key: str) -> Register:
        """Return a key's state."""
        ...

    def version(self, key: str, dot: Dot) -> Version | None:
        """Return the version of a key with this dot; None if it never arrived or its content is no longer kept."""
        ...

    def record(self, key: str, dot: Dot) -> Record | None:
        """Return what is known of the version of a key with this dot; None if it never arrived."""
        ...

    def had_content(self, key: str, content_hash: str, before: int) -> bool:
        """Say whether a version of the key that arrived before a receipt had this content, and is replaced by now."""
        ...


@dataclass(frozen=True, slots=True)
class Settlement:
    """One version for the server to write: all of a `Change` but its dot.

    Attributes:
        key: where.
        base: the siblings that it settles; empty for a text that comes from another key to stand beside the others.
    """

    key: str
    base: frozenset[Dot]
    value: str | None = None
    blob: BlobRef | None = None
    moved_to: str | None = None
    modified_at: int | None = None
    live: bool = False
    conflict: bool = False
    merged_from: frozenset[Dot] = frozenset()

    def change(self, dot: Dot) -> Change:
        """Return the settlement as a change by the author of a dot."""
        return Change(
            self.key,
            dot,
            self.value,
            self.blob,
            self.base,
            self.moved_to,
            self.modified_at,
            self.live,
            self.conflict,
            self.merged_from,
        )


def resolve(key: str, log: Log, on_tie: OnTie = "review", merge: Merge = merge_text) -> list[Settlement]:
    """Return what the first row of the table that applies writes, in order; nothing if the siblings stay.

    Args:
        key: the key to settle, after all changes of a batch have joined.
        log: the vault.
        on_tie: what the vault does with merges of edits that have equal timestamps.
        merge: merges two texts.

    Raises:
        TooMuchWork: the merge says so; nothing is settled then.
    """
    siblings = log.register(key).siblings
    if len(siblings) < 2:
        return []
    case = _Case(key, siblings, log, on_tie, merge)
    for row in (_equal_content, _renamed, _deletions, _edits):
        if settlements := row(case):
            return settlements
    return []


@dataclass(frozen=True, slots=True)
class _Case:
    """The siblings of one key, in the order of their dots, and what to know about them."""

    key: str
    siblings: tuple[Change, ...]
    log: Log
    on_tie: OnTie
    merge: Merge

    @property
    def deletions(self) -> list[Change]:
        return [change for change in self.siblings if change.deleted]

    @property
    def edits(self) -> list[Change]:
        return [change for change in self.siblings if not change.deleted]

    def parents(self, dot: Dot) -> frozenset[Dot] | None:
        """Return the base of a version, empty for a blind write; None if it never arrived."""
        record = self.log.record(self.key, dot)
        return (record.base or frozenset()) if record else None

    def parents_of_the_note(self, dot: Dot) -> frozenset[Dot] | None:
        """Return the same, but nothing for a rename: what is written at its key afterwards is another note."""
        record = self.log.record(self.key, dot)
        return frozenset() if record and record.moved_to else self.parents(dot)

    def ancestor(
        self,
        first: Iterable[Dot],
        second: Iterable[Dot],
        parents: Callable[[Dot], frozenset[Dot] | None] | None = None,
    ) -> Change | NoBase:
        """Return the nearest common ancestor of two sides; unclear, too, if it is no longer kept."""
        found = nearest_common_ancestor(first, second, parents or self.parents)
        if isinstance(found, NoBase):
            return found
        version = self.log.version(self.key, found)
        return version.change if version else NoBase.UNCLEAR


# -- rows without a rename


def _equal_content(case: _Case) -> list[Settlement]:
    """All siblings say the same: one version, no conflict."""
    return [_repeat(case.key, case.siblings)] if _all_same(case.siblings) else []


def _deletions(case: _Case) -> list[Settlement]:
    """Nothing but deletions, or beside them only what a device offers that forgot everything: a deletion stays."""
    deletions = case.deletions
    if not deletions or not all(_is_old(change, case.log) for change in case.edits):
        return []
    modified_at = latest(*(change.modified_at for change in deletions))
    return [Settlement(case.key, _dots(case.siblings), moved_to=_last_target(deletions), modified_at=modified_at)]


def _edits(case: _Case) -> list[Settlement]:
    """Edits become one where that needs no person. It stays, whatever was deleted beside it; the history shows both."""
    # What only repeats the past (a device that forgot everything offers what it has) is in the history already.
    edits = [change for change in case.edits if not _is_old(change, case.log)] or case.edits
    base = _dots(case.siblings)
    if _all_same(edits):
        return [_repeat(case.key, edits, base=base)]
    if len(edits) > MAX_SIBLINGS or any(change.value is None for change in edits):
        return []
    if sum(len(change.value or "") for change in edits) > MAX_CHARACTERS:
        return []
    side = Side.of(edits[0])
    for change in edits[1:]:
        united = side.unite(Side.of(change), case.ancestor(side.nodes, [change.dot]), case.on_tie, case.merge)
        if united is None:
            return []
        side = united
    return [_write(case.key, base, side)]


# -- renames


def _renamed(case: _Case) -> list[Settlement]:
    """Renamed here, edited or renamed elsewhere: the greatest rename's target is the note's home, and all go there."""
    homes = [(change, home) for change in case.deletions if (home := _home(case, change))]
    if not homes:
        return []
    kept, home = homes[-1]
    renames = [change for change, _ in homes]
    followers = [change for change in case.edits if _is_edit_of(case, change, renames)]
    if not followers and len(case.deletions) == 1:
        return []
    strays: dict[str, frozenset[Dot]] = {}
    for change, other in homes:
        if other != home:
            strays[other] = strays.get(other, frozenset()) | {change.dot}
    guests = [
        (change, nodes)
        for other, nodes in strays.items()
        for change in case.log.register(other).siblings
        if not change.deleted
    ] + [(change, frozenset([change.dot])) for change in followers]
    return [
        *_receive(case, kept, home, guests),
        *(_move(other, case.log.register(other).siblings, home) for other in strays),
        # Edits that are a note of their own (created here, or blind) are no followers: they stay, beside the tombstone.
        _move(case.key, [*case.deletions, *followers], home),
    ]


def _home(case: _Case, tombstone: Change) -> str | None:
    """Return where a renamed note is now; None if it was deleted, came back here, or was not renamed."""
    passed = {case.key}
    target = tombstone.moved_to
    for _ in range(MAX_HOPS):
        if target is None or target in passed:
            return None
        siblings = case.log.register(target).siblings
        if not all(change.deleted for change in siblings):
            return target
        passed.add(target)
        target = _last_target(siblings)
    return None


def _is_edit_of(case: _Case, change: Change, renames: Sequence[Change]) -> bool:
    """Say whether a change is an edit of the note that was renamed, and not another note at the same path."""
    renamed = [dot for rename in renames for dot in rename.base or ()]
    ancestor = case.ancestor(renamed, [change.dot], case.parents_of_the_note)
    if ancestor is NoBase.NONE:
        # A blind rename doesn't say what it has seen; a based edit says that there was something before it.
        return bool(change.base) and any(rename.base is None for rename in renames)
    return ancestor is NoBase.UNCLEAR or not ancestor.deleted


def _receive(case: _Case, kept: Change, home: str, guests: Sequence[tuple[Change, frozenset[Dot]]]) -> list[Settlement]:
    """Merge what comes along into the winner at the note's home; what can't be merged stands beside it."""
    siblings = case.log.register(home).siblings
    winner = [change for change in siblings if not change.deleted][-1]
    side = before = None if winner.value is None else Side.of(winner, frozenset([kept.dot]))
    merged: list[Dot] = []
    apart: list[Change] = []
    for change, nodes in guests:
        united = None
        if side and change.value is not None:
            united = side.unite(Side.of(change, nodes), case.ancestor(side.nodes, nodes), case.on_tie, case.merge)
        if united:
            side = united
            merged.append(change.dot)
        elif not any(change.same_content(other) for other in (*siblings, *apart)):
            apart.append(change)
    written = []
    if side and before and (side.text, side.conflict) != (before.text, before.conflict):
        written.append(_write(home, frozenset([winner.dot]), side, frozenset(merged)))
    return written + [_repeat(home, [change], base=frozenset(), merged_from=_dots([change])) for change in apart]


# -- what is written


def _write(key: str, base: frozenset[Dot], side: Side, merged_from: frozenset[Dot] = frozenset()) -> Settlement:
    return Settlement(
        key,
        base,
        side.text,
        modified_at=side.modified_at,
        live=side.live,
        conflict=side.conflict,
        merged_from=merged_from,
    )


def _repeat(
    key: str,
    changes: Sequence[Change],
    *,
    base: frozenset[Dot] | None = None,
    merged_from: frozenset[Dot] = frozenset(),
) -> Settlement:
    """Return the content that changes have in common."""
    last = changes[-1]
    return Settlement(
        key,
        _dots(changes) if base is None else base,
        last.value,
        last.blob,
        last.moved_to,
        latest(*(change.modified_at for change in changes)),
        live=all(change.live for change in changes),
        conflict=any(change.conflict for change in changes),
        merged_from=merged_from,
    )


def _move(key: str, settled: Sequence[Change], target: str) -> Settlement:
    modified_at = latest(*(change.modified_at for change in settled))
    return Settlement(key, _dots(settled), moved_to=target, modified_at=modified_at)


# -- small questions


def _dots(changes: Iterable[Change]) -> frozenset[Dot]:
    return frozenset(change.dot for change in changes)


def _all_same(changes: Sequence[Change]) -> bool:
    return all(changes[-1].same_content(other) for other in changes)


def _last_target(deletions: Iterable[Change]) -> str | None:
    """Return where the greatest rename among deletions leads; None if there is none."""
    targets = [change.moved_to for change in deletions if change.moved_to]
    return targets[-1] if targets else None


def _is_old(change: Change, log: Log) -> bool:
    content = change.content_hash
    if change.base != frozenset() or content is None:
        return False
    record = log.record(change.key, change.dot)
    # What came after it proves nothing: that may be the same words offered once more, and replaced on arrival.
    return record is not None and log.had_content(change.key, content, record.receipt)
