from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from core.changes import at, attach, delete, dots, write
from tidenote.core.version import BlobRef, Change, Dot, Record, Version


def test_dots_are_ordered_by_time_then_by_device() -> None:
    assert sorted([at("2a"), at("10a"), at("2b"), at("1c")]) == [at("1c"), at("2a"), at("2b"), at("10a")]


@pytest.mark.parametrize(
    ("change", "deleted"),
    [(write("1a"), False), (write("1a", None), True), (delete("1a"), True), (attach("1a"), False)],
)
def test_a_change_without_text_and_blob_is_a_deletion(change: Change, deleted: bool) -> None:
    assert change.deleted is deleted


def test_an_empty_text_is_no_deletion() -> None:
    change = Change("note:a.md", at("1a"), "")
    assert not change.deleted
    assert change.content_hash == hashlib.sha256(b"").hexdigest()


def test_the_hash_is_that_of_the_bytes_on_disk() -> None:
    assert write("1a", "Größe").content_hash == hashlib.sha256("Größe".encode()).hexdigest()
    assert attach("1a", "ab" * 32).content_hash == "ab" * 32
    assert delete("1a").content_hash is None


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (write("1a", "x"), write("2b", "x", base="1a"), True),
        (write("1a", "x"), write("2b", "y"), False),
        (write("1a", "x"), delete("2b"), False),
        (delete("1a"), delete("2b"), True),
        (delete("1a", moved_to="note:b.md"), delete("2b", moved_to="note:b.md"), True),
        (delete("1a", moved_to="note:b.md"), delete("2b"), False),
        (delete("1a", moved_to="note:b.md"), delete("2b", moved_to="note:c.md"), False),
        (attach("1a", "ab" * 32), attach("2b", "ab" * 32), True),
        (attach("1a", "ab" * 32), attach("2b", "cd" * 32), False),
        (attach("1a"), write("2b", "x"), False),
        (attach("1a"), delete("2b"), False),
    ],
)
def test_same_content(first: Change, second: Change, same: bool) -> None:
    assert first.same_content(second) is same
    assert second.same_content(first) is same


def test_the_hint_of_a_blob_is_no_content() -> None:
    picture = attach("1a")
    assert picture.same_content(replace(picture, blob=BlobRef("0" * 64, 1, "image/png")))


FIRST = write("5a", "x", base="3b")


@pytest.mark.parametrize(
    ("second", "duplicate"),
    [
        (FIRST, True),
        # What is only shown or only hinted may differ.
        (replace(FIRST, modified_at=7, live=True), True),
        (replace(FIRST, key="note:b.md"), False),
        (replace(FIRST, dot=at("6a")), False),
        (replace(FIRST, value="y"), False),
        (replace(FIRST, value=None), False),
        (replace(FIRST, value=None, blob=BlobRef("0" * 64, 1)), False),
        (replace(FIRST, base=None), False),
        (replace(FIRST, base=frozenset()), False),
        (replace(FIRST, merged_from=dots("1c")), False),
    ],
)
def test_a_duplicate_is_the_same_change_sent_again(second: Change, duplicate: bool) -> None:
    record = Record.of(Version(FIRST, 9))
    assert record.is_of(second) is duplicate
    # What stays when the content is gone tells them apart just as well.
    assert replace(record, gone=True).is_of(second) is duplicate


def test_a_blob_of_another_size_is_another_change() -> None:
    picture = attach("1a")
    assert Record.of(Version(picture)).is_of(replace(picture, blob=BlobRef("0" * 64, 1, "image/png")))
    assert not Record.of(Version(picture)).is_of(replace(picture, blob=BlobRef("0" * 64, 2)))


def test_a_version_has_the_dot_of_its_change() -> None:
    assert Version(FIRST, 9).dot == Dot(5, "a")


def test_a_record_is_a_version_without_its_text() -> None:
    record = Record.of(Version(FIRST, 9, 1_760_000_000_000))
    assert (record.key, record.dot, record.base, record.receipt) == (FIRST.key, FIRST.dot, FIRST.base, 9)
    assert record.received_at == 1_760_000_000_000
    assert (record.content_hash, record.size) == (FIRST.content_hash, 1)
    assert Record.of(Version(write("1a", "zü"))).size == 3
    assert Record.of(Version(Change("note:a.md", at("1a"), blob=BlobRef("0" * 64, 2**40)))).size == 2**40


@pytest.mark.parametrize(
    ("change", "gone", "deleted", "kept"),
    [
        (write("1a"), False, False, True),
        (write("1a"), True, False, False),
        (attach("1a"), False, False, True),
        (delete("1a"), False, True, False),
    ],
)
def test_a_record_says_whether_there_is_content(change: Change, gone: bool, deleted: bool, kept: bool) -> None:
    record = replace(Record.of(Version(change)), gone=gone)
    assert (record.deleted, record.kept) == (deleted, kept)
