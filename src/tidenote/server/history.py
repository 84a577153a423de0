"""What people ask of the past: list it, bring it back, take it back.

Everything that comes back is a new version by the server, on top of what stands; nothing is rewritten. Plans are made
by plain functions that read a store (some are slow: run them on a reader's thread), and carried out through the hub.
Requests and answers are history_api.py's matter, what is kept of the past core/retention.py's.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from tidenote.core.history import Undone, as_of, undo, winner
from tidenote.core.keys import owner_of, path_of_key
from tidenote.core.version import UNDATED, Change, Dot, Record
from tidenote.errors import AccessError
from tidenote.server.hub import Hub
from tidenote.server.store.contract import Store

MAX_HOPS: Final = 16
"""How many renames in a row a history follows."""

MAX_NAMES: Final = 1000
"""How many names of one note a history looks at."""

ALWAYS: Final = 2**62
"""Greater than every receipt."""

PUSHES_AT_ONCE: Final = 100
"""How many notes are brought back before others get their turn; so many texts are in memory at once."""

Reason = Literal["gone", "built_on", "open_conflict", "stale"]
"""Why a key is left as it is: the history has let go of the content; somebody else's later change was made of it;
others disagree about it; or it was written after somebody looked."""


@dataclass(frozen=True, slots=True)
class Step:
    """What comes back at one key.

    Attributes:
        key: where.
        base: the dots of all that stands there now.
        was: what everyone is shown there now; None if nobody ever wrote it.
        becomes: the version whose content comes back, maybe another key's; None for a deletion.
        moved_to: for a deletion, the key at which the note is again.
    """

    key: str
    base: frozenset[Dot]
    was: Record | None
    becomes: Record | None
    moved_to: str | None = None

    @property
    def is_idle(self) -> bool:
        """Whether this is how it stands already."""
        is_gone = self.was is None or self.was.deleted
        if self.becomes is None:
            return is_gone
        return not is_gone and self.was is not None and self.was.content_hash == self.becomes.content_hash


@dataclass(slots=True)
class Plan:
    """What a request would do.

    Attributes:
        steps: what comes back, by key.
        refused: why other keys are left as they are.
    """

    steps: dict[str, Step] = field(default_factory=dict)
    refused: dict[str, Reason] = field(default_factory=dict)

    def add(self, step: Step) -> None:
        """Add a step, unless it does nothing."""
        if not step.is_idle:
            self.steps[step.key] = step

    def refuse(self, key: str, reason: Reason) -> None:
        """Leave a key as it is."""
        self.steps.pop(key, None)
        self.refused[key] = reason


# -- listing


def listing(store: Store, vault: str, key: str, *, before: int | None, limit: int) -> list[Record]:
    """Return the versions of a note, the latest first, those under its earlier names among them.

    Args:
        store: the logs.
        vault: its name.
        key: the note's present name.
        before: leave out what has this receipt or a greater one.
        limit: the most versions to return.
    """
    # A name that the note had twice comes twice.
    found: dict[int, Record] = {}
    for name, until in names(store, vault, key):
        last = until if before is None else min(until, before)
        found.update((record.receipt, record) for record in store.records(vault, name, before=last, limit=limit))
    return [found[receipt] for receipt in sorted(found, reverse=True)[:limit]]


def names(store: Store, vault: str, key: str) -> Iterator[tuple[str, int]]:
    """Yield the names that a note had, the present one first, each with the receipt before which it was the note's."""
    waiting = deque([(key, ALWAYS, 0)])
    passed: dict[str, int] = {}
    while waiting and len(passed) < MAX_NAMES:
        name, until, hops = waiting.popleft()
        # What it was under a name at some time holds all that it was there before.
        if until <= passed.get(name, 0):
            continue
        passed[name] = until
        yield name, until
        if hops < MAX_HOPS:
            # The tombstone itself belongs to the history: it says "renamed".
            renames = store.renames_to(vault, name, until)
            waiting += [(rename.key, rename.receipt + 1, hops + 1) for rename in reversed(renames)]


@dataclass(frozen=True, slots=True)
class Discarded:
    """A note in the trash: its deletion, and the last version that still has content."""

    deletion: Record
    last: Record | None


def trash(store: Store, vault: str, after: str | None, limit: int) -> list[Discarded]:
    """Return deleted notes, ordered by key."""
    found: list[Discarded] = []
    for key in store.deleted(vault, after, limit):
        deletion = winner(_standing(store, vault, key))
        if deletion and deletion.deleted:
            found.append(Discarded(deletion, _last_content(store, vault, deletion)))
    return found


# -- planning


