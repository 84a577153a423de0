from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tidenote.core import merge as module
from tidenote.core.diff import Purse, Steps, TooMuchWork
from tidenote.core.merge import merge_text, shared_text
from tidenote.core.merged import Merged, Part
from tidenote.core.words import missing_words, words

CASES = Path(__file__).parent.parent / "fixtures" / "merge" / "cases.jsonl.gz"
MIB = 2**20


def cases() -> Iterator[dict[str, Any]]:
    with gzip.open(CASES, "rt", encoding="utf-8", newline="\n") as file:
        for line in file:
            yield json.loads(line)


def origins(merged: Merged) -> str:
    return " ".join(f"{part.end - part.start}x{part.origin}" for part in merged.parts)


@pytest.mark.parametrize("text", ["", "a", "a\n", "a\nb", "\ufeffa\r\nb\n", "---\na: 1\n---\n"])
def test_a_change_on_one_side_is_taken_as_it_is(text: str) -> None:
    lines = text.count("\n") + 1
    for base in ("old\r\n", "old", text + "x"):
        assert merge_text(base, base, text) == Merged(text, parts=(Part(0, lines, "second"),))
        assert merge_text(base, text, base) == Merged(text, parts=(Part(0, lines, "first"),))
        assert merge_text(base, text, text) == Merged(text, parts=(Part(0, lines, "both"),))
    assert merge_text(text, text, text) == Merged(text, parts=(Part(0, lines, "base"),))


def test_changes_apart_are_both_taken() -> None:
    merged = merge_text("a\nb\nc\nd\ne\n", "A\nb\nc\nd\ne\n", "a\nb\nc\nd\nE\nf\n")
    assert merged.text == "A\nb\nc\nd\nE\nf\n"
    assert origins(merged) == "1xfirst 3xbase 2xsecond 1xbase"
    assert merged.spots == ()


def test_the_same_change_is_taken_once() -> None:
    merged = merge_text("a\nb\nc\nd\n", "a\nx\nc\nd\n", "a\nx\nc\nD\n")
    assert merged.text == "a\nx\nc\nD\n"
    assert origins(merged) == "1xbase 1xboth 1xbase 1xsecond 1xbase"


def test_both_appended_the_firsts_text_comes_first() -> None:
    assert merge_text("# Day\n", "# Day\nrain\n", "# Day\nsun\n").text == "# Day\nrain\nsun\n"
    assert merge_text("# Day", "# Day\nrain", "# Day\nsun").text == "# Day\nrain\nsun"


def test_one_checked_a_task_while_the_other_reworded_it() -> None:
    merged = merge_text("- [ ] buy milk\n", "- [x] buy milk\n", "- [ ] buy oat milk\n")
    assert merged.text == "- [x] buy oat milk\n"
    assert origins(merged) == "1xcombined 1xbase"


TASKS = "# Plan\n- [ ] buy milk\n- [ ] call Ann\n\n# Done\n- [x] pay rent\n"


def test_one_moved_a_task_while_the_other_checked_it() -> None:
    moved = "# Plan\n- [ ] call Ann\n\n# Done\n- [x] pay rent\n- [ ] buy milk\n"
    checked = TASKS.replace("[ ] buy", "[x] buy oat")
    for sides in ((moved, checked), (checked, moved)):
        merged = merge_text(TASKS, *sides)
        assert merged.text == "# Plan\n- [ ] call Ann\n\n# Done\n- [x] pay rent\n- [x] buy oat milk\n"
        assert merged.spots == ()


def test_a_move_is_not_followed_if_that_would_lose_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "follow_moves", lambda base, *_: (base, ["lost"]))
    assert merge_text("one\n", "one\ntwo\n", "zero\none\n").text == "zero\none\ntwo\n"


def test_spots_and_parts_count_the_lines_of_front_matter() -> None:
    merged = merge_text(
        "---\na: 1\n---\nat five\n",
        "---\na: 2\n---\nat six\n",
        "---\na: 1\nb: 1\n---\nat seven\n",
    )
    assert merged.text == "---\na: 2\nb: 1\n---\nat six\nat seven\n"
    assert origins(merged) == "1xbase 1xfirst 1xsecond 1xbase 2xcombined 1xbase"
    [spot] = merged.spots
    assert merged.text.split("\n")[spot.start : spot.end] == ["at six", "at seven"]


