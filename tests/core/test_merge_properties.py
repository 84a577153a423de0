"""Invariants of docs/merge.md on made-up texts: rewritten notes of a few kinds of lines, and any text at all."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from laws import law
from tidenote.core.frontmatter import front_size
from tidenote.core.merge import merge_text
from tidenote.core.merged import Merged
from tidenote.core.words import words

LINES = """\
# Day
## Plans

- [ ] buy milk
- [x] buy oat milk
- apple
- cherry
  - nested
1. one
| name | age |
|------|-----|
| Ann | 31 |
```
{
}
the quick brown fox jumps
the slow brown fox jumps over
a [link](http://x.y/z) and **bold** words
오늘은 날씨가 좋다
👩\u200d👧 family 🇩🇪
cafe\u0301 naïve
tab\there
x
---
title: a
tags: [a, b]
tags: [b, c]
modified: 2026-01-02
---""".split("\n")

TOKENS = ["milk", "fox", " ", ",", "(", ")", "- ", "new", "|", "날", "ab", "[x]", "\u0301", "👍", "\u200d", "\r", "_"]

lines = st.sampled_from(LINES)
notes = st.lists(lines, max_size=14)


@st.composite
def edited(draw: st.DrawFn, base: list[str]) -> list[str]:
    """Draw a few edits of a note: lines dropped, inserted, moved, and tokens put into them or taken away."""
    result = list(base)
    for kind in draw(st.lists(st.sampled_from("drop insert move put cut".split()), max_size=5)):
        at = draw(st.integers(0, len(result)))
        if kind == "insert" or at == len(result):
            result[at:at] = draw(st.lists(lines, min_size=1, max_size=3))
        elif kind == "drop":
            del result[at : at + draw(st.integers(1, 3))]
        elif kind == "move":
            result.insert(draw(st.integers(0, len(result) - 1)), result.pop(at))
        else:
            column = draw(st.integers(0, len(result[at])))
            token = draw(st.sampled_from(TOKENS)) if kind == "put" else ""
            result[at] = result[at][:column] + token + result[at][column + (kind == "cut") * 4 :]
    return result


@st.composite
def triples(draw: st.DrawFn) -> tuple[str, str, str]:
    """Draw a base and two edits of it, each with its own line ends, byte-order mark and last line."""
    base = draw(notes)
    return draw(dressed(base)), draw(dressed(draw(edited(base)))), draw(dressed(draw(edited(base))))


@st.composite
def dressed(draw: st.DrawFn, note: list[str]) -> str:
    text = draw(st.sampled_from(["\n", "\n", "\n", "\r\n"])).join([*note, *draw(st.sampled_from([[""], []]))])
    return draw(st.sampled_from(["", "", "", "\ufeff"])) + text


anything = st.tuples(st.text(), st.text(), st.text())
scraps = st.lists(st.sampled_from(["---\n", "a: ", "\n", "\r", "x", " ", "[", "- ", "b\n", "#"]), max_size=12).map(
    "".join
)


def front_of(text: str) -> str:
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    return "\n".join(lines[: front_size(lines)])


def keys_of(front: str) -> list[str]:
    return re.findall(r"^([\w-]+):", front, re.MULTILINE)


def repeats_a_key(text: str) -> bool:
    keys = keys_of(front_of(text))
    return len(set(keys)) < len(keys)


def counted(text: str, *, without_front: bool) -> Counter[str]:
    """Count the words of a text, or of what follows its front matter."""
    return Counter(words(text.removeprefix("\ufeff").replace("\r\n", "\n")[len(front_of(text)) * without_front :]))


def check(base: str, first: str, second: str) -> Merged:
    """Merge, and check all that holds for every merge."""
    merged = merge_text(base, first, second)
    assert merged == merge_text(base, first, second)
    texts = (base, first, second)
    assert set(words(merged.text)) <= {word for text in texts for word in words(text)}
    apart = all(map(front_of, (*texts, merged.text)))
    old, result, mine, yours = (counted(text, without_front=apart) for text in (base, merged.text, first, second))
    assert not ((mine - old) | (yours - old)) - result
    assert front_of(merged.text) or not all(map(front_of, texts))
    assert not repeats_a_key(merged.text) or any(map(repeats_a_key, texts))
    end = 0
    for part in merged.parts:
        assert part.start == end < part.end
        end = part.end
    assert end == merged.text.count("\n") + 1
    end = 0
    for spot in merged.spots:
        assert end <= spot.start < spot.end <= merged.text.count("\n") + 1
        end = spot.end
    return merged


@law()
@given(triples())
def test_edits_of_a_note(texts: tuple[str, str, str]) -> None:
    check(*texts)


@law()
@given(anything | st.tuples(scraps, scraps, scraps))
def test_any_texts(texts: tuple[str, str, str]) -> None:
    check(*texts)


fronts = st.lists(
    st.sampled_from(
        [
            *["a: 1", "a: 2", "a: b: c", "b: [x]", "b: [y, z]", "b:\n- x", "c: [", "- d", "# e", "", "word", "..."],
            *["d: |\n  one two\n  three", "modified: 2026-01-02", "modified: 2026-03-01", "f: 'x", "g: &i j", "h: *i"],
        ]
    ),
    max_size=5,
).map("\n".join)
rules = st.sampled_from(["---", "---", "---", "---", "--- ", "---\r", "", "--"])


@st.composite
def fronted(draw: st.DrawFn) -> tuple[str, str, str]:
    """Draw a base and two edits of it that each have front matter, broken here and there."""
    texts = []
    for text in draw(triples()):
        opening, closing, front = draw(rules), draw(rules), draw(fronts)
        texts.append(draw(st.sampled_from([f"{opening}\n{front}\n{closing}\n{text}"] * 4 + [text])))
    return texts[0], texts[1], texts[2]


@law()
@given(fronted())
@example(("---\n\n---\n---\n", "---\n\n---\nmilk---\n", "---\n\n\n---\r\r\n# Day\r\n"))
def test_texts_with_front_matter(texts: tuple[str, str, str]) -> None:
    check(*texts)


@law()
@given(triples() | fronted())
def test_identities(texts: tuple[str, str, str]) -> None:
    base, side, _ = texts
    assert merge_text(base, side, side).text == side
    assert merge_text(base, base, side).text == side
    assert merge_text(base, side, base).text == side


@law()
@given(notes, notes, st.data())
def test_edits_of_two_halves_apply_exactly(upper: list[str], lower: list[str], data: st.DataObject) -> None:
    middle = ["the one middle line", "that nobody touched"]
    first = data.draw(edited(upper))
    second = data.draw(edited(lower))
    top = ["a note that starts with text"]  # so that no rule makes the edits of one half front matter
    expected = "\n".join([*top, *first, *middle, *second])
    base = "\n".join([*top, *upper, *middle, *lower])
    merged = merge_text(base, "\n".join([*top, *first, *middle, *lower]), "\n".join([*top, *upper, *middle, *second]))
    assert merged.text == expected
    assert merged.spots == ()


@law()
@given(triples(), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\ufeff"]), st.sampled_from(["", "\n"]))
def test_what_all_three_agree_on_is_kept(texts: tuple[str, str, str], newline: str, mark: str, final: str) -> None:
    plain = [text.removeprefix("\ufeff").replace("\r", "").rstrip("\n") + "\nlast" + final for text in texts]
    result = merge_text(*(mark + text.replace("\n", newline) for text in plain)).text
    assert result.startswith(mark)
    assert result.endswith(final.replace("\n", newline))
    assert result.count("\n") == result.count(newline)
    assert bool(final) == result.endswith("\n")


@pytest.mark.parametrize("text", ["one\ntwo\n", "---\ntags: [a]\n---\none\n"])
@law()
@given(added=st.lists(lines, min_size=1, max_size=4))
def test_what_was_merged_is_not_merged_twice(text: str, added: list[str]) -> None:
    """Merging a side with a result that has it already, over the base they share then, changes nothing."""
    side = text + "\n".join(added)
    merged = merge_text(text, side, text + "other\n").text
    assert merge_text(side, merged, side).text == merged
