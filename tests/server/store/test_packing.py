from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidenote.server.store.packing import MAX_LINKS, BrokenPack, may_link, pack, unpack


def back(packed: bytes, dictionary: str | None, text: str) -> str:
    """Unpack what should be a text."""
    data = text.encode()
    return unpack(packed, dictionary, len(data), hashlib.sha256(data).hexdigest())


texts = st.text(st.characters(codec="utf-8"))


@given(texts, st.none() | texts)
def test_what_was_packed_unpacks_to_what_it_was(text: str, dictionary: str | None) -> None:
    assert back(pack(text, dictionary), dictionary, text) == text


@given(st.lists(texts, min_size=1, max_size=10))
def test_a_chain_unpacks_from_its_beginning(chain: list[str]) -> None:
    packed = [pack(text, before) for text, before in zip(chain, [None, *chain], strict=False)]
    before = None
    for text, small in zip(chain, packed, strict=True):
        before = back(small, before, text)
        assert before == text


@pytest.mark.parametrize("kib", [1, 10, 1024])
def test_an_edit_takes_about_as_much_as_was_edited(kib: int) -> None:
    numbers = random.Random(kib)
    text = " ".join(f"word{numbers.randrange(10**6)}" for _ in range(kib * 100))
    edited = text[: len(text) // 2] + "a sentence of its own " + text[len(text) // 2 :]
    assert len(pack(edited, text)) < 250
    assert len(pack(text, edited)) < 250


def test_the_wrong_dictionary_is_noticed() -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 9
    packed = pack(text + "End", text)
    for wrong in (None, "short", "x" * 1000):
        with pytest.raises(BrokenPack):
            back(packed, wrong, text + "End")


@given(st.binary(max_size=200), st.none() | texts, texts.filter(bool))
def test_broken_bytes_do_not_become_a_text(packed: bytes, dictionary: str | None, text: str) -> None:
    with pytest.raises(BrokenPack):
        back(packed, dictionary, text)


def test_a_text_unpacks_to_no_more_than_its_size() -> None:
    packed = pack("x" * 10_000_000, None)
    assert len(packed) < 2000
    with pytest.raises(BrokenPack):
        back(packed, None, "x" * 100)


def test_chains_are_bounded_by_links_and_by_bytes() -> None:
    assert may_link(MAX_LINKS - 1, 10_000)
    assert not may_link(MAX_LINKS, 10)
    assert may_link(0, 2**20)
    assert not may_link(3, 2**20)
    assert not may_link(0, 2**22)