def test_front_matter_that_does_not_parse_is_merged_apart_from_the_text() -> None:
    merged = merge_text("---\na: [\n---\nx\n", "---\na: [1\n---\nx\n", "---\na: [\n---\nx\ny\n")
    assert merged.text == "---\na: [1\n---\nx\ny\n"


def test_the_rule_after_front_matter_without_keys_stays_above_the_text() -> None:
    merged = merge_text("---\nold\n---\n# A\n---\nend", "---\nold one\n---\n# A\nend", "---\n---\n# A\n---\nend\nz")
    assert merged.text == "---\nold one\n---\n# A\nend\nz"


def test_what_only_becomes_front_matter_with_a_key_twice_by_merging_stays_text() -> None:
    merged = merge_text("text\n", "---\na: 1\na: 2\ntext\n", "text\n---\n")
    assert merged.text == "\n---\na: 1\na: 2\ntext\n---\n"


def test_front_matter_added_on_one_side_stays_above_a_line_added_on_the_other() -> None:
    assert merge_text("text\n", "new\ntext\n", "---\na: 1\n---\ntext\n").text == "---\na: 1\n---\nnew\ntext\n"


@pytest.mark.parametrize(
    ("base", "first", "second", "expected"),
    [
        ("a\r\nb\r\nc\r\n", "A\r\nb\r\nc\r\n", "a\r\nb\r\nC\r\n", "A\r\nb\r\nC\r\n"),
        ("a\r\nb\r\nc\r\n", "A\nb\nc\n", "a\r\nb\r\nC\r\n", "A\nb\nC\n"),
        ("a\nb\nc\n", "A\nb\nc\n", "a\r\nb\r\nC\r\n", "A\r\nb\r\nC\r\n"),
        ("a\r\nb\r\nc\r\nd\r\n", "A\r\nb\r\nc\nd\r\n", "a\r\nb\r\nc\r\nD\r\n", "A\r\nb\r\nc\r\nD\r\n"),
        ("a\nb\r\nc\nd\n", "A\nb\r\nc\nd\n", "a\nb\r\nc\nD\n", "A\nb\r\nc\nD\n"),
        ("a", "a\r\nb\r\n", "a c", "a c\r\nb\r\n"),
        ("a\nb\r\nc\nd\ne\n", "a\r\nb\r\nc\r\nd\r\nE\r\n", "A\nb\r\nc\nd\ne\n", "A\r\nb\r\nc\r\nd\r\nE\r\n"),
        ("a\r\nb\r\n", "a b", "a\r\nb\r\nc\r\n", "a b\r\nc"),
        ("\ufeffa\nb\nc", "\ufeffA\nb\nc", "\ufeffa\nb\nC", "\ufeffA\nb\nC"),
        ("\ufeffa\nb\nc", "A\nb\nc", "\ufeffa\nb\nC", "A\nb\nC"),
        ("a\nb\nc", "A\nb\nc", "\ufeffa\nb\nC", "\ufeffA\nb\nC"),
        ("a\nb\nc", "A\nb\nc", "a\nb\nc\n", "A\nb\nc\n"),
        ("a\nb\nc\n", "A\nb\nc", "a\nb\nC\n", "A\nb\nC"),
        ("a\u2028b\x0bc\nd\ne", "a\u2028B\x0bc\nd\ne", "a\u2028b\x0bc\nd\nE", "a\u2028B\x0bc\nd\nE"),
    ],
)
def test_line_ends_marks_and_the_final_newline_are_kept(base: str, first: str, second: str, expected: str) -> None:
    assert merge_text(base, first, second).text == expected


def test_real_edits_lose_and_garble_no_word() -> None:
    for case in cases():
        base, a, b = case["base"], case["a"], case["b"]
        for first, second in ((a, b), (b, a)):
            result = merge_text(base, first, second).text
            assert not missing_words([base], [[first], [second]], [result]), case["id"]
            assert set(words(result)) <= {*words(base), *words(first), *words(second)}, case["id"]


def test_real_edits_become_what_people_made_of_them() -> None:
    exact = {True: 0, False: 0}
    for case in cases():
        exact[case["git_conflicts"] > 0] += merge_text(case["base"], case["a"], case["b"]).text == case["human"]
    assert exact == {False: 6, True: 2}


