"""Short ways to drive a journal: what a server's message says, and a write as the folder daemon makes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tidenote.client.journal import BaseEntry, Journal, Write
from tidenote.core.version import Change, Dot
from tidenote.wire.messages import Rejected
from tidenote.wire.session import Received

NOTE = "note:a.md"
WALL_MS = 1_760_000_000_000


def open_journal(path: Path, device_id: str = "me", wall_ms: Callable[[], int] = lambda: WALL_MS) -> Journal:
    journal = Journal(path, wall_ms=wall_ms)
    journal.bind(device_id=device_id, vault="main", endpoint="ws://127.0.0.1:1/ws/sync", token="secret")
    return journal


def received(
    *siblings: Change,
    cursor: int = 0,
    accepted: Iterable[Change] = (),
    rejected: Iterable[tuple[Change, Rejected]] = (),
    epoch: str | None = "1-aa",
    **fields: Any,
) -> Received:
    """Return a message of the server's with all siblings of the keys that it lists."""
    by_key: dict[str, list[Change]] = {}
    for change in siblings:
        by_key.setdefault(change.key, []).append(change)
    accepted, rejected = tuple(accepted), tuple(rejected)
    return Received(
        epoch,
        cursor,
        {key: tuple(sorted(found, key=lambda change: change.dot)) for key, found in by_key.items()},
        accepted=accepted,
        rejected=rejected,
        answered=bool(accepted or rejected),
        **fields,
    )


def refusal(change: Change, code: str, clock: int | None = None) -> tuple[Change, Rejected]:
    return change, Rejected(change.key, *change.dot, code, f"because of {code}", clock)


def refused(change: Change, code: str, clock: int | None = None, cursor: int = 0) -> Received:
    return received(rejected=[refusal(change, code, clock)], cursor=cursor)


def edit(journal: Journal, value: str | None, key: str = NOTE, **fields: Any) -> Change:
    """Write a key on top of what it shows, as an editor does."""
    winner = journal.winner(key)
    base = frozenset([winner.dot]) if winner else frozenset()
    return journal.write([Write(key, value, base=base, **fields)])[0]


def hand_out(journal: Journal) -> list[Change]:
    """Do as the link does when it sends."""
    rows = journal.ready()
    journal.handed(rows)
    return [row.change for row in rows]


def entry(path: str = "a.md", dot: Dot | None = None, content_hash: str | None = "h", **fields: Any) -> BaseEntry:
    return BaseEntry(path, dot, content_hash, **{"size": 1, "mtime_ns": 2, "inode": 3, "disk_name": path, **fields})
