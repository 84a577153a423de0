"""What all commands share: how they print, how they fail, how they run a loop. Nothing here decides anything."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shlex
import signal
import sqlite3
import sys
import traceback
import unicodedata
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import msgspec
import typer

from tidenote.errors import Action, TidenoteError

AsJson = Annotated[bool, typer.Option("--json", help="Print everything as JSON, for scripts.")]

DEBUG_VARIABLE: Final = "TIDENOTE_DEBUG"
"""The environment variable that makes failures show their traceback."""

USAGE: Final = 2
"""The exit status of a command that was asked for something that it cannot do as asked."""

NEEDS_YOU: Final = 4
"""The exit status if something is left for a person to decide; the same as `tidenote status` has."""

INTERRUPTED: Final = 130
"""The exit status after Ctrl-C, as shells have it."""

NEXT_STEP: Final = {
    "unreachable": "check that the server runs and that the address is right; edits wait until it answers",
    "unauthorized": "join with a new link: `tidenote pair` on the server makes one, `tidenote sync DIR --link` uses it",
    "forbidden": "use a token that was made for this device id, or ask an owner",
    "bad_link": "make a new one with `tidenote pair` on the server; each is good once, for 10 minutes",
    "unknown_vault": "check its name; `tidenote vaults` on the server lists them, the first one is called main",
    "unsupported_version": "update the older of client and server",
    "not_found": "check the address",
    "storage_full": "free space on the disk",
    "storage_failed": "check the disk, then start again",
    "fenced": "use the server that took its place; if there is none, see `tidenote vaults` on this one",
    "folder_unfit": "`tidenote doctor`, run in the folder, looks for the cause",
    "stale": "`tidenote conflicts show NOTE` shows what is there now",
    "replaced": "give every device a --device-id of its own",
}
"""What a person may do about a code, where the message itself does not say."""


def example(*lines: str) -> str:
    """Return the last part of a command's help; the backspace keeps its lines as they are."""
    return "\n".join(("\b", "Example:", *(f"  {line}" for line in lines)))


def open_standard_streams() -> None:
    """Let what was closed before we started lead nowhere: what a service or `2>&-` closed is not ours to fail on.

    Else the next file that is opened, the journal, say, got its number, and whatever is printed.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, which is this one.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 for good


def say(text: str = "") -> None:
    """Print a line for people, at once."""
    typer.echo(harmless(text))


def harmless(text: str) -> str:
    """Return a text that a terminal shows and never obeys: names, notes and answers may hold escape sequences."""
    return "".join(character if _is_harmless(character) else "\ufffd" for character in text)


def say_json(value: object) -> None:
    """Print a value for scripts."""
    typer.echo(msgspec.json.encode(value).decode())


def counted(number: int, one: str, many: str) -> str:
    """Return "1 note", "2 notes"."""
    return f"{number} {one if number == 1 else many}"


def named(names: Sequence[str], most: int) -> str:
    """Return the first names of a list, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def warn(text: str) -> None:
    """Print a line on stderr."""
    typer.echo(f"tidenote: {harmless(text)}", err=True)


def fail(text: str, status: int = 1) -> NoReturn:
    """Print one line on stderr and end with a status other than 0."""
    warn(text)
    raise typer.Exit(status)


@contextmanager
def unless_found(step: str) -> Iterator[None]:
    """Say what to do if the server does not know what was named.

    Args:
        step: what to do.

    Raises:
        typer.Exit: it does not know it, after saying so.
    """
    try:
        yield
    except TidenoteError as error:
        if error.code != "not_found":
            raise
        fail(f"{error.message}; {step}")


