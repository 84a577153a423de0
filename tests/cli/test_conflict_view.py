"""How conflicts look, without a server."""

from __future__ import annotations

from rich.console import Console

from tidenote.cli.conflict_view import aligned, side_by_side, spots
from tidenote.wire.messages import ConflictDetails, WireBlob, WireChange, WireDot, WireSpot


def version(device: str, value: str | None, **more: object) -> WireChange:
    return WireChange("note:a.md", value, 5, device, **more)  # type: ignore[arg-type]


def conflict(*sources: WireChange, base: str | None = None, spots: list[WireSpot] | None = None) -> ConflictDetails:
    dots = [WireDot(source.timestamp, source.device_id) for source in sources]
    old = None if base is None else version("laptop", base)
    return ConflictDetails("1-x", "note:a.md", "siblings", dots, list(sources), 0, old, spots=spots)


def shown(details: ConflictDetails) -> list[str]:
    console = Console(width=80, no_color=True)
    with console.capture() as captured:
        console.print(side_by_side(details))
    return captured.get().splitlines()


def test_two_texts_stand_line_beside_line_with_what_is_new_marked() -> None:
    details = conflict(version("laptop", "one\nTWO\n"), version("phone", "one\ntwo\nthree\n"), base="one\ntwo\n")
    text = "\n".join(shown(details))
    assert "1: laptop" in text
    assert "2: phone" in text
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if "│" in line]
    assert rows == [["one", "one"], ["+ TWO", "two"], ["", "+ three"]]


def test_without_a_base_what_only_one_has_is_marked() -> None:
    details = conflict(version("laptop", "same\nmine\n"), version("phone", "same\nyours\n"))
    assert any("+ mine" in line and "+ yours" in line for line in shown(details))
    assert not any("+ same" in line for line in shown(details))


def test_what_is_no_text_is_named_and_three_versions_have_three_columns() -> None:
    blob = WireBlob("ab" * 32, 1234)
    details = conflict(version("a", "", blob=blob), version("b", None), version("c", "words\nmore\n"))
    text = "\n".join(shown(details))
    for part in ("1234 bytes, SHA-256", "abababababab...", "(deleted)", "words", "more", "3: c"):
        assert part in text


def test_of_three_edits_of_one_text_their_changes_are_shown() -> None:
    base = "".join(f"line {number}\n" for number in range(50))
    edits = (version(name, base.replace("line 7\n", f"{name} wrote\n")) for name in "abc")
    text = "\n".join(shown(conflict(*edits, base=base)))
    for part in ("+a wrote", "+b wrote", "+c wrote", "-line 7", " line 10"):
        assert part in text
    assert "line 11" not in text


def test_of_three_texts_without_a_base_the_equal_ends_are_left_out() -> None:
    common = [f"line {number}\n" for number in range(50)]
    texts = (version(name, "".join([*common, f"{name} wrote\n", *common])) for name in "abc")
    rows = [line for line in shown(conflict(*texts)) if "│" in line]
    assert len(rows) == 9
    assert all("..." in row for row in (rows[0], rows[-1]))
    assert all(part in rows[4] for part in ("a wrote", "b wrote", "c wrote"))


def test_far_equal_lines_are_left_out() -> None:
    common = [f"line {number}" for number in range(50)]
    rows = list(aligned([*common, "a", *common], [*common, "b", *common]))
    assert rows[0] == rows[-1] == ("...", "...")
    assert ("a", "b") in rows
    assert len(rows) == 9


def test_equal_texts_have_nothing_to_show_and_huge_ones_are_not_compared() -> None:
    assert list(aligned(["a"], ["a"])) == []
    huge = ["x"] * 3000
    assert list(aligned(huge, huge)) == [("x", "x")] * 3000


def test_a_spot_says_where_and_what_was_there() -> None:
    spot = WireSpot(1, 3, "both_changed", "at five", "at six", "at seven")
    gone = WireSpot(4, 5, "deleted_and_changed", "old", "", "new")
    told = [line.plain for line in spots(conflict(spots=[spot, gone]))]
    assert told[0].startswith("lines 2-3 of the merge: ")
    assert told[1:4] == ["  base | at five", "     1 | at six", "     2 | at seven"]
    assert told[4].startswith("line 5 of the merge: ")
    assert told[6] == "     1 | (nothing)"
