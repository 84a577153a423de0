from __future__ import annotations

from tidenote.core.merged import Doubt, Merged, Part, Piece, Spot, assemble


def doubt(*names: str, reason: str = "both_changed") -> Doubt:
    return Doubt(reason, [f"{name}0" for name in names], [f"{name}1" for name in names], [f"{name}2" for name in names])  # type: ignore[arg-type]


def test_nothing_is_an_empty_text() -> None:
    assert assemble([]) == Merged("", parts=(Part(0, 1, "combined"),))


def test_neighbours_of_one_origin_are_one_part() -> None:
    pieces = [Piece(["a"], "base"), Piece([], "first"), Piece(["b", "c"], "base"), Piece(["d", ""], "second")]
    assert assemble(pieces) == Merged("a\nb\nc\nd\n", parts=(Part(0, 3, "base"), Part(3, 5, "second")))


def test_a_doubt_becomes_a_spot_with_its_lines() -> None:
    merged = assemble([Piece(["a"], "base"), Piece(["x", "y"], "combined", doubt("k")), Piece(["z"], "base")])
    assert merged.spots == (Spot(1, 3, "both_changed", "k0", "k1", "k2"),)


def test_doubts_that_touch_are_one_spot_if_their_reason_is_one() -> None:
    pieces = [
        Piece(["a"], "first", doubt("k")),
        Piece(["b"], "second", doubt("l", "m")),
        Piece(["c"], "second", doubt("n", reason="deleted_and_changed")),
        Piece(["d"], "base"),
        Piece(["e"], "second", doubt("o", reason="deleted_and_changed")),
    ]
    assert assemble(pieces).spots == (
        Spot(0, 2, "both_changed", "k0\nl0\nm0", "k1\nl1\nm1", "k2\nl2\nm2"),
        Spot(2, 3, "deleted_and_changed", "n0", "n1", "n2"),
        Spot(4, 5, "deleted_and_changed", "o0", "o1", "o2"),
    )
