"""The documents say what the code does: names, codes, settings, flags and links."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer.core
import typer.main

from tidenote.cli.main import app
from tidenote.config import ServerConfig, SyncConfig
from tidenote.core.intake import MAX_ABSENT_DOTS, MAX_SIBLINGS_BYTES
from tidenote.errors import CODES
from tidenote.server.metrics import Metrics
from tidenote.wire import messages

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("web/*.md"), *ROOT.glob("tests/**/*.md")]
)


def page(name: str) -> str:
    """Return the text of a document."""
    return (ROOT / name).read_text(encoding="utf-8")


def rows(text: str) -> dict[str, list[str]]:
    """Return the rows of all tables: the name in backticks in their first cell -> the other cells.

    A first cell with several names makes as many rows.
    """
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            first, *others = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            for name in re.findall(r"`([^`]+)`", first):
                found.setdefault(name, [cell.strip() for cell in others])
    return found


# -- the protocol


def section(text: str, title: str) -> str:
    """Return a page's section of second order by its title."""
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_stands_in_the_protocol_with_its_action_and_status(code: str) -> None:
    row = CODES[code]
    assert rows(section(page("docs/protocol.md"), "14. Codes"))[code] == [
        row.action.value,
        str(row.http_status),
        row.meaning,
    ]


