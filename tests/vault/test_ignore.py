"""Which paths sync: fixed exceptions, flags, ignore files, defaults."""

from __future__ import annotations

import pytest

from tidenote.errors import ConfigError
from tidenote.vault.ignore import IgnoreRules


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        "sub/.git/HEAD",
        ".GIT/hooks/post-checkout",
        ".g\u200cit/config",
        ".git. /config",
        ".tidenote/journal.db",
        ".tidenote-tmp-1234",
        "a/.tidenote-tmp-x.md",
    ],
)
def test_fixed_names_never_sync_whatever_the_rules_say(path: str) -> None:
    rules = IgnoreRules(hidden=True)
    rules.load("", "!.git\n!.git/**\n!.tidenote*\n!*\n")
    assert rules.ignored(path)


@pytest.mark.parametrize(
    "path",
    [
        ".obsidian/workspace",
        ".obsidian/workspace.json",
        ".obsidian/workspace-mobile.json",
        "sub/.obsidian/workspace.json",
        ".trash/old.md",
        ".DS_Store",
        "sub/Thumbs.db",
        "desktop.ini",
        "._note.md",
        ".note.md.swp",
        "note.md.swx".replace("swx", "swo"),
        "note.md~",
        ".#note.md",
        "#note.md#",
        "~$report.docx",
        "x.tmp",
        ".goutputstream-ABCDEF",
        "4913",
        ".syncthing.note.md.tmp",
        "movie.mp4.part",
    ],
)
def test_defaults_are_ignored_even_with_hidden(path: str) -> None:
    assert IgnoreRules(hidden=True).ignored(path)


@pytest.mark.parametrize(
    "path", ["note.md", "a/b c/note.md", "git.md", "a.git", "tmp", "4913.md", "workspace.md", "x~y.md"]
)
def test_ordinary_names_sync(path: str) -> None:
    assert not IgnoreRules().ignored(path)


def test_hidden_names_sync_on_request_only() -> None:
    for path in (".obsidian/app.json", ".hidden.md", "a/.config/b.md"):
        assert IgnoreRules().ignored(path)
        assert not IgnoreRules(hidden=True).ignored(path)
    assert IgnoreRules().ignored(".obsidian", folder=True)


def test_an_ignore_file_cannot_let_hidden_names_in() -> None:
    rules = IgnoreRules()
    rules.load("", "*\n!*.md\n!*/\n")
    assert rules.ignored(".secret.md")
    assert rules.ignored("a.txt")
    assert not rules.ignored("a.md")
    assert not rules.ignored("b/a.md")


def test_an_ignore_file_may_let_a_default_in() -> None:
    rules = IgnoreRules()
    rules.load("", "!*.tmp\n")
    assert not rules.ignored("x.tmp")


def test_nested_ignore_files_win_over_those_above() -> None:
    rules = IgnoreRules()
    rules.load("", "*.log\nprivate/\n/top.md\n")
    rules.load("work", "!keep.log\nown.md\n/anchored.md\n")
    assert rules.ignored("a.log")
    assert rules.ignored("work/a.log")
    assert not rules.ignored("work/keep.log")
    assert rules.ignored("keep.log")
    assert rules.ignored("work/own.md")
    assert rules.ignored("work/deep/own.md")
    assert not rules.ignored("own.md")
    assert rules.ignored("work/anchored.md")
    assert not rules.ignored("work/deep/anchored.md")
    assert rules.ignored("top.md")
    assert not rules.ignored("work/top.md")
    assert rules.ignored("private", folder=True)
    assert rules.ignored("work/private/x.md")
    assert not rules.ignored("private")


@pytest.mark.parametrize(
    ("lines", "path", "expected"),
    [
        ("a/**\n!a/keep.md", "a/keep.md", False),
        ("a/**\n!a/keep.md", "a/x.md", True),
        ("a/*\n!a/b/", "a/b/x.md", False),
        ("a/*\n!a/b/", "a/c/x.md", True),
        ("/*\n!/a/", "a/x.md", False),
        ("/*\n!/a/", "x.md", True),
        ("foo/", "foo/foo/x.md", True),
        ("**/b", "x/y/b/z.md", True),
        ("f[a-c]o.md", "fbo.md", True),
        ("\\#x.md", "#x.md", True),
        ("*.md\n!*.md", "a.md", False),
    ],
)
def test_patterns_mean_what_they_mean_to_git(lines: str, path: str, expected: bool) -> None:
    rules = IgnoreRules()
    rules.load("", lines)
    assert rules.ignored(path) is expected


def test_what_lies_in_an_ignored_folder_cannot_be_let_in() -> None:
    rules = IgnoreRules()
    rules.load("", "build/\n!build/keep.md\n")
    assert rules.ignored("build/keep.md")


def test_a_malformed_line_spoils_no_other() -> None:
    rules = IgnoreRules()
    assert rules.load("", "\ufeff*.log\n!\n# comment\n\n*.bak\n") == ["!"]
    assert rules.ignored("a.log")
    assert rules.ignored("a.bak")


def test_loading_again_forgets_earlier_verdicts() -> None:
    rules = IgnoreRules()
    assert not rules.ignored("work/a.md")
    rules.load("", "work\n")
    assert rules.ignored("work/a.md")
    assert not rules.fresh().ignored("work/a.md")


def test_only_and_except() -> None:
    rules = IgnoreRules(only_globs=["Projects", "*.canvas"], except_globs=["*.log", "Projects/private"])
    assert not rules.ignored("Projects/a.md")
    assert not rules.ignored("x/b.canvas")
    assert rules.ignored("a.md")
    assert rules.ignored("Projects/a.log")
    assert rules.ignored("Projects/private/a.md")
    assert not rules.ignored("x", folder=True)
    assert rules.fresh().ignored("a.md")


@pytest.mark.parametrize("flag", ["only_globs", "except_globs"])
def test_a_malformed_glob_is_a_config_error(flag: str) -> None:
    with pytest.raises(ConfigError):
        IgnoreRules(**{flag: ["!"]})  # type: ignore[arg-type]
