"""Which versions keep their content, and which tombstones and devices are remembered: the one policy of the history.

Pure. A version that loses its content keeps its record, so that its dot stays known for ever; what is done to the
disk is a store's matter. Numbered rules, as docs/operations.md explains them to people.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tidenote.core.history import siblings_after
from tidenote.core.keys import owner_of
from tidenote.core.version import Dot, Record

DAY_MS: Final = 86_400_000

MAX_INCARNATIONS: Final = 32
"""Of how many incarnations of one device it is remembered how far they are: a device makes up as many as it likes."""


@dataclass(frozen=True, slots=True)
class Policy:
    """For how long what is kept, in days.

    Attributes:
        all_days: every version.
        daily_days: from then on, the last version of each day (UTC).
        tombstone_days: a deletion, so that devices hear of it.
        device_days: a device that was not seen for so long is not waited for any more.
    """

    all_days: int = 90
    daily_days: int = 365
    tombstone_days: int = 365
    device_days: int = 730


def surplus(
    records: Sequence[Record],
    siblings: frozenset[Dot],
    *,
    now_ms: int,
    policy: Policy,
    cursors: Iterable[int] = (),
) -> frozenset[Dot]:
    """Return the dots of one key's versions whose content is not kept any longer.

    Kept is 1. what everyone shows: the siblings; 2. what they were made of, so that a late edit can be merged;
    3. everything while the siblings are more than one, or the one is a merge that a person should look at; 4. what a
    device has in front of it that was not here since; 5. what is young; 6. the last version of a day that is not old.

    Args:
        records: all of the key's, in the order of their receipts.
        siblings: the dots of the present ones.
        now_ms: ms since 1970.
        policy: for how long.
        cursors: up to where each known device has applied the log.
    """
    present = [record for record in records if record.dot in siblings]
    if len(present) > 1 or any(record.conflict for record in present):
        return frozenset()
    needed = siblings.union(*(record.base or () for record in present), _in_front_of(records, cursors))
    old_ms = now_ms - policy.all_days * DAY_MS
    very_old_ms = old_ms - policy.daily_days * DAY_MS
    last_of_day = {record.received_at // DAY_MS: record.dot for record in records if record.kept}
    return frozenset(
        record.dot
        for record in records
        if record.kept and record.dot not in needed and record.received_at <= old_ms
        if record.received_at <= very_old_ms or last_of_day[record.received_at // DAY_MS] != record.dot
    )


def is_forgettable(
    records: Sequence[Record],
    siblings: frozenset[Dot],
    changed_at: int,
    *,
    now_ms: int,
    policy: Policy,
    cursors: Iterable[int] = (),
) -> bool:
    """Say whether a key is deleted for so long, and every known device knows, that its tombstone may go.

    Args:
        records: the key's, at least its siblings.
        siblings: the dots of the present ones.
        changed_at: the receipt of the last change that altered them.
        now_ms: ms since 1970.
        policy: for how long.
        cursors: up to where each known device has applied the log; one at 0 has nothing that it could bring back.
    """
    old_ms = now_ms - policy.tombstone_days * DAY_MS
    return all(cursor >= changed_at for cursor in cursors if cursor) and all(
        record.deleted and record.received_at <= old_ms for record in records if record.dot in siblings
    )


def surplus_incarnations(last_seen: Mapping[str, int]) -> frozenset[str]:
    """Return the incarnations that are not waited for any more: of each device, all but those that were here last.

    Args:
        last_seen: device id, with incarnation -> when it was last seen, ms since 1970.
    """
    of_owner: dict[str, list[str]] = defaultdict(list)
    for device_id in sorted(last_seen, key=lambda name: (-last_seen[name], name)):
        of_owner[owner_of(device_id)].append(device_id)
    return frozenset(name for names in of_owner.values() for name in names[MAX_INCARNATIONS:])


def _in_front_of(records: Sequence[Record], cursors: Iterable[int]) -> frozenset[Dot]:
    """Return what stood when devices were last here: what they edit meanwhile is based on it."""
    positions = {bisect_right(records, cursor, key=lambda record: record.receipt) - 1 for cursor in cursors}
    positions -= {-1, len(records) - 1}
    if not positions:
        return frozenset()
    states = siblings_after(records)
    return frozenset().union(*(state for number, state in enumerate(states) if number in positions))
