"""docs/faults.md names tests that exist, and every row has a test or a reason."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
TEXT = (TESTS.parent / "docs" / "faults.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([LCNTDH]\d+) \| (.+?) \| (.+) \|$", TEXT, re.MULTILINE)
IN_BROWSER = sorted(set(re.findall(r"`(web/tests/[\w./-]+\.ts)`: \"([^\"]+)\"", TEXT)))
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)))
COUNTS = {"L": 23, "C": 14, "N": 12, "T": 13, "D": 24, "H": 14}


def names_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_fault_has_its_row() -> None:
    expected = [f"{kind}{number}" for kind, count in COUNTS.items() for number in range(1, count + 1)]
    assert [row for row, _, _ in ROWS] == expected


def test_every_row_has_a_test_or_a_reason() -> None:
    for row, _, tests in ROWS:
        assert "::test_" in tests or "`web/tests/" in tests or tests.startswith("none: "), row


def test_the_tests_exist() -> None:
    assert len(NAMED) > 80
    missing = [f"{file}::{name}" for file, name in NAMED if name not in names_of(TESTS / file)]
    assert missing == []


def test_the_tests_in_the_browser_exist() -> None:
    assert IN_BROWSER
    for file, title in IN_BROWSER:
        assert f'test("{title}"' in (TESTS.parent / file).read_text(encoding="utf-8"), f"{file}: {title}"
