"""The layer rule and the purity of what the simulation drives (docs/architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "tidenote"

ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "config": {"errors"},
    "core": {"errors", "core"},
    "wire": {"errors", "core", "wire"},
    "server": {"errors", "config", "core", "wire", "server"},
    "client": {"errors", "config", "core", "wire", "client"},
    "vault": {"errors", "config", "core", "wire", "client", "vault"},
    "cli": {"errors", "config", "core", "wire", "client", "vault", "server", "cli"},
    "__main__": {"cli"},
}
"""Part -> the parts that it may import. Everyone may import `tidenote` itself, which holds the version only."""

PURE = ("core/", "wire/", "client/policy.py", "vault/plan.py", "vault/twins.py")

IMPURE_MODULES = frozenset(
    "os io sys time random secrets uuid asyncio anyio threading multiprocessing concurrent subprocess signal "
    "logging socket ssl select selectors http urllib httpx websockets litestar uvicorn pathlib shutil tempfile glob "
    "fcntl filelock sqlite3 sqlalchemy alembic watchfiles platformdirs platform contextvars warnings".split()
)
IMPURE_CALLS = frozenset(("open", "print", "input", "exec", "eval", "__import__", "id", "hash"))
"""`hash` and `id` differ from process to process."""
IMPURE_METHODS = frozenset(("now", "utcnow", "today"))
"""Reading a date is pure, asking what day it is not."""


def violations(name: str, source: str) -> Iterator[str]:
    """Yield what a module does against the rules.

    Args:
        name: its path below src/tidenote.
        source: its text.
    """
    part = name.partition("/")[0].removesuffix(".py")
    pure = name.startswith(PURE)
    for node in ast.walk(ast.parse(source)):
        for module in _imported(node):
            top, _, rest = module.partition(".")
            imported = rest.partition(".")[0]
            if top == "tidenote" and imported not in {"", "__version__", *ALLOWED.get(part, ())}:
                yield f"{name}:{_line(node)} {part} must not import {module}"
            if pure and top in IMPURE_MODULES:
                yield f"{name}:{_line(node)} is pure and must not import {module}"
            if not top:
                yield f"{name}:{_line(node)} imports relatively, which hides the layer"
        if pure and isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            yield f"{name}:{_line(node)} is pure and must not call {node.func.id}()"
        if pure and isinstance(node, ast.Attribute) and node.attr in IMPURE_METHODS:
            yield f"{name}:{_line(node)} is pure and must not ask what time it is"
        if pure and isinstance(node, ast.AsyncFunctionDef | ast.Await):
            yield f"{name}:{_line(node)} is pure and must not be async"


def _imported(node: ast.AST) -> list[str]:
    """Return the modules that a statement imports; one that starts with a dot is relative."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        return [f"tidenote.{alias.name}" for alias in node.names] if module == "tidenote" else [module]
    return []


def _line(node: ast.AST) -> int:
    return getattr(node, "lineno", 0)


def _modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def test_every_part_has_a_row_in_the_layer_rule() -> None:
    parts = {path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in _modules()} - {"__init__", "__main__"}
    assert parts <= set(ALLOWED)


def test_modules_keep_the_layer_rule_and_their_purity() -> None:
    found = [
        violation
        for path in _modules()
        for violation in violations(path.relative_to(SOURCE).as_posix(), path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_server_and_client_never_import_each_other() -> None:
    assert not {"client", "vault", "cli"} & ALLOWED["server"]
    assert all("server" not in ALLOWED[part] for part in ("client", "vault"))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("core/clock.py", "import time"),
        ("core/clock.py", "def now():\n    import time as clock"),
        ("core/clock.py", "from datetime import datetime\nstarted = datetime.now()"),
        ("core/merge.py", "from tidenote.wire import messages"),
        ("core/merge.py", "from tidenote import server"),
        ("core/merge.py", "text = open('x')"),
        ("core/merge.py", "order = hash('x')"),
        ("core/keys.py", "from . import version"),
        ("wire/session.py", "import asyncio"),
        ("wire/session.py", "async def receive(): ..."),
        ("wire/session.py", "import logging as log"),
        ("client/policy.py", "import random"),
        ("client/link.py", "import tidenote.server.app"),
        ("server/hub.py", "from tidenote.client.journal import Journal"),
        ("vault/plan.py", "from pathlib import Path"),
        ("vault/daemon.py", "from tidenote.cli import main"),
        ("config.py", "from tidenote.core import clock"),
        ("errors.py", "from tidenote.core import clock"),
    ],
)
def test_a_planted_violation_is_found(name: str, source: str) -> None:
    assert list(violations(name, source))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("core/clock.py", "from tidenote.errors import RefusedChange\nimport hashlib\nimport re"),
        ("client/link.py", "import asyncio, time\nfrom tidenote.wire.session import ClientSession\nopen('x')"),
        ("cli/serve.py", "from tidenote import __version__\nfrom tidenote.server.app import serve"),
        ("server/api.py", "from tidenote import __version__, errors"),
        ("core/frontmatter.py", "from datetime import datetime\nmoment = datetime.fromisoformat('2020-01-01')"),
    ],
)
def test_what_is_allowed_is_not_a_violation(name: str, source: str) -> None:
    assert list(violations(name, source)) == []
