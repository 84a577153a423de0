"""Processes and figures that the benchmarks share."""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], object], *, within_s: float = 600, every_s: float = 0.002) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("a benchmark waited in vain")
        time.sleep(every_s)


@contextlib.contextmanager
def process(log: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python module in a process of its own, its output in a file, and end it."""
    with log.open("ab") as output:
        running = subprocess.Popen(
            [sys.executable, "-m", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "NO_COLOR": "1"},
        )
    try:
        yield running
    finally:
        running.terminate()
        running.wait(timeout=60)


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run `tidenote serve` on an empty data folder; yield its port and process."""
    port = free_port()
    data = folder / "data"
    with process(folder / "server.log", "tidenote", "serve", "--no-auth", "--data", data, "--port", str(port)) as run:
        until(lambda: healthy(port))
        yield port, run


def healthy(port: int) -> bool:
    """Say whether a server takes requests."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


def link(folder: Path, port: int, device: str) -> list[str | Path]:
    """Return the arguments of a device's `sync`."""
    return [
        "tidenote", "sync", folder, "--endpoint", f"ws://127.0.0.1:{port}/ws/sync", "--device-id", device, "--yes",
    ]  # fmt: skip


def once(log: Path, *arguments: str | Path) -> float:
    """Run a module to its end and return how long it took, in s."""
    started = time.perf_counter()
    with process(log, *arguments) as running:
        if running.wait(timeout=1800):
            raise SystemExit(f"a benchmark's process failed:\n{log.read_text(encoding='utf-8')[-2000:]}")
    return time.perf_counter() - started


def files_in(folder: Path) -> int:
    """Count the files of a folder but the daemon's own."""
    return sum(path.is_file() and ".tidenote" not in path.parts for path in folder.rglob("*"))


def memory_mib(pid: int) -> float:
    """Return the memory that a process holds resident, in MiB (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak_mib(pid: int) -> float:
    """Return the most memory that a process ever held resident, in MiB (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this system does not tell a process's peak memory")


def milliseconds(times_s: Sequence[float]) -> str:
    """Return the middle and the tail of some times."""
    p99 = statistics.quantiles(times_s, n=100)[98]
    return f"p50 {statistics.median(times_s) * 1e3:7.2f} ms   p99 {p99 * 1e3:7.2f} ms"
