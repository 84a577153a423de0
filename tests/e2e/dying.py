"""Runs `tidenote` until a named point, and there ends it as `kill -9` does. For `within` of e2e/processes.py.

    python dying.py before|after MODULE:CLASS.METHOD NUMBER python -m tidenote ARGUMENTS
    python dying.py event - NUMBER python -m tidenote ARGUMENTS

The point is the call of that number of a method, before it begins or after it has returned; or, with `event`, the
system call of that number that touches a file or a database.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

EVENTS = ("open", "sqlite3.connect", "ctypes.call_function")


def main() -> None:
    """Arm the point, then run the command."""
    when, point, number = sys.argv[1:4]
    command = sys.argv[4:]
    sys.argv = ["tidenote", *command[command.index("tidenote") + 1 :]]
    dies = counted(int(number))
    # What is only read to run at all does not count.
    run = importlib.import_module("tidenote.cli.main").main
    for module in ("server.serve", "vault.daemon"):
        importlib.import_module(f"tidenote.{module}")
    if when == "event":
        sys.addaudithook(lambda event, _: dies() if event.startswith("os.") or event in EVENTS else None)
    else:
        arm(point, dies, before=when == "before")
    run()


def counted(number: int) -> Callable[[], None]:
    """Return what ends the process when it is called for that time."""
    calls = itertools.count(1)

    def dies() -> None:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return dies


def arm(point: str, dies: Callable[[], None], *, before: bool) -> None:
    """Let a method's calls count."""
    module, _, path = point.partition(":")
    owner_name, _, name = path.partition(".")
    owner = getattr(importlib.import_module(module), owner_name)
    method = getattr(owner, name)

    @functools.wraps(method)
    def call(*arguments: Any, **named: Any) -> Any:
        if before:
            dies()
        result = method(*arguments, **named)
        if not before:
            dies()
        return result

    @functools.wraps(method)
    async def call_async(*arguments: Any, **named: Any) -> Any:
        if before:
            dies()
        result = await method(*arguments, **named)
        if not before:
            dies()
        return result

    setattr(owner, name, call_async if inspect.iscoroutinefunction(method) else call)


if __name__ == "__main__":
    main()