def explain(error: BaseException) -> str:
    """Return one line that says what went wrong and what to do next."""
    if isinstance(error, TidenoteError):
        step = NEXT_STEP.get(error.code)
        if step is None and error.action is not Action.RETRY and error.code not in ("bad_config", "bad_request"):
            step = f"docs/operations.md, section 7, has more about {error.code}"
        return _one_line(f"{error.message}; {step}" if step else error.message)
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        step = _STEP_OF_ERRNO.get(error.errno or 0, f"set {DEBUG_VARIABLE}=1 to see where")
        return _one_line(f"{name}{error.strerror or error}; {step}")
    if isinstance(error, sqlite3.Error):
        return _one_line(f"the folder's journal cannot be used ({error}); {NEXT_STEP['folder_unfit']}")
    return _one_line(
        f"unexpected {type(error).__name__}: {error}; this is a bug, "
        f"please report it with what {DEBUG_VARIABLE}=1 shows"
    )


def show_traceback(error: BaseException) -> None:
    """Print where an error came from, if the person asked for that."""
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)


def log_to_stderr(level: str, *, but: str | None = None) -> None:
    """Show the log of Tidenote's own parts from a level on, and of everyone from warnings on.

    Args:
        level: such as `INFO`; everything with `TIDENOTE_DEBUG`.
        but: a logger that keeps quiet, because the command says the same in its own words.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormat("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level="WARNING", handlers=[handler])
    if os.environ.get(DEBUG_VARIABLE):
        level, but = "DEBUG", None
    logging.getLogger("tidenote").setLevel(level)
    if but:
        logging.getLogger(but).setLevel("CRITICAL")


class LogFormat(logging.Formatter):
    """Writes each message as one line that a terminal only shows, whatever stands in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the standard library's)
        """Return the line; a traceback comes behind it."""
        return super().formatMessage(record).replace("\n", " ")

    def format(self, record: logging.LogRecord) -> str:
        """Return all that is written."""
        return harmless(super().format(record))


def run(main: Coroutine[Any, Any, int | None], *, interrupted: int = INTERRUPTED) -> None:
    """Run a coroutine until it ends, or cancel it on Ctrl-C or SIGTERM; end with the status that it returns.

    Args:
        main: what to run.
        interrupted: the status after Ctrl-C; 0 for what only Ctrl-C ends.
    """
    status = asyncio.run(_until_signalled(main, interrupted))
    if status:
        raise typer.Exit(status)


async def _until_signalled(main: Coroutine[Any, Any, int | None], interrupted: int) -> int | None:
    task = asyncio.ensure_future(main)
    stopped: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        stopped.append(number)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not stopped:
            raise
        # A daemon that was asked to stop has done what it should.
        return interrupted if stopped[0] is signal.SIGINT else 0


def typed(path: Path) -> str:
    """Return a path as it is typed in a command."""
    return shlex.quote(str(path))


def existing_folder(folder: Path) -> Path:
    """Return a folder's absolute path.

    Raises:
        typer.Exit: it is not there, after saying so.
    """
    if not folder.is_dir():
        problem = "is no folder" if folder.exists() else "does not exist"
        fail(f"{folder} {problem}; check the path, or make it with mkdir", USAGE)
    return folder.absolute()


def is_interactive() -> bool:
    """Whether someone sits in front of the terminal who can answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str, *, yes: bool) -> None:
    """Ask whether what was shown may be done.

    Args:
        question: for people.
        yes: whether the answer was given before.

    Raises:
        typer.Exit: it may not, or nobody can be asked, after saying so.
    """
    if yes:
        return
    if not is_interactive():
        fail("nothing was changed; --yes does all of this without asking", USAGE)
    if not typer.confirm(question):
        fail("nothing was changed")


_STEP_OF_ERRNO: Final = {
    errno.EACCES: "check who may read and write it",
    errno.EPERM: "check who may read and write it",
    errno.EROFS: "the disk is mounted read-only",
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "your share of the disk is used up; free some space",
    errno.EADDRINUSE: "another program listens there; choose another --port",
    errno.EADDRNOTAVAIL: "this machine has no such address; check --host",
    errno.EMFILE: "too many files are open; raise the limit with ulimit -n",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
}


def _is_harmless(character: str) -> bool:
    return character in "\n\t\u200c\u200d" or unicodedata.category(character) not in ("Cc", "Cf", "Cs")


def _one_line(text: str) -> str:
    return " ".join(text.split())
