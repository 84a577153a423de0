"""Plans in words."""

from __future__ import annotations

from tidenote.cli.preview import lines, summary
from tidenote.client.journal import BaseEntry
from tidenote.core.version import Dot
from tidenote.vault.plan import (
    Adopt,
    Delete,
    DiskEntry,
    Forget,
    Held,
    MoveLocal,
    Plan,
    Push,
    PushDelete,
    PushMove,
    Remote,
    Why,
    Write,
)

REMOTE = Remote(Dot(1, "other"), "00")
NONE: frozenset[Dot] = frozenset()


def disk(path: str) -> DiskEntry:
    return DiskEntry(path, path, 1, 1, 1, "00")


def base(path: str, content_hash: str | None = "00") -> Adopt:
    return Adopt(BaseEntry(path, Dot(1, "other"), content_hash, 1, 1, 1, path))


EVERYTHING = Plan(
    [
        Push(disk("new.md"), NONE),
        Push(disk("clash.md"), NONE, unbased=True),
        Push(disk("lost.md"), NONE, unbased=True),
        PushMove("a.md", "a.md", NONE, disk("b.md"), NONE),
        PushDelete("gone.md", "gone.md", NONE),
        base("same.md"),
        base("known deletion.md", None),
        Forget("forgotten.md"),
        Delete("old.md", "old.md", REMOTE, "00"),
        MoveLocal("c.md", "c.md", REMOTE, "d.md", "d.md", REMOTE, "00"),
        Write("theirs.md", "theirs.md", REMOTE, None),
    ],
    [Held("many.md", Why.DELETIONS_IN), Held("odd.md", Why.NAME, "a colon in the name")],
)


def test_every_action_is_one_line_and_what_moves_nothing_is_none() -> None:
    assert list(lines(EVERYTHING, {"clash.md"}.__contains__)) == [
        "    send  new.md",
        "  differ  clash.md",
        "    send  lost.md",
        "    move  a.md -> b.md in the vault",
        "  delete  gone.md in the vault",
        "  delete  old.md here",
        "    move  c.md -> d.md here",
        "   write  theirs.md",
        f"    hold  many.md: {Why.DELETIONS_IN.value}",
        "    hold  odd.md: a colon in the name",
    ]


def test_a_summary_counts_and_names_a_few() -> None:
    assert list(summary(EVERYTHING, {"clash.md"}.__contains__)) == [
        "       2 go to the vault: new.md, lost.md",
        "       1 comes from the vault: theirs.md",
        "       1 is the same on both sides: same.md",
        "       1 differs; both versions are kept, and you choose later: clash.md",
        "       2 are renamed: a.md -> b.md in the vault, c.md -> d.md here",
        "       2 are deleted: gone.md in the vault, old.md here",
        "       2 wait for you or this disk: many.md, odd.md",
    ]
    many = Plan([Push(disk(f"{number}.md"), NONE) for number in range(5)])
    assert list(summary(many, lambda _: False)) == ["       5 go to the vault: 0.md, 1.md, 2.md, ... 2 more"]
    assert list(summary(Plan(), lambda _: False)) == []
