"""Tests wait for what has to become true, not for time to pass: it is too long on one machine, too short on another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

PACE: dict[str, str] = {
    "vault/test_daemon_faults.py:test_truncating_before_writing_never_sends_an_empty_note": "an editor takes its time",
    "vault/test_daemon_random.py:test_folders_that_are_worked_in_become_the_same": "people pause at random",
    "e2e/test_chaos.py:test_kill_9_of_anyone_at_any_moment_of_a_first_sync": "kills come at random moments",
}
"""Where a pause is part of what is tried, and nothing relies on what happened in it; and what it stands for."""


def sleeps(name: str, source: str) -> Iterator[str]:
    """Yield the functions that sleep otherwise than between two looks at a condition.

    Args:
        name: of the file.
        source: its text.
    """

    def visit(node: ast.AST, function: str) -> Iterator[str]:
        if isinstance(node, ast.While):
            return
        is_sleep = isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "sleep"
        # Of no time at all, it is one turn of the event loop.
        if is_sleep and not ast.unparse(node).endswith("sleep(0)"):
            yield f"{name}:{function}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function)

    return visit(ast.parse(source), "")


def test_no_test_waits_by_sleeping() -> None:
    found = {
        sleep
        for path in TESTS.rglob("*.py")
        for sleep in sleeps(path.relative_to(TESTS).as_posix(), path.read_text(encoding="utf-8"))
    }
    assert found == set(PACE)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("await asyncio.sleep(0.1)", True),
        ("for _ in range(9): time.sleep(1)", True),
        ("sleep(delay)", True),
        ("await asyncio.sleep(0)", False),
        ("while not ready(): time.sleep(0.01)", False),
    ],
)
def test_the_check_knows_a_wait_from_a_look(body: str, found: bool) -> None:
    assert list(sleeps("test.py", f"async def test():\n    {body}")) == ["test.py:test"] * found
