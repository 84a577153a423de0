"""The README's library example does what it says."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.processes import World, environment, eventually, world
from tidenote.client.client import SyncClient
from tidenote.config import SyncConfig

pytestmark = [pytest.mark.e2e, pytest.mark.anyio]

README = Path(__file__).parent.parent / "README.md"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


async def test_the_library_example_runs(here: World) -> None:
    found = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    assert SyncConfig("x").sync_endpoint in found[1]
    script = here.root / "example.py"
    script.write_text(found[1].replace(SyncConfig("x").sync_endpoint, here.endpoint), encoding="utf-8")
    output = here.root / "example.log"
    here.serve()
    with output.open("wb") as log:
        example = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", script),
            stdout=log,
            stderr=log,
            env=environment(HOME=str(here.root), XDG_DATA_HOME=str(here.root / "share")),
        )
    try:
        eventually(lambda: "['note:Ideas/boat.md']" in output.read_text(), "the example lists its note")
        async with SyncClient(SyncConfig("other", sync_endpoint=here.endpoint), here.root / "other.db") as other:
            await other.caught_up(60)
            assert await other.get("Ideas/boat.md") == "# A boat\n"
            await other.put("reply.md", "from another device")
            await other.flush(60)
        eventually(lambda: "{'note:reply.md': 'from another device'}" in output.read_text(), "the example hears of it")
    finally:
        example.kill()
        await example.wait()
