"""REST is what its OpenAPI says, whatever somebody sends; made by schemathesis from the description itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from server.running import PATIENCE_S, bearer, enrol, running_server
from tidenote.server.serve import Running
from tidenote.wire.messages import Role

ROLES: tuple[Role, ...] = ("reader", "editor", "owner")

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@dataclass(frozen=True)
class Served:
    """A real server beside the test, in a loop and thread of its own."""

    server: Running
    loop: asyncio.AbstractEventLoop
    asks: bool
    """Whether it asks who is there."""

    def headers(self) -> dict[Role | None, dict[str, str]]:
        """Return what somebody of each role sends, and who is nobody. Fresh ones: a route may end them."""
        if not self.asks:
            return {None: {}}
        tokens = asyncio.run_coroutine_threadsafe(self._enrol(), self.loop).result(PATIENCE_S)
        return {None: {}, **{role: bearer(token) for role, token in tokens.items()}}

    async def _enrol(self) -> dict[Role, str]:
        return {role: await enrol(self.server, role, role=role) for role in ROLES}


@pytest.fixture(scope="module", params=[True, False], ids=["no_auth", "auth"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that lets everyone in, and one that asks who is there."""
    started: list[Served] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve(data: Path) -> None:
        async with running_server(data, no_auth=request.param) as server:
            started.append(Served(server, loop, not request.param))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(tmp_path_factory.mktemp("openapi"))))
    thread.start()
    try:
        assert ready.wait(PATIENCE_S)
        yield started[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)
        loop.close()


def attempts(operation: Any, served: Served, mode: GenerationMode) -> int:
    """Send one route what its description allows, or does not, and check every answer; return how often."""
    tried = 0
    headers = served.headers()
    examples = 25 if mode is GenerationMode.POSITIVE else 12

    @settings(parent=settings.get_profile("cover"), max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode), role=st.sampled_from(list(headers)))
    def answered(case: Any, role: Role | None) -> None:
        nonlocal tried
        tried += 1
        url = served.server.http_url
        case.call_and_validate(base_url=url, checks=CHECKS, headers=headers[role], timeout=PATIENCE_S)

    with suppress(Unsatisfiable):
        answered()
    return tried


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
def test_h6_whatever_is_sent_is_answered_as_described(served: Served, mode: GenerationMode) -> None:
    url = f"{served.server.http_url}/api/v1/openapi/openapi.json"
    schema = schemathesis.openapi.from_url(url, headers=list(served.headers().values())[-1])
    operations: list[Any] = list(schema.get_all_operations())
    assert len(operations) > 30
    tried = {operation.ok().label: attempts(operation.ok(), served, mode) for operation in operations}
    # A route that takes nothing cannot be sent anything wrong.
    takes_nothing = {name for name, number in tried.items() if not number}
    assert len(takes_nothing) < (10 if mode is GenerationMode.NEGATIVE else 1), takes_nothing
