"""Real processes for end-to-end tests: start, watch, kill. Everything listens on loopback only."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PATIENCE_S = 120.0
"""How long a condition may take to come true: generous, a failing test is the only one that waits so long."""


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(condition: Callable[[], object], what: str, *, within_s: float = PATIENCE_S) -> None:
    """Ask again and again until a condition holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.02)


def environment(**more: str) -> dict[str, str]:
    """Return an environment without settings of the person who runs the tests."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TIDENOTE_")}
    return {**clean, "NO_COLOR": "1", "COLUMNS": "120", "PYTHONUNBUFFERED": "1", **more}


def tidenote(*args: str | Path, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "tidenote", *map(str, args)],
        capture_output=True,
        text=True,
        input=stdin if stdin is not None else "",
        timeout=100,
        env=environment(),
        check=False,
    )
    assert not check or done.returncode == 0, f"{args} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done


def on_terminal(answer: str, *args: str | Path) -> tuple[int, str]:
    """Run a command on a terminal of its own, answer its question, and return its status and what it printed."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tidenote", *map(str, args)]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(TERM="dumb"), start_new_session=True
    )
    os.close(theirs)
    printed = b""
    asked = False
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline and select.select([ours], [], [], 60)[0]:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not chunk:
                break
            printed += chunk
            if not asked and re.search(rb"\[(y/N|Y/n)\]: $", printed):
                asked = True
                os.write(ours, answer.encode())
        return process.wait(timeout=60), printed.decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)


class Process:
    """One running `tidenote` command, its output in a file.

    Args:
        log: the file.
        args: of the command.
        within: a command that runs ours, in a world of its own.
    """

    def __init__(self, log: Path, *args: str | Path, within: Sequence[str | Path] = ()) -> None:
        self.args = [str(arg) for arg in args]
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*map(str, within), sys.executable, "-m", "tidenote", *self.args],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(),
            )

    @property
    def output(self) -> str:
        """Everything printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End it as a power cut would: no handler runs."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=30)

    def stop(self) -> int:
        """Ask it to end, and return its exit status."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.args} did not stop:\n{self.output}") from None


class World:
    """One server and some folders under a temporary directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.data = root / "data"
        self.started: list[Process] = []

    @property
    def endpoint(self) -> str:
        """Where devices connect."""
        return f"ws://127.0.0.1:{self.port}/ws/sync"

    @property
    def url(self) -> str:
        """The server's HTTP address."""
        return f"http://127.0.0.1:{self.port}"

    def serve(self, *args: str, within: Sequence[str | Path] = ()) -> Process:
        """Start the server and wait until it takes requests."""
        return self.serve_guarded("--no-auth", *args, within=within)

    def serve_guarded(self, *args: str, within: Sequence[str | Path] = ()) -> Process:
        """Start the server, which asks for tokens, and wait until it takes requests."""
        data = ("--data", self.data, "--port", str(self.port))
        server = self.start("server", "serve", *data, *args, within=within)

        def healthy() -> bool:
            assert server.running, server.output
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"{self.url}/health", timeout=5).status_code == 200
            return False

        eventually(healthy, "the server is healthy")
        return server

    def folder(self, name: str) -> Path:
        """Return a device's folder, made if absent."""
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        return folder

    def link(self, name: str) -> list[str | Path]:
        """Return the arguments of a device's first `sync`."""
        return ["sync", self.folder(name), "--endpoint", self.endpoint, "--device-id", name, "--yes"]

    def sync(self, name: str, *args: str, within: Sequence[str | Path] = ()) -> Process:
        """Start a device's daemon."""
        return self.start(name, *self.link(name), *args, within=within)

    def once(self, name: str, *args: str) -> str:
        """Sync a device's folder once, and return what was printed."""
        return tidenote(*self.link(name), "--once", *args).stdout

    def start(self, name: str, *args: str | Path, within: Sequence[str | Path] = ()) -> Process:
        """Start a command."""
        process = Process(self.root / f"{name}.log", *args, within=within)
        self.started.append(process)
        return process

    def told(self, name: str) -> dict[str, Any]:
        """Return what a device's daemon last said of itself; {} before it has said anything."""
        with contextlib.suppress(FileNotFoundError):
            told: dict[str, Any] = json.loads((self.folder(name) / ".tidenote" / "status.json").read_bytes())
            return told
        return {}

    def log_of(self, name: str) -> str:
        """Return what all started commands of that name printed."""
        return next((process.output for process in self.started if process.log.stem == name), "")

    def settle(self, *names: str) -> dict[str, bytes]:
        """Wait until the folders of the devices are equal, and return what they hold."""
        first, *others = names

        def equal() -> bool:
            tree = tree_of(self.folder(first))
            return all(tree_of(self.folder(name)) == tree for name in others)

        def difference() -> str:
            tree = tree_of(self.folder(first))
            odd = [
                path
                for name in others
                for other in [tree_of(self.folder(name))]
                for path in sorted(tree.keys() | other.keys())
                if tree.get(path) != other.get(path)
            ]
            logs = "\n".join(f"--- {process.args[:2]}\n{process.output[-2000:]}" for process in self.started[-4:])
            return f"{len(odd)} paths differ, first {odd[:5]}\n{logs}"

        try:
            eventually(equal, "the folders are equal")
        except AssertionError as error:
            raise AssertionError(f"{error}: {difference()}") from None
        return tree_of(self.folder(first))


@contextlib.contextmanager
def world(root: Path) -> Iterator[World]:
    """Yield a world whose processes all end with the test."""
    made = World(root)
    try:
        yield made
    finally:
        for process in made.started:
            if process.running:
                process.kill()


def tree_of(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder but the daemon's own: relative path -> bytes; {} while one vanishes."""
    try:
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and ".tidenote" not in path.parts and not path.name.startswith(".tidenote-tmp-")
        }
    except FileNotFoundError:
        return {}
