"""Words and tokens of one line: how alike two lines are, and how two edits of one line become one.

Which lines belong together is merge.py's matter.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, zip_longest
from typing import Final

from tidenote.core.diff import Edit, Hunk, Steps, diff, meet

_SINGLE: Final = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
"""Thai, Kana, Han and Hangul are written without spaces: each character counts as a word."""

_MARKS: Final = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0711\u0730-\u074a\u0900-\u0903\u093a-\u094f\u0951-\u0957"
    "\u0962\u0963\u0981-\u0983\u09bc\u09be-\u09cd\u09d7\u0a01-\u0a03\u0a3c-\u0a51\u0a81-\u0a83\u0abc-\u0acd"
    "\u0b01-\u0b03\u0b3c-\u0b57\u0b82\u0bbe-\u0bcd\u0bd7\u0c00-\u0c04\u0c3c-\u0c56\u0c81-\u0c83\u0cbc-\u0cd6"
    "\u0d00-\u0d03\u0d3b-\u0d4d\u0d57\u0d81-\u0d83\u0dca-\u0ddf\u0eb1-\u0ebc\u0ec8-\u0ece\u0f71-\u0f84\u102b-\u103e"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u200c\u200d\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f"
)
"""What belongs to the character before it: accents, vowel signs, joiners (the regular expressions know no \\p{M})."""

_WORD_PATTERN: Final = rf"[{_SINGLE}]|(?:(?![{_SINGLE}])\w)(?:(?![{_SINGLE}])[\w{_MARKS}])*"
_SYMBOL_PATTERN: Final = rf"[\U0001f1e6-\U0001f1ff]{{2}}|[^\w\s](?:\u200d[^\w\s]|[{_MARKS}\U0001f3fb-\U0001f3ff])*"
_WORD: Final = re.compile(_WORD_PATTERN)
_TOKEN: Final = re.compile(rf"{_WORD_PATTERN}|\s+|{_SYMBOL_PATTERN}")

MIN_SIMILARITY: Final = 0.3
"""Below this two lines are not taken for versions of one line."""

MAX_SEAM: Final = 1000
"""How many tokens are looked at where two edits touch."""


def words(text: str) -> list[str]:
    """Return the words of a text: runs of word characters, and single characters of scripts without spaces."""
    return _WORD.findall(text)


def tokens(line: str) -> list[str]:
    """Return the tokens of a line: words, space runs, single symbols. Joined they are the line again."""
    return _TOKEN.findall(line)


def weights(line: str) -> Counter[str]:
    """Return how often a line has each token: what `similarity` compares."""
    return Counter(tokens(line))


def similarity(one: Counter[str], other: Counter[str]) -> float:
    """Return the Dice similarity of two lines' tokens, 0.0 to 1.0; lines that share only spaces have none."""
    small, large = (one, other) if len(one) <= len(other) else (other, one)
    shared = [token for token in small if token in large]
    if all(token.isspace() for token in shared):
        return 0.0
    return 2 * sum(min(small[token], large[token]) for token in shared) / (one.total() + other.total())


def contains(whole: Sequence[str], part: Sequence[str]) -> bool:
    """Say whether a part stands in the whole without a break. No element may contain a line feed."""
    return "\n".join(["", *part, ""]) in "\n".join(["", *whole, ""])


def missing_words(base: Iterable[str], sides: Iterable[Iterable[str]], result: Iterable[str]) -> Counter[str]:
    """Return the word occurrences that a side has more of than the base and that the result lacks.

    Args:
        base: lines of the base.
        sides: lines of each side.
        result: lines of the merge.
    """
    old, new = _count(base), _count(result)
    added: Counter[str] = Counter()
    for side in sides:
        added |= _count(side) - old
    return added - new


def _count(lines: Iterable[str]) -> Counter[str]:
    return Counter(words("\n".join(lines)))


def has_words(whole: Counter[str], part: Counter[str]) -> bool:
    """Say whether a line has all words of another one, as often; both are given as `weights`."""
    return all(whole[token] >= count for token, count in part.items() if _WORD.match(token))


def same_but_space(one: Iterable[str], other: Iterable[str]) -> bool:
    """Say whether lines differ in white space and line breaks at most."""
    return "".join("".join(one).split()) == "".join("".join(other).split())


