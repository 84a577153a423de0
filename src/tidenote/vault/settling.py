"""When a file that is being written may be read.

An editor writes in steps, and what is between two of them is nobody's text. Asked by scan.py about every file that
differs from what is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from tidenote.vault.files import Stat

LARGE_BYTES: Final = 1 << 20
"""From which size on a file that keeps changing is waited for longer: each time it is sent, it is sent whole."""

MAX_WAIT_NS: Final = 60_000_000_000
"""For how long at most; a file that was left alone for so long has ended what it did before."""


class Settling:
    """Tells whether a file has been left alone for long enough.

    Called from the scan's thread.

    Args:
        settle_ms: how long, by the disk's clock or by what we saw ourselves.
        settle_empty_ms: how long for an empty file.
        monotonic_s: a clock that only goes forward.
        wall_ns: the time of day, ns since 1970, as the disk notes it.
    """

    def __init__(
        self, settle_ms: int, settle_empty_ms: int, monotonic_s: Callable[[], float], wall_ns: Callable[[], int]
    ) -> None:
        self._monotonic_s = monotonic_s
        self._wall_ns = wall_ns
        self._settle_ns = settle_ms * 1_000_000
        self._settle_empty_ns = settle_empty_ms * 1_000_000
        self._seen: dict[str, tuple[tuple[int, int, int], int]] = {}
        self._growing: dict[str, tuple[int, int]] = {}
        """Large file -> since when it keeps changing, and when it last did."""
        self._due: dict[str, float] = {}

    def settled(self, disk_name: str, stat: Stat) -> bool:
        """Judge a file that differs from what is known; ask again when it is `due`."""
        wait_ns = self._settle_ns if stat.size else self._settle_empty_ns
        age_ns = self._wall_ns() - stat.mtime_ns
        now_ns = int(self._monotonic_s() * 1e9)
        signature = (stat.size, stat.mtime_ns, stat.inode)
        known, since_ns = self._seen.get(disk_name, (None, now_ns))
        if known != signature:
            since_ns = now_ns
        if stat.size >= LARGE_BYTES:
            wait_ns = max(wait_ns, self._patience(disk_name, since_ns))
        # By its own time, or, if that lies in the future, by how long we have seen it unchanged.
        left_ns = min(wait_ns - (now_ns - since_ns), wait_ns - age_ns if age_ns >= 0 else wait_ns)
        if left_ns <= 0:
            self._seen.pop(disk_name, None)
            self._due.pop(disk_name, None)
            return True
        self._seen[disk_name] = (signature, since_ns)
        self._due[disk_name] = (now_ns + left_ns) / 1e9
        return False

    def _patience(self, disk_name: str, changed_ns: int) -> int:
        """Return how long to wait for a large file: a third of the time for which it has kept changing.

        So a recording is sent a few times while it grows, not once a moment: that would cost the square of its size.
        """
        first_ns, last_ns = self._growing.get(disk_name, (changed_ns, changed_ns))
        if changed_ns - last_ns > MAX_WAIT_NS:
            first_ns = changed_ns
        self._growing[disk_name] = (first_ns, changed_ns)
        return min(MAX_WAIT_NS, (changed_ns - first_ns) // 3)

    def keep(self, disk_names: Iterable[str]) -> None:
        """Forget all files but these: those that were there no longer, or not to be read, when all were looked at."""
        kept = set(disk_names)
        self._seen = {name: seen for name, seen in self._seen.items() if name in kept}
        self._due = {name: due for name, due in self._due.items() if name in kept}
        recent_ns = int(self._monotonic_s() * 1e9) - MAX_WAIT_NS
        self._growing = {name: times for name, times in self._growing.items() if times[1] >= recent_ns}

    def due(self, disk_name: str) -> float:
        """Return when to look at a file again, on the monotonic clock."""
        return self._due.get(disk_name, self._monotonic_s())