TWO_LETTERS = "".join("ab"[bit == "1"] + "\n" for bit in f"{3**165000:b}")[:MIB]
HARD = {
    "lines without anchors": ("b\n" * (MIB // 2), TWO_LETTERS, TWO_LETTERS[::-1]),
    "one line without anchors": (
        "b " * (MIB // 2),
        TWO_LETTERS.replace("\n", " "),
        TWO_LETTERS[::-1].replace("\n", " "),
    ),
    "all lines reversed": (
        "\n".join(f"w{number}" for number in range(MIB // 7)),
        "\n".join(f"w{number}" for number in reversed(range(MIB // 7))),
        "\n".join(f"w{number * 7919 % 149796}" for number in range(MIB // 7)),
    ),
    "every line changed on both sides": tuple(
        "".join(f"line {number} of {' '.join('xyz'[number % 3] * side * 3)} words\n" for number in range(MIB // 32))
        for side in (1, 2, 3)
    ),
    "front matter of keys that does not parse": tuple(
        "".join(["---\n", *(f"k{number}: a: {end}\n" for number in range(MIB // 32)), "---\n"]) for end in "abc"
    ),
    "front matter of brackets": tuple(f"---\na: {'[' * 8000}\n---\n{end}" for end in "abc"),
    "rules": ("---\n" * (MIB // 4), "---\n" * (MIB // 4 - 1) + "x", "y\n" + "---\n" * (MIB // 4 - 1)),
    "spaces": (" " * MIB, "|" + " " * MIB + "x", "- " + " " * MIB),
}


@pytest.mark.parametrize("name", HARD)
def test_work_on_hard_texts_of_a_mebibyte_is_bounded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    budgets: list[Steps] = []

    class Counted(Steps):
        def __init__(self, limit: int, purse: Purse | None = None) -> None:
            super().__init__(limit, purse)
            budgets.append(self)

    monkeypatch.setattr(module, "Steps", Counted)
    base, first, second = HARD[name]
    merged = merge_text(base, first, second)
    assert not missing_words([base], [[first], [second]], [merged.text])
    # The last request may exceed what was left by its own size; after that nothing is granted.
    assert all(budget.left > -4 * MIB for budget in budgets)


# -- within a purse


@pytest.mark.parametrize("name", HARD)
def test_what_costs_more_than_is_in_the_purse_is_not_merged(name: str) -> None:
    purse = Purse(150_000)
    with pytest.raises(TooMuchWork):
        merge_text(*HARD[name], purse=purse)
    assert purse.left >= 0
    # It leaves room for others: its size alone says that it is too much.
    assert purse.left == 150_000 or name == "front matter of brackets"


def test_a_purse_never_alters_what_comes_out() -> None:
    for case in cases():
        texts = case["base"], case["a"], case["b"]
        purse = Purse(10**7)
        assert merge_text(*texts, purse=purse) == merge_text(*texts)
        spent = 10**7 - purse.left
        assert spent >= sum(map(len, texts))
        assert merge_text(*texts, purse=Purse(spent)) == merge_text(*texts)
        with pytest.raises(TooMuchWork):
            merge_text(*texts, purse=Purse(spent - 1))


# -- without a base


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("met Ada\n\n---\nx\n", "call Bob\n\n---\ny\n", ""),
        (
            "mine\nsame words here\n\nand these\n",
            "yours\nsame words here\n\nand these\n",
            "same words here\n\nand these\n",
        ),
        ("same words here\n\nmine\n\n", "same words here\n\nyours\n\n", "same words here\n\n\n"),
        ("same words here", "same words here\nyours", "same words here"),
    ],
)
def test_texts_share_what_is_no_chance(first: str, second: str, shared: str) -> None:
    assert shared_text(first, second) == shared


def test_over_what_two_texts_share_each_shared_line_is_there_once() -> None:
    middle = "\n".join(
        ["| a | b |", "|---|---|", "| x | y |", "", "<br>", "", "Two lines that", "", "<br>", "", "say more"] * 4
    )
    first, second = (f"{side} begins\n{middle}\n{side} ends\n" for side in ("mine", "yours"))
    merged = merge_text(shared_text(first, second), first, second)
    assert merged.text == f"mine begins\nyours begins\n{middle}\nmine ends\nyours ends\n"
