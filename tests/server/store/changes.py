"""Short ways to say changes and pushes, for the tests of stores."""

from __future__ import annotations

from collections.abc import Iterable

from tidenote.core.intake import Batch, Refused, Taken
from tidenote.core.version import BlobRef, Change, Dot
from tidenote.server.store.contract import Store
from tidenote.wire.messages import MAX_MESSAGE_BYTES, MAX_MESSAGE_CHANGES
from tidenote.wire.session import Page

WALL_MS = 1_760_000_000_000


def change(
    key: str,
    timestamp: int,
    value: str | None = "text",
    *,
    by: str = "dev1",
    base: Iterable[Dot] | None = None,
    moved_to: str | None = None,
    blob: BlobRef | None = None,
) -> Change:
    """Return a change of `note:<key>.md`, blind by default."""
    return Change(
        note(key),
        Dot(timestamp, by),
        None if blob else value,
        blob,
        None if base is None else frozenset(base),
        moved_to and note(moved_to),
    )


def note(name: str) -> str:
    """Return the key of a note."""
    return f"note:{name}.md"


def take(store: Store, *changes: Change, vault: str = "main") -> Batch:
    """Take one push in."""
    return store.take_in(vault, [changes], wall_ms=WALL_MS, check_blob=lambda _: True)


def receipts(batch: Batch) -> list[int]:
    """Return the receipts of a batch whose changes were all taken."""
    taken = [result for result in batch.results if isinstance(result, Taken)]
    assert len(taken) == len(batch.results), batch.results
    return [result.receipt for result in taken]


def codes(batch: Batch) -> list[str | None]:
    """Return the code of each refused change, None for those that were taken."""
    return [result.code if isinstance(result, Refused) else None for result in batch.results]


def winner(store: Store, key: str, vault: str = "main") -> str | None:
    """Return the text that everyone shows for `note:<key>.md`."""
    (entry,) = store.entries(vault, [note(key)])
    assert entry.winner is not None
    return entry.winner.value


def names(page: Page) -> list[str]:
    """Return the keys of a page."""
    return [entry.key for entry in page.entries]


def pages(
    store: Store,
    cursor: int = 0,
    *,
    vault: str = "main",
    max_changes: int = MAX_MESSAGE_CHANGES,
    max_bytes: int = MAX_MESSAGE_BYTES,
) -> list[Page]:
    """Return all pages after a cursor, as a client reads them."""
    found = []
    while True:
        page = store.changes_since(vault, cursor, max_changes=max_changes, max_bytes=max_bytes)
        found.append(page)
        assert page.up_to > cursor or not page.entries
        if not page.behind:
            return found
        cursor = page.up_to