def restore_version(store: Store, vault: str, key: str, source: str, dot: Dot) -> Plan:
    """Plan to bring one version back.

    Args:
        store: the logs.
        vault: its name.
        key: where it is to be.
        source: the key that the version has; another one if the note was renamed since.
        dot: of the version; a deletion deletes.

    Raises:
        AccessError: `not_found`, if there is no such version.
    """
    found = record_of(store, vault, source, dot)
    plan = Plan()
    if found.gone:
        plan.refuse(key, "gone")
    else:
        plan.add(_step(store, vault, key, None if found.deleted else found))
    return plan


def restore_note(store: Store, vault: str, key: str, receipt: int) -> Plan:
    """Plan to bring a note back as it was after a receipt, whatever it was called then.

    Raises:
        AccessError: `not_found`, if there was no such note then.
    """
    for name, until in names(store, vault, key):
        records = store.records(vault, name, before=until)
        if until != ALWAYS and records[-1].receipt <= receipt:
            continue  # It had its next name by then.
        then = winner(as_of(records, receipt))
        if then and not then.deleted:
            return _bring_back(store, vault, key, records, then)
    raise AccessError(f"there was no {path_of_key(key)} then", "not_found")


def restore_discarded(store: Store, vault: str, key: str) -> Plan:
    """Plan to bring a deleted note back.

    Raises:
        AccessError: `not_found`, if it is not deleted.
    """
    deletion = winner(_standing(store, vault, key))
    if deletion is None or not deletion.deleted:
        raise AccessError(f"{path_of_key(key)} is not deleted", "not_found")
    if deletion.moved_to:
        raise AccessError(f"{path_of_key(key)} is not deleted: it is {path_of_key(deletion.moved_to)} now", "not_found")
    last = _last_content(store, vault, deletion)
    plan = Plan()
    if last is None:
        plan.refuse(key, "gone")
    else:
        plan.add(_step(store, vault, key, last))
    return plan


def restore_all(store: Store, vault: str, receipt: int) -> Plan:
    """Plan to bring the whole vault back as it was after a receipt."""
    plan = Plan()
    targets: dict[str, str] = {}
    for key in store.altered_since(vault, receipt):
        records = store.records(vault, key)
        then = winner(as_of(records, receipt))
        if then is None or then.deleted:
            if then and then.moved_to:
                targets[key] = then.moved_to
            plan.add(_step(store, vault, key, None))
            continue
        one = _bring_back(store, vault, key, records, then)
        plan.steps |= one.steps
        plan.refused |= one.refused
    return _with_renames(plan, targets)


def undo_device(store: Store, vault: str, device: str, receipt: int) -> Plan:
    """Plan to take back what a device, or an incarnation of it, wrote after a receipt."""

    def is_theirs(record: Record) -> bool:
        return record.receipt > receipt and owner_of(record.dot.device_id) == device

    plan = Plan()
    pairs: list[tuple[str, str]] = []
    for key in store.written_by(vault, device, receipt):
        records = store.records(vault, key)
        standing = _standing(store, vault, key)
        pairs += [(key, record.moved_to) for record in records if is_theirs(record) and record.moved_to]
        result = undo(records, (record.dot for record in standing), is_theirs)
        if result is Undone.BUILT_ON:
            plan.refuse(key, "built_on")
        elif result is Undone.OPEN_CONFLICT:
            plan.refuse(key, "open_conflict")
        elif not isinstance(result, Undone):
            if result.before and result.before.gone:
                plan.refuse(key, "gone")
            else:
                before = result.before
                plan.add(_step(store, vault, key, None if before is None or before.deleted else before))
    _keep_together(plan, pairs)
    return _with_renames(plan)


def unseen_stay(store: Store, vault: str, plan: Plan, seen: int) -> Plan:
    """Leave the keys of a plan as they are that were written after a receipt."""
    pairs = [(step.key, step.moved_to) for step in plan.steps.values() if step.moved_to]
    for key in store.altered_since(vault, seen):
        if key in plan.steps:
            plan.refuse(key, "stale")
    _keep_together(plan, pairs)
    return plan


def _keep_together(plan: Plan, pairs: Sequence[tuple[str, str]]) -> None:
    """Carry out both halves of each rename or none: else the note would be there twice, or not at all."""
    others: dict[str, list[str]] = {}
    for key, target in pairs:
        others.setdefault(key, []).append(target)
        others.setdefault(target, []).append(key)
    waiting = deque(plan.refused)
    while waiting:
        one = waiting.popleft()
        for other in others.get(one, ()):
            if other in plan.steps:
                plan.refuse(other, plan.refused[one])
                waiting.append(other)


def _bring_back(store: Store, vault: str, key: str, records: Sequence[Record], then: Record) -> Plan:
    """Plan to bring back what was shown at a time; if that is gone, the last version before it that is kept."""
    kept = [record for record in records if record.kept and record.receipt <= then.receipt]
    plan = Plan()
    step = _step(store, vault, key, then)
    if then.kept or step.is_idle:
        plan.add(step)
    elif kept:
        plan.add(replace(step, becomes=kept[-1]))
    else:
        plan.refuse(key, "gone")
    return plan