def merge_line(base: str, first: str, second: str, steps: Steps) -> str | None:
    """Merge two edits of one line; None where a person has to choose, or the steps don't suffice.

    Each side's edits apply where the other left the line alone. Where both insert, the texts follow one another;
    where one deletes, the other's text stays; what two edits have in common where they touch comes once. The result
    has every word that a side added, and no new ones.
    """
    old, sides = tokens(base), (tokens(first), tokens(second))
    edits = [_join_over_spaces(diff(old, side, steps), old) for side in sides]
    if steps.left < 0:
        return None
    result: list[str] = []
    edit: list[str] = []
    at = 0
    for hunk in meet(*edits, touching=False):
        merged = _merge_tokens(hunk, old[hunk.base], sides[0][hunk.first], sides[1][hunk.second])
        if merged is None:
            return None
        seam = _shared(edit, merged) if hunk.base.start == at else 0
        result += old[at : hunk.base.start]
        result += merged[seam:]
        edit = merged
        at = hunk.base.stop
    merged_line = "".join([*result, *old[at:]])
    known = {*old, *sides[0], *sides[1]}
    if any(word not in known for word in words(merged_line)):
        return None
    return None if missing_words([base], [[first], [second]], [merged_line]) else merged_line


def rewrap(base: str, wrapped: str, changed: str, steps: Steps) -> str | None:
    """Return a changed text with the white space of a version that differs from the base in nothing else.

    White space that the change touched stays as it is. None if words would touch, or the steps don't suffice.
    """
    (old_spaces, old), (spaces, texts), (new_spaces, new) = map(_apart, (base, wrapped, changed))
    edits = diff(old, new, steps)
    if texts != old or steps.left < 0:
        return None
    for place, old_place in _partners(edits, len(new)):
        if new_spaces[place] == old_spaces[old_place]:
            new_spaces[place] = spaces[old_place]
    result = "".join(chain.from_iterable(zip_longest(new_spaces, new, fillvalue="")))
    return result if {*words(result)} <= {*old, *new} else None


def _apart(text: str) -> tuple[list[str], list[str]]:
    """Return what stands before each token that is no white space, and after the last one; and these tokens."""
    spaces, texts = [""], []
    for token in tokens(text):
        if token.isspace():
            spaces[-1] = token
        else:
            texts.append(token)
            spaces.append("")
    return spaces, texts


def _partners(edits: list[Edit], size: int) -> Iterator[tuple[int, int]]:
    """Return which places, before an element or at the end, are the same in a new and an old sequence."""
    at = old_at = 0
    for edit in edits:
        one_by_one = edit.end - edit.start == edit.old_end - edit.old_start
        yield from zip(
            range(at, edit.end if one_by_one else min(edit.start + 1, edit.end)), count(old_at), strict=False
        )
        at, old_at = edit.end, edit.old_end
    yield from zip(range(at, size + 1), count(old_at), strict=False)


def _merge_tokens(hunk: Hunk, base: list[str], first: list[str], second: list[str]) -> list[str] | None:
    """Merge one hunk of a line; None if both sides put something else in the same place."""
    if not hunk.by_second or first == second:
        return first
    if not hunk.by_first:
        return second
    if not base:
        return _both_inserted(first, second)
    if same_but_space(base, second):
        return first
    if same_but_space(base, first):
        return second
    if not first or not second:
        return first or second
    return None


def _shared(before: list[str], after: list[str]) -> int:
    """Return how many tokens, with a word among them, end one edit and begin the next."""
    sizes = range(min(len(before), len(after), MAX_SEAM), 0, -1)
    return next((size for size in sizes if before[-size:] == after[:size] and words("".join(after[:size]))), 0)


def _both_inserted(first: list[str], second: list[str]) -> list[str]:
    if contains(first, second):
        return first
    if contains(second, first):
        return second
    touch = words(first[-1] + second[0]) != words(first[-1]) + words(second[0])
    return [*first, " ", *second] if touch else [*first, *second]


def _join_over_spaces(edits: list[Edit], old: list[str]) -> list[Edit]:
    """Make one edit of two that only white space separates: the words around it were replaced as one."""
    joined: list[Edit] = []
    for edit in edits:
        before = joined[-1] if joined else None
        if before and edit.old_start - before.old_end == 1 and old[before.old_end].isspace():
            joined[-1] = Edit(before.old_start, edit.old_end, before.start, edit.end)
        else:
            joined.append(edit)
    return joined
