from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tidenote.core.yaml_source import (
    LIST,
    LOOSE,
    MAX_CHARACTERS,
    MAX_DEPTH,
    NOTHING,
    Block,
    Entry,
    read_block,
    read_loosely,
)

TEXT = "tag:yaml.org,2002:str"


def read(text: str) -> Block | None:
    return read_block(text.split("\n"))


def block(text: str) -> Block:
    found = read(text)
    assert found is not None
    return found


def entry(text: str) -> Entry:
    [found] = block(text).entries
    return found


NOTE = """\
# about the note

title: "A: b"   # said twice
tags:
  - one

  # the second
  - two
empty:

# times
modified: 2026-01-02
text: |
  more
   lines

more: {a: [1, 2]}
inner:
  x: 1
  # of y
  y:
    - z
long: words
  go on
# the end
"""


def test_entries_are_slices_of_the_source() -> None:
    found = block(NOTE)
    sources = [line for one in found.entries for line in one.source]
    assert "\n".join([*sources, *found.tail]) == NOTE
    assert [one.key[1] for one in found.entries] == "title tags empty modified text more inner long".split()
    assert found.by_key()[TEXT, "tags"].lines == ["tags:", "  - one", "", "  # the second", "  - two"]
    assert found.by_key()[TEXT, "modified"].lead == ["", "# times"]
    assert found.tail == ("# the end", "")


def test_inner_mappings_are_read_too() -> None:
    inner = block(NOTE).by_key()[TEXT, "inner"].block
    assert inner is not None
    assert inner.column == 2
    assert [one.source for one in inner.entries] == [["  x: 1"], ["  # of y", "  y:", "    - z"]]
    assert inner.meaning == block(NOTE).by_key()[TEXT, "inner"].meaning


def test_the_meaning_is_the_same_however_it_is_written() -> None:
    assert block("a: [x, y]\nb: {c: 'd'}").meaning == block('"a":\n- "x"\n- y\nb:\n  c: d').meaning
    assert block("a: 1").meaning != block("a: '1'").meaning
    assert block("a: !x b").meaning != block("a: b").meaning
    assert block("a: !x {b: c}").meaning != block("a: {b: c}").meaning
    assert block("").meaning == block("# nothing\n").meaning


@pytest.mark.parametrize(
    ("text", "style", "sources"),
    [
        ("t: [a, 'b c', [d]]", "[", ["a", "'b c'", "[d]"]),
        ("t: [a,\n    b]  # two", "[", ["a", "b"]),
        ("t: []", "[", []),
        ("t: &x [a]", "[", ["a"]),
        ("t:\n- a\n- b: 1\n  c: 2", "- ", ["- a", "- b: 1\n  c: 2"]),
        ("t:   # two\n  -  a\n\n  # x\n  -  b", "  -  ", ["  -  a", "\n  # x\n  -  b"]),
        ("t:", "", []),
    ],
)
def test_lists(text: str, style: str, sources: list[str]) -> None:
    items = entry(text).items
    assert items is not None
    assert items.style == style
    assert [item.source for item in items.items] == sources
    assert items.render(sources) == text.split("\n")


def test_bare_items_are_scalars_on_one_line() -> None:
    items = entry("t: [a, 'b c', [d], 'e\n f']").items
    assert items is not None
    assert [item.bare for item in items.items] == ["a", "'b c'", None, None]


@pytest.mark.parametrize(
    "text",
    [
        "t: a",
        "t: ~",
        "t: {a: b}",
        "t: !x [a]",
        "t: [a, # x\n  b]",
        "t:\n  - a\n  -  b",
        "t:\n  -\n    a",
        "t:\n  &x\n  - a",
    ],
)
def test_no_lists(text: str) -> None:
    assert entry(text).items is None


@pytest.mark.parametrize("text", ["a: {b: 1}", "a: !x\n  b: 1", "a: &x\n  ? b\n  : 1", "a:\n  &x\n  b: 1"])
def test_inner_mappings_whose_keys_have_no_lines_of_their_own_are_not_cut(text: str) -> None:
    assert entry(text).block is None


@pytest.mark.parametrize(
    "text",
    [
        "just words",
        "- a",
        "{a: b}",
        "a: 1\na: 2",
        "? a\n: b",
        "? [a]\n: b",
        "a: [",
        "a: b: c",
        "\ta: b",
        "a: *x",
        "&x a: 1\n*x : 2",
        "!x\na: 1",
        "!!map\na: 1",
        "a: 1\n...\nb: 2",
        "a: 1\n...\n# x",
        'a: "\\UFFFFFFFF"',
        "a: \0",
        "a: 1\u2028b: 2",
        "---",
        "a: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        "a: " + "[" * 8000,
        "a: " + "x" * MAX_CHARACTERS,
    ],
)
def test_what_is_no_mapping_of_plain_keys(text: str) -> None:
    assert read(text) is None


def test_aliases_stay_aliases() -> None:
    lines = [f"k{number}: &k{number} [{', '.join([f'*k{number - 1}'] * 9)}]" for number in range(1, 30)]
    found = block("\n".join(["k0: &k0 [x]", *lines]))
    assert found.entries[-1].meaning == (LIST, *[("!alias", "k28")] * 9)
    assert found.entries[-1].items
    assert found.entries[-1].items.items[0].source == "*k28"


def test_nothing_is_what_an_empty_value_says() -> None:
    assert entry("a:").meaning == NOTHING


yamls = st.lists(
    st.sampled_from(
        ["a", "b: ", "c:", "\n", "\n  ", "\n- ", " ", "- ", "# x", "[", "]", "{", "}", ",", "'", '"', "|", ">"]
    )
    | st.sampled_from(
        ["? ", ": ", "&x ", "*x", "!t ", "~", "1", "2026-01-02", "\t", "%", "\\", "---", "...", "ß", "\r"]
    )
    | st.text(max_size=2),
    max_size=20,
).map("".join)


@given(yamls)
def test_any_text_is_read_or_refused(text: str) -> None:
    found = read(text)
    if found is None:
        return
    sources = [line for one in found.entries for line in one.source]
    assert "\n".join([*sources, *found.tail]) == text
    assert isinstance(yaml.compose(text, Loader=yaml.SafeLoader) or yaml.MappingNode("", []), yaml.MappingNode)
    for one in found.entries:
        if one.items:
            assert one.items.render([item.source for item in one.items.items]) == one.lines
        if one.block:
            inner = [line for each in one.block.entries for line in each.source]
            assert [one.lines[0], *inner, *one.block.tail] == one.lines


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("a: b: c\n  d\n\ne-1:", {"a": ["a: b: c", "  d", ""], "e-1": ["e-1:"]}),
        ("# x\na: [", {"": ["# x"], "a": ["a: ["]}),
        ("no key\n'b': 1", {"": ["no key", "'b': 1"]}),
        ("", {"": [""]}),
    ],
)
def test_loose_entries_begin_with_a_word_and_a_colon(text: str, keys: dict[str, list[str]]) -> None:
    found = read_loosely(text.split("\n"))
    assert found is not None
    assert {key[1]: entry.source for key, entry in found.by_key().items()} == keys
    assert all(key[0] == LOOSE for key in found.by_key())
    assert found.keyed == (set(keys) != {""})


def test_no_lines_are_no_loose_entries() -> None:
    assert read_loosely([]) == Block(())
    assert not Block(()).keyed


def test_a_key_that_stands_twice_cannot_be_read_loosely() -> None:
    assert read_loosely(["a: 1", "b: [", "a: 2"]) is None
