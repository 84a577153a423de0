"""Progress bars on a terminal; nothing where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

if TYPE_CHECKING:
    from tidenote.vault.folder import FolderStatus

_NAMES = {"scan": "looking at files", "sync": "files done"}


@contextmanager
def bar(what: str, *, of_bytes: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show how much of something is done, while the context lasts; give what is to be told of it.

    Args:
        what: is under way.
        of_bytes: whether it is bytes that are counted.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn() if of_bytes else MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class Meter:
    """What a sync is doing, while the context lasts. Shown on stderr, so that stdout stays for results.

    Args:
        shown: whether to draw; by default if stderr is a terminal.
    """

    def __init__(self, shown: bool | None = None) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._progress = Progress(
            *columns,
            console=Console(stderr=True),
            transient=True,
            disable=not (sys.stderr.isatty() if shown is None else shown),
        )
        self._tasks = {name: self._progress.add_task(text, total=None, visible=False) for name, text in _NAMES.items()}
        self._sending = self._progress.add_task("sending changes", total=None, visible=False)
        self._most_pending = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The terminal may have been closed meanwhile.
        with suppress(OSError):
            self._progress.stop()

    def step(self, what: str, done: int, total: int | None) -> None:
        """Show how far something is, as `FolderDaemon` tells it; called from any thread."""
        self._progress.update(self._tasks[what], completed=done, total=total, visible=True)

    def told(self, status: FolderStatus) -> None:
        """Show how much of the outbox the server has confirmed."""
        self._most_pending = max(self._most_pending, status.pending) if status.pending else 0
        self._progress.update(
            self._sending,
            completed=self._most_pending - status.pending,
            total=self._most_pending,
            visible=status.pending > 0,
        )
        if status.state in ("synced", "attention"):
            self.rest()

    def rest(self) -> None:
        """Show nothing until something happens again."""
        for task in self._tasks.values():
            self._progress.update(task, visible=False)
