"""How far a vault's devices are with its log, as they say themselves, and what of that the disk does not know yet.

Memory only. Who listens to devices is sync.py; who writes down what is news, hub.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Final

from tidenote.core.keys import owner_of
from tidenote.core.retention import surplus_incarnations

NEWS_MS: Final = 3_600_000
"""A device that has not moved is noted at most so often."""

Seen = tuple[int, int]
"""A cursor, and when it was said, ms since 1970."""


class Progress:
    """The cursors of a vault's devices; of each device only as many incarnations as core/retention.py keeps."""

    def __init__(self) -> None:
        self._devices: dict[str, dict[str, Seen]] = {}
        """Device -> its incarnations."""
        self._noted: dict[str, Seen] = {}
        """What of each incarnation is on disk."""

    def __iter__(self) -> Iterator[tuple[str, Seen]]:
        """Yield device ids, with incarnation, each with what it said last."""
        return itertools.chain.from_iterable(family.items() for family in self._devices.values())

    def saw(self, device_id: str, cursor: int, now_ms: int) -> None:
        """Note up to where a device says that it has applied the log."""
        family = self._devices.setdefault(owner_of(device_id), {})
        is_new = device_id not in family
        family[device_id] = (cursor, now_ms)
        if is_new:
            for surplus in surplus_incarnations({name: seen_ms for name, (_, seen_ms) in family.items()}):
                del family[surplus]
                self._noted.pop(surplus, None)

    def news(self) -> dict[str, Seen]:
        """Return what should be written down: who moved, and who has not said so for long."""
        return {device: seen for device, seen in self if self._is_news(device, *seen)}

    def noted(self, news: Mapping[str, Seen]) -> None:
        """Remember what was written down."""
        # Some may be surplus by now, or forgotten: what was written of them is not kept in mind.
        held = dict(self)
        self._noted |= {device: seen for device, seen in news.items() if device in held}

    def forget(self, owner: str) -> None:
        """Forget a device and its incarnations."""
        self._devices.pop(owner, None)
        self._noted = {name: seen for name, seen in self._noted.items() if owner_of(name) != owner}

    def _is_news(self, device_id: str, cursor: int, seen_ms: int) -> bool:
        noted = self._noted.get(device_id)
        return noted is None or cursor != noted[0] or seen_ms - noted[1] >= NEWS_MS