def test_the_protocol_names_no_code_that_does_not_exist() -> None:
    assert set(rows(section(page("docs/protocol.md"), "14. Codes"))) == set(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_advice_for_people(code: str) -> None:
    assert rows(section(page("docs/operations.md"), "7. When something is wrong")).get(code)


def structs() -> list[type[msgspec.Struct]]:
    """Return every public struct of the wire."""
    return [
        kind
        for name, kind in vars(messages).items()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__module__ == messages.__name__
        if not name.startswith("_")
    ]


@pytest.mark.parametrize("kind", structs(), ids=lambda kind: kind.__name__)
def test_every_field_of_every_message_is_in_the_protocol(kind: type[msgspec.Struct]) -> None:
    text = page("docs/protocol.md")
    names = {field.encode_name for field in msgspec.structs.fields(kind)}
    tag = kind.__struct_config__.tag
    if tag is not None:
        names.add(str(tag))
    missing = {name for name in names if f"`{name}`" not in text and f'"{name}"' not in text}
    assert missing == set()


def test_the_limits_in_the_protocol_are_those_of_the_code() -> None:
    limits = section(page("docs/protocol.md"), "13. Limits")
    for number in (
        f"| {messages.MAX_FRAME_BYTES >> 20} MiB",
        f"| about {messages.MAX_MESSAGE_CHANGES} |",
        f"| {messages.MAX_TEXT_BYTES >> 20} MiB of UTF-8",
        f"| {messages.MAX_BASE_DOTS} |",
        f"| {MAX_ABSENT_DOTS} |",
        f"| {MAX_SIBLINGS_BYTES >> 20} MiB | `value_too_large` |",
        f"| {ServerConfig().max_fragments} (a setting)",
        f"| {ServerConfig().max_blob_bytes >> 30} GiB",
        f"| {ServerConfig().write_timeout_ms // 1000} s (a setting) | `too_slow`",
    ):
        assert number in limits


# -- the command line


def commands(command: object, path: str = "tidenote") -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Yield every command below a group by its full name."""
    if isinstance(command, typer.core.TyperGroup):
        for name, below in sorted(command.commands.items()):
            yield from commands(below, f"{path} {name}")
    else:
        assert isinstance(command, typer.core.TyperCommand)
        yield path, command


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_flag_is_documented(name: str) -> None:
    text = page("README.md") + page("docs/operations.md")
    assert name in text
    options = [*COMMANDS[name].params, *typer.main.get_command(app).params]
    flags = {flag for option in options for flag in (*option.opts, *option.secondary_opts) if flag.startswith("--")}
    assert {flag for flag in flags - {"--help"} if not re.search(rf"{flag}(?![\w-])", text)} == set()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_helps_with_an_example(name: str) -> None:
    epilog = COMMANDS[name].epilog or ""
    assert "\nExample:\n" in epilog
    assert f"\n  {name}" in epilog
    assert COMMANDS[name].help


# -- settings and metrics


def shown(setting: Field[Any]) -> str:
    """Return a setting's default as a reader is to find it."""
    default = setting.default
    if default is MISSING:
        return "(required)" if setting.default_factory is MISSING else "the user's data folder"
    if isinstance(default, bool) or default is None:
        return {True: "true", False: "false", None: "none"}[default]
    if isinstance(default, str):
        return f"`{default}`"
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if setting.name.endswith("_bytes") and default % (1 << shift) == 0:
            return f"{default >> shift} {unit}"
    return str(default)


@pytest.mark.parametrize(("kind", "title"), [(ServerConfig, "### 5.1 Server"), (SyncConfig, "### 5.2 Device")])
def test_every_setting_is_documented_with_its_default(kind: type[ServerConfig | SyncConfig], title: str) -> None:
    table = rows(page("docs/operations.md").split(title)[1].split("\n#")[0])
    assert {name: cells[0] for name, cells in table.items()} == {
        setting.name: shown(setting) for setting in fields(kind)
    }


def test_every_metric_is_documented() -> None:
    named = set(re.findall(r"# HELP (\w+) ", Metrics().render().decode()))
    table = rows(section(page("docs/operations.md"), "6. Metrics"))
    assert {name for name in named if not name.endswith("_created")} == set(table)


# -- all pages


def links() -> list[tuple[str, str]]:
    """Return every link of every page that points into the repository."""
    return [
        (path.relative_to(ROOT).as_posix(), target)
        for path in PAGES
        for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
        if not re.match(r"[a-z]+:", target)
    ]


@pytest.mark.parametrize(("name", "target"), links())
def test_every_link_resolves(name: str, target: str) -> None:
    path, _, anchor = target.partition("#")
    there = (ROOT / name).parent / path if path else ROOT / name
    assert there.exists()
    if anchor:
        titles = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", ["docs/architecture.md", "README.md", "CONTRIBUTING.md"])
def test_every_file_that_a_page_names_exists(name: str) -> None:
    named = set(re.findall(r"`([a-z_/]+\.(?:py|sh|lock|toml|md)|[a-z_]+/[a-z_/]*)`", page(name)))
    source = ROOT / "src" / "tidenote"
    places = [ROOT, source, *(source / part for part in ("core", "wire", "server", "client", "vault"))]
    places += [ROOT / "web", ROOT / "web" / "src" / "ui"]
    assert {path for path in named if not any((place / path).exists() for place in places)} == set()


@pytest.mark.parametrize("part", ["core/", "wire/", "server/", "client/", "vault/"])
def test_every_module_has_its_place_in_the_table_of_parts(part: str) -> None:
    (place,) = rows(section(page("docs/architecture.md"), "Parts, and who may import whom"))[part]
    modules = {path.name for path in (ROOT / "src" / "tidenote" / part).glob("*.py")} - {"__init__.py"}
    assert modules - set(re.findall(r"`([^`]+)`", place)) == set()


def test_the_changelog_has_a_place_for_what_comes() -> None:
    assert "\n## Unreleased\n" in page("CHANGELOG.md")


def test_every_decision_says_what_was_decided() -> None:
    for number, path in enumerate(sorted((ROOT / "docs" / "decisions").glob("*.md")), start=1):
        text = path.read_text(encoding="utf-8")
        assert path.name.startswith(f"{number:04}-")
        assert text.startswith(f"# {number}. ")
        assert "\n**Decision.** " in text


def test_the_project_stands_alone() -> None:
    """Only tests and benchmarks may look for data outside of the repository."""
    outside = ".." + "/shared"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    named = [
        name
        for name in listed.splitlines()
        if not name.startswith(("tests/", "benchmarks/"))
        if outside in (ROOT / name).read_text(encoding="utf-8", errors="replace")
    ]
    assert named == []
