"""Merging within bounds."""

from __future__ import annotations

import pytest

from tidenote.core.bounded import BoundedMerge, Texts, digest
from tidenote.core.diff import TooMuchWork
from tidenote.core.merge import merge_text

SMALL: Texts = ("one\n\ntwo\n", "ONE\n\ntwo\n", "one\n\nTWO\n")
LARGE: Texts = ("x\n" * 1000, "x\n" * 999 + "a\n", "b\n" + "x\n" * 999)


def test_little_work_is_done_at_once_and_much_is_told() -> None:
    merge = BoundedMerge(200)
    assert merge(*SMALL) == merge_text(*SMALL)
    for texts in (LARGE, LARGE[::-1]):
        with pytest.raises(TooMuchWork):
            merge(*texts)
    assert merge.missing == LARGE
    assert merge(*SMALL) == merge_text(*SMALL)


def test_the_work_of_all_merges_counts_together() -> None:
    merge = BoundedMerge(50)
    merge(*SMALL)
    with pytest.raises(TooMuchWork):
        merge(*SMALL)


def test_what_was_merged_apart_costs_nothing() -> None:
    merge = BoundedMerge(0, {digest(LARGE): merge_text(*LARGE)})
    assert merge(*LARGE) == merge_text(*LARGE)
    with pytest.raises(TooMuchWork):
        merge(*SMALL)


def test_no_other_texts_have_the_same_name() -> None:
    others: list[Texts] = [SMALL, SMALL[::-1], ("ab", "", "c"), ("a", "b", "c"), ("", "ab", "c")]
    assert len({digest(texts) for texts in others}) == len(others)
