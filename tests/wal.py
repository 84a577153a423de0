"""SQLite's write-ahead log, for tests that tear it as a power cut does.

https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

HEADER, FRAME_HEADER = 32, 24
"""Bytes."""


def cuts(wal: Path) -> Iterator[int]:
    """Yield every boundary of a frame, a byte less and a byte more."""
    size = wal.stat().st_size
    (page,) = struct.unpack(">I", wal.read_bytes()[8:12])
    boundaries = [0, *range(HEADER, size + 1, FRAME_HEADER + page)]
    assert boundaries[-1] == size
    for boundary in boundaries:
        yield from (cut for cut in (boundary - 1, boundary, boundary + 1) if 0 <= cut <= size)


def tear(whole: bytes, cut: int, *, zeroed: bool) -> bytes:
    """Return what is left of a log: nothing behind the cut, or zeros there."""
    return whole[:cut] + (bytes(len(whole) - cut) if zeroed else b"")