def _step(store: Store, vault: str, key: str, becomes: Record | None) -> Step:
    standing = _standing(store, vault, key)
    return Step(key, frozenset(record.dot for record in standing), winner(standing), becomes)


def record_of(store: Store, vault: str, key: str, dot: Dot) -> Record:
    """Return what is known of one version.

    Raises:
        AccessError: `not_found`, if there is no such version.
    """
    found = store.records_of(vault, key, (dot,))
    if not found:
        raise AccessError(f"{path_of_key(key)} has no version {dot.timestamp} by {dot.device_id}", "not_found")
    return found[0]


def _standing(store: Store, vault: str, key: str) -> list[Record]:
    """Return a key's siblings."""
    dots = {dot for entry in store.entries(vault, [key]) for dot in entry.register.dots}
    return store.records_of(vault, key, dots)


def _last_content(store: Store, vault: str, deletion: Record) -> Record | None:
    """Return what a deletion deleted, or what is left of the note's past."""
    deleted = [record for record in store.records_of(vault, deletion.key, deletion.base or ()) if record.kept]
    if deleted:
        return winner(deleted)
    kept = [record for record in store.records(vault, deletion.key) if record.kept]
    return kept[-1] if kept else None


def _with_renames(plan: Plan, targets: dict[str, str] | None = None) -> Plan:
    """Say of the notes that go to which ones they become, so that devices rename their files."""
    known = {
        step.was.moved_to: step.key
        for step in plan.steps.values()
        if step.becomes and step.was and step.was.moved_to in plan.steps
    } | (targets or {})
    for key, step in plan.steps.items():
        target = plan.steps.get(known.get(key, ""))
        if step.becomes is None and target and target.becomes:
            plan.steps[key] = replace(step, moved_to=target.key)
    return plan


# -- carrying out


@dataclass(frozen=True, slots=True)
class Difference:
    """How many lines of a text come and go, roughly: those that move do neither."""

    added: int
    removed: int


def differences(store: Store, vault: str, steps: Iterable[Step]) -> dict[str, Difference]:
    """Return how texts would alter, by key."""
    found: dict[str, Difference] = {}
    for step in steps:
        before, after = (_lines(store, vault, record) for record in (step.was, step.becomes))
        found[step.key] = Difference((after - before).total(), (before - after).total())
    return found


def _lines(store: Store, vault: str, record: Record | None) -> Counter[str]:
    version = store.version(vault, record.key, record.dot) if record else None
    return Counter(version.change.value.splitlines() if version and version.change.value else ())


async def carry_out(hub: Hub, plan: Plan) -> dict[str, str]:
    """Write what a plan says; return the code and by key what could not be written.

    Whoever wrote to a note since it was planned keeps it as it is: it is `stale` then.
    """
    failed: dict[str, str] = {}
    pushes = list(_pushes(plan))
    for start in range(0, len(pushes), PUSHES_AT_ONCE):
        written, damaged = await hub.read(_changes, pushes[start : start + PUSHES_AT_ONCE])
        failed |= dict.fromkeys(damaged, "damaged")
        outcomes = await asyncio.gather(*(hub.enqueue(changes) for changes in written))
        for outcome in outcomes:
            failed |= {rejected.key: rejected.code for rejected in outcome.rejected}
    return failed


def _pushes(plan: Plan) -> Iterator[list[Step]]:
    """Yield the steps, each alone but for the two of a rename."""
    leaving: dict[str, list[Step]] = {}
    for step in plan.steps.values():
        if step.moved_to:
            leaving.setdefault(step.moved_to, []).append(step)
    for step in plan.steps.values():
        if not step.moved_to:
            yield [step, *leaving.get(step.key, ())]


def _changes(store: Store, vault: str, pushes: Iterable[Sequence[Step]]) -> tuple[list[list[Change]], list[str]]:
    """Return the changes of some pushes, with their texts; and the keys of those with a text that cannot be read."""
    written: list[list[Change]] = []
    damaged: list[str] = []
    for steps in pushes:
        changes = [_change(store, vault, step) for step in steps]
        whole = [change for change in changes if change is not None]
        if len(whole) == len(steps):
            written.append(whole)
        else:
            damaged += (step.key for step in steps)
    return written, damaged


def _change(store: Store, vault: str, step: Step) -> Change | None:
    empty = Change(step.key, UNDATED, base=step.base, moved_to=step.moved_to)
    if step.becomes is None:
        return empty
    version = store.version(vault, step.becomes.key, step.becomes.dot)
    if version is None:
        return None
    content = version.change
    return replace(empty, value=content.value, blob=content.blob, modified_at=content.modified_at)
