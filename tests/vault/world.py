"""A real server and real folders in one process: what the daemon's tests share."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, Any

from server.running import running_server
from tidenote.client.client import SyncClient
from tidenote.config import SyncConfig
from tidenote.server.serve import Running
from tidenote.vault.daemon import FolderDaemon, FolderSettings
from tidenote.vault.files import RealFiles
from tidenote.vault.folder import StateFolder, blob_finder
from tidenote.vault.ignore import TEMP_PREFIX
from tidenote.vault.passes import Report
from tidenote.vault.plan import Plan

PATIENCE_S = 30.0
"""How long a test waits for what must come; no test passes by waiting."""


def tree(root: Path) -> dict[str, bytes]:
    """Return every file of a folder but the daemon's own; {} while one vanishes."""
    try:
        return {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file()
            and ".tidenote" not in path.relative_to(root).parts
            and not path.name.startswith(TEMP_PREFIX)
        }
    except FileNotFoundError:
        return {}


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Let another process have a file open for appending, and yield what it copies there; it has ended afterwards."""
    with path.open("ab") as file:
        program = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file)
    assert program.stdin
    with program, program.stdin:
        yield program.stdin


async def eventually(condition: Callable[[], object], what: str) -> None:
    """Ask again and again until a condition holds."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if _holds(condition):
                    return
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {PATIENCE_S:g} s: {what}") from None


def _holds(condition: Callable[[], object]) -> bool:
    try:
        return bool(condition())
    except FileNotFoundError:
        return False


class Site:
    """One server and the folders that sync with it."""

    def __init__(self, root: Path, server: Running) -> None:
        self.root = root
        self.server = server

    def folder(self, name: str) -> Path:
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        return folder

    def put(self, name: str, path: str, data: bytes | str) -> Path:
        target = self.folder(name) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data if isinstance(data, bytes) else data.encode())
        return target

    def config(self, name: str, **more: Any) -> SyncConfig:
        return SyncConfig(**{"device_id": name, "sync_endpoint": self.server.endpoint, **more})

    @asynccontextmanager
    async def daemon(
        self,
        name: str,
        *,
        open_files: Callable[[Path], RealFiles] = RealFiles,
        config: SyncConfig | None = None,
        **settings: Any,
    ) -> AsyncIterator[FolderDaemon]:
        """Open a folder's daemon, without running it."""
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(StateFolder(self.folder(name)))
            journal = folder.open_journal()
            stack.callback(journal.close)
            find_blob = blob_finder(folder.root, journal)
            client = await stack.enter_async_context(
                SyncClient(config or self.config(name), journal, find_blob=find_blob)
            )
            daemon = FolderDaemon(folder, client, FolderSettings(**settings), open_files=open_files)
            yield await stack.enter_async_context(daemon)

    async def once(self, name: str, **more: Any) -> Report:
        """Sync a folder once."""
        async with self.daemon(name, **more) as daemon:
            return await daemon.once(PATIENCE_S)

    async def dry_run(self, name: str, **more: Any) -> Plan:
        async with self.daemon(name, **more) as daemon:
            return await daemon.dry_run(PATIENCE_S)

    @asynccontextmanager
    async def running(self, name: str, **more: Any) -> AsyncIterator[FolderDaemon]:
        """Run a folder's daemon while the context lasts."""
        async with self.daemon(name, **more) as daemon:
            task = asyncio.create_task(daemon.run())
            try:
                yield daemon
                if task.done():
                    task.result()
            finally:
                task.cancel()
                await asyncio.wait([task])

    async def same(self, *names: str) -> dict[str, bytes]:
        """Wait until folders are equal and at rest, and return what they hold."""
        first, *others = (self.folder(name) for name in names)
        await eventually(lambda: all(tree(other) == tree(first) for other in others), "the folders are equal")
        return tree(first)


@asynccontextmanager
async def site(root: Path, **settings: Any) -> AsyncIterator[Site]:
    """Yield a server and its folders under a temporary directory."""
    async with running_server(root / "data", **settings) as server:
        yield Site(root, server)
