"""REST is what its OpenAPI says, whatever somebody sends; made by schemathesis from the description itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from server.running import PATIENCE_S, running_server

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server beside the test, with a note, a deletion and a conflict in its vault."""
    started: list[str] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve(data: Path) -> None:
        async with running_server(data) as server:
            started.append(server.http_url)
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


def attempts(operation: Any, url: str) -> int:
    """Send one route what its description allows, and check every answer; return how often."""
    tried = 0

    @settings(parent=settings.get_profile("cover"), max_examples=25, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def answered(case: Any) -> None:
        nonlocal tried
        tried += 1
        case.call_and_validate(base_url=url, checks=CHECKS, timeout=PATIENCE_S)

    answered()
    return tried


def test_h6_whatever_is_sent_is_answered_as_described(url: str) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/api/v1/openapi/openapi.json")
    operations: list[Any] = list(schema.get_all_operations())
    assert len(operations) > 30
    assert all(attempts(operation.ok(), url) for operation in operations)
