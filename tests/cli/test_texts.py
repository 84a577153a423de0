"""How texts, authors and times look in a terminal."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidenote.cli.texts import author, lines_of, moment, plain, unified


def test_a_note_cannot_command_the_terminal() -> None:
    assert plain("a\x1b[31mb\x07[bold]c[/]\td\u202e").plain == "a\ufffd[31mb\ufffd[bold]c[/]  d\ufffd"


@pytest.mark.parametrize(("device", "name"), [("laptop", "laptop"), ("server.1-9f2c", "the server")])
def test_authors_are_called_as_people_call_them(device: str, name: str) -> None:
    assert author(device) == name


def test_unknown_times_are_not_told() -> None:
    assert moment(0) == moment(None) == ""
    assert moment(1_800_000_000_000)[:4] == "2027"


@pytest.mark.parametrize(("text", "lines"), [("a\r\nb\r\n", ["a", "b"]), ("a\n\n", ["a", ""]), ("a", ["a"])])
def test_lines_end_as_people_see_them(text: str, lines: list[str]) -> None:
    assert lines_of(text) == lines


TEXTS = st.lists(st.sampled_from("abc"), max_size=30).map("\n".join)


@given(TEXTS, TEXTS)
def test_a_difference_is_one_that_other_tools_understand(before: str, after: str) -> None:
    old, new = lines_of(before), lines_of(after)
    shown = list(unified(before, after))
    assert (shown == []) == (before == after)
    rebuilt, at = [], 0
    for line in shown:
        if line.startswith("@@"):
            start, _, length = line.split()[1].removeprefix("-").partition(",")
            place = int(start) - (length != "0")
            rebuilt += old[at:place]
            at = place
        else:
            if line[0] != "+":
                assert old[at] == line[1:]
                at += 1
            if line[0] != "-":
                rebuilt.append(line[1:])
    assert rebuilt + old[at:] == new


def test_a_difference_looks_like_that_of_diff() -> None:
    old = [f"line {number}" for number in range(30)]
    new = [*old[:5], "five and a half", *old[5:20], *old[21:29], "the end"]
    expected = list(difflib.unified_diff(old, new, lineterm="", n=3))[2:]
    assert list(unified("\n".join(old), "\n".join(new))) == expected


def test_texts_that_differ_in_their_line_ends_only() -> None:
    assert list(unified("a\r\nb", "a\nb\n")) == ["(only line ends differ)"]
