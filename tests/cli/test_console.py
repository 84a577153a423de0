"""How commands fail: one line, a next step, a status."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import sqlite3
import sys

import pytest
import typer

from tidenote.cli import console
from tidenote.errors import CODES, AccessError, ConfigError, FolderError, ProtocolError, TidenoteError, UnreachableError


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_is_one_line_that_starts_with_the_message(code: str) -> None:
    line = console.explain(TidenoteError("something\nwent wrong", code))
    assert line.startswith("something went wrong")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (UnreachableError("no answer"), "check that the server runs"),
        (AccessError("a token is needed"), "--link"),
        (FolderError("it is gone"), "tidenote doctor"),
        (ConfigError("port is 0: choose another"), "port is 0: choose another"),
        (ProtocolError("not valid"), "section 7, has more about bad_message"),
        (OSError(errno.ENOSPC, "No space left", "/x/y"), "/x/y: No space left; the disk is full"),
        (OSError(errno.EADDRINUSE, "in use"), "--port"),
        (OSError(errno.EIO, "I/O error"), "TIDENOTE_DEBUG=1"),
        (sqlite3.DatabaseError("malformed"), "journal cannot be used (malformed)"),
        (KeyError("x"), "unexpected KeyError"),
    ],
)
def test_a_line_says_what_to_do_next(error: Exception, part: str) -> None:
    assert part in console.explain(error)


def test_a_traceback_is_shown_only_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(console.DEBUG_VARIABLE, raising=False)
    console.show_traceback(ValueError("boom"))
    assert capsys.readouterr().err == ""
    monkeypatch.setenv(console.DEBUG_VARIABLE, "1")
    console.show_traceback(ValueError("boom"))
    assert "ValueError: boom" in capsys.readouterr().err


async def _return(status: int | None) -> int | None:
    return status


async def _signal_self(number: signal.Signals) -> int:
    os.kill(os.getpid(), number)
    await asyncio.Event().wait()
    return 1


def test_run_ends_with_the_status_of_what_it_ran() -> None:
    console.run(_return(None))
    console.run(_return(0))
    with pytest.raises(typer.Exit) as ended:
        console.run(_return(4))
    assert ended.value.exit_code == 4


def test_sigterm_is_a_clean_end() -> None:
    console.run(_signal_self(signal.SIGTERM))


def test_an_interrupt_ends_as_shells_have_it() -> None:
    with pytest.raises(typer.Exit) as ended:
        console.run(_signal_self(signal.SIGINT))
    assert ended.value.exit_code == console.INTERRUPTED


def test_nothing_that_is_printed_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\x1b]0;title\x07\x9b2J\r\u202egpj.exe\udcff\tend"
    shown = "a\ufffd]0;title\ufffd\ufffd2J\ufffd\ufffdgpj.exe\ufffd\tend"
    console.say(hostile)
    console.warn(hostile)
    with pytest.raises(typer.Exit):
        console.fail(hostile)
    printed = capsys.readouterr()
    assert printed.out == f"{shown}\n"
    assert printed.err == f"tidenote: {shown}\n" * 2


def test_a_message_is_one_line_of_the_log() -> None:
    try:
        raise ValueError("evil\x1b[31m")
    except ValueError:
        record = logging.makeLogRecord(
            {"msg": "%s failed", "args": ("a\r\nWARNING forged\x1b[2J",), "exc_info": sys.exc_info()}
        )
    first, *rest = console.LogFormat("%(levelname)s %(message)s").format(record).split("\n")
    assert first == f"{record.levelname} a\ufffd WARNING forged\ufffd[2J failed"
    assert rest[0].startswith("Traceback")
    assert rest[-1] == "ValueError: evil\ufffd[31m"
