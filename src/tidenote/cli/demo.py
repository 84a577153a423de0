"""`tidenote demo`: a server and two synced folders in one terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from tidenote.cli import console

DEVICES: Final = ("laptop", "phone")

NOTES: Final = {
    "Welcome.md": "# Welcome\n\nThis note is in two folders. Edit it in one, and look at the other.\n",
    "Ideas/boat.md": "# A boat\n\n- [ ] measure the garage\n- [ ] ask Ada about wood\n",
    "Daily/2026-01-01.md": "---\ntags: [daily]\n---\n\nNothing to report.\n",
}

DEFAULT_PORT: Final = 8787

SERVER_IS_UP: Final = ("A device joins with",)
DEVICE_IS_UP: Final = ("in sync", "needs you", "paused")
"""How the line begins that says that a part is up: a conflict or a pause may be left from the last time."""

START_TIMEOUT_S: Final = 60.0
"""How long everything may take to come up; the first start creates a database."""


def demo(
    folder: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where everything is put.")] = Path(".demo"),
    port: Annotated[int | None, typer.Option(help="The server's port [8787, or another if it is taken].")] = None,
) -> None:
    """Start a server and two folders that it keeps the same, and say what to try. Ctrl-C ends it."""
    folder = folder.absolute()
    for device in DEVICES:
        (folder / device).mkdir(parents=True, exist_ok=True)
    if not (folder / DEVICES[0] / ".tidenote").exists():
        for name, text in NOTES.items():
            note = folder / DEVICES[0] / name
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(text, encoding="utf-8")
    console.run(_run(folder, port or _free_port()), interrupted=0)


async def _run(folder: Path, port: int) -> None:
    """Run all parts until one of them ends, which none should."""
    endpoint = f"ws://127.0.0.1:{port}/ws/sync"

    def device(name: str) -> AbstractAsyncContextManager[asyncio.Task[None]]:
        sync = ("sync", folder / name, "--endpoint", endpoint, "--device-id", name, "--yes")
        return _part(name, *sync, up_when=DEVICE_IS_UP)

    server = ("serve", "--no-auth", "--data", folder / "server", "--port", str(port))
    async with (
        _part("server", *server, up_when=SERVER_IS_UP) as one,
        device(DEVICES[0]) as two,
        device(DEVICES[1]) as three,
    ):
        _print_hints(folder, endpoint, page=f"http://127.0.0.1:{port}/")
        await asyncio.wait((one, two, three), return_when=asyncio.FIRST_COMPLETED)
        console.fail("a part of the demo ended by itself; what it printed last is above")


@asynccontextmanager
async def _part(name: str, *args: str | Path, up_when: tuple[str, ...]) -> AsyncIterator[asyncio.Task[None]]:
    """Run a command of ours while the context lasts, once it has said that it is up; yield what ends with it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tidenote", *map(str, args)),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        # A Ctrl-C is for us alone: the server must outlive the daemons.
        start_new_session=True,
    )
    assert process.stdout
    is_up: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    printing = asyncio.create_task(_print_lines(name, process.stdout, up_when, is_up))
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            if not await is_up:
                console.fail(f"the {name} did not start; what it printed is above")
        yield printing
    except TimeoutError:
        console.fail(f"the {name} was not up within {START_TIMEOUT_S:.0f} s; what it printed is above")
    finally:
        if process.returncode is None:
            # Its own `terminate` would reap a process that has ended before the loop does, which would complain of it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
        await process.wait()
        await printing


async def _print_lines(
    name: str, lines: asyncio.StreamReader, up_when: tuple[str, ...], is_up: asyncio.Future[bool]
) -> None:
    async for line in lines:
        text = line.decode(errors="replace").rstrip()
        console.say(f"{name:>6} | {text}")
        if text.startswith(up_when) and not is_up.done():
            is_up.set_result(True)
    if not is_up.done():
        is_up.set_result(False)


def _print_hints(folder: Path, endpoint: str, page: str) -> None:
    first, second = (folder / device for device in DEVICES)
    # In a clone the command is in its environment only.
    command = "tidenote" if shutil.which("tidenote") else Path(sys.executable).with_name("tidenote")
    console.say(f"""
Two folders, kept the same:
    {first}
    {second}

The same notes in a browser, live and offline:
    {page}

Open the folders in any editor, or try in another terminal:
    echo "written on the laptop" >> '{first}/Welcome.md'
    cat '{second}/Welcome.md'
    {command} status '{first}'

Write the same line in both while they cannot hear each other, then choose, here or in the browser:
    {command} pause '{second}'
    echo "- [ ] ask Ada about oak" > '{first}/Ideas/boat.md'
    echo "- [ ] ask Ben about pine" > '{second}/Ideas/boat.md'
    {command} resume '{second}'
    {command} conflicts show Ideas/boat.md --dir '{first}'
    {command} conflicts resolve Ideas/boat.md --keep laptop --dir '{first}'

One more device:  {command} sync DIR --endpoint {endpoint} --device-id NAME
Ctrl-C ends the demo; `rm -r '{folder}'` forgets it.
""")


def _free_port() -> int:
    """Return the usual port, or one that the system chooses if something else uses it."""
    try:
        probe = socket.create_server(("127.0.0.1", DEFAULT_PORT))
    except OSError:
        probe = socket.create_server(("127.0.0.1", 0))
    with probe:
        port: int = probe.getsockname()[1]
        return port
