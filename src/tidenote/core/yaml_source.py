"""YAML read for its source: which lines are a key's, which are an item's, what each means.

The parser only says where things stand. No object is ever constructed, an alias stays an alias (so nothing grows), and
size and depth are bounded. What is made of the slices is frontmatter.py's matter.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

import yaml

MAX_CHARACTERS: Final = 16 * 1024
"""Longer YAML is not read: the parser needs some milliseconds a KiB."""

MAX_DEPTH: Final = 24
"""Deeper nesting is not read."""

Meaning = tuple[object, ...]
"""What a node says however it is written: tag, and value, items or pairs."""

NOTHING: Final[Meaning] = ("tag:yaml.org,2002:null", "")
MAP: Final = "tag:yaml.org,2002:map"
LIST: Final = "tag:yaml.org,2002:seq"

LOOSE: Final = "loose"
"""What stands before the name in the key of an entry that `read_loosely` made."""

_ITEM: Final = re.compile(r" *- +")
_KEY_LINE: Final = re.compile(r"([\w-]+):")


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a list."""

    meaning: Meaning
    source: str
    """As its list has it: in a block its lines with the comments before them, else the bare text."""
    bare: str | None
    """The text of a scalar on one line; None for anything else."""


@dataclass(frozen=True, slots=True)
class Items:
    """A list, or nothing where a list may come."""

    items: tuple[Item, ...] = ()
    style: str = ""
    """How an item begins: `[` in a flow, an indented dash in a block, empty for nothing."""
    before: str = ""
    between: str = ""
    after: str = ""

    def render(self, sources: Sequence[str]) -> list[str]:
        """Return the lines of an entry with other items; with its own sources they are the same again."""
        text = self.before + self.between.join(sources) + self.after
        return text.removesuffix("\n").split("\n")


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a block mapping, with its value."""

    key: Meaning
    lead: list[str]
    """Blank lines and comments before it."""
    lines: list[str]
    meaning: Meaning
    block: Block | None
    """The value's own entries, if it is a block mapping."""
    items: Items | None
    """The value's items, if it is a list or nothing."""

    @property
    def source(self) -> list[str]:
        """All its lines."""
        return [*self.lead, *self.lines]


@dataclass(frozen=True, slots=True)
class Block:
    """A block mapping whose keys each start a line. The entries' sources and `tail` are its lines."""

    entries: tuple[Entry, ...]
    column: int = 0
    tail: tuple[str, ...] = ()
    """Blank lines and comments after the last entry."""

    @property
    def meaning(self) -> Meaning:
        """What the mapping says."""
        return mapping((entry.key, entry.meaning) for entry in self.entries)

    @property
    def keyed(self) -> bool:
        """Whether it has an entry with a key."""
        return any(entry.key != (LOOSE, "") for entry in self.entries)

    def by_key(self) -> dict[Meaning, Entry]:
        """Return the entries under their keys."""
        return {entry.key: entry for entry in self.entries}


def mapping(pairs: Iterable[tuple[Meaning, Meaning]]) -> Meaning:
    """Return what a mapping says."""
    return (MAP, *pairs)


def read_block(lines: Sequence[str]) -> Block | None:
    """Read lines of YAML that are one block mapping; None if they are anything else.

    Each key must be a scalar, stand once, and start a line. No keys at all is a mapping, too.
    """
    text = "\n".join([*lines, ""])
    if len(text) > MAX_CHARACTERS or any(line.startswith("...") for line in lines):  # the end of a document
        return None
    try:
        node = _Loader(text).get_single_node()
    except (yaml.YAMLError, ValueError, OverflowError):  # ValueError: an escape beyond the last code point
        return None
    source = _Source(text)
    if node is None:
        return Block((), tail=tuple(lines)) if all(map(_is_trivia, source.lines)) else None
    return _block(source, node, 0, len(lines))


def read_loosely(lines: Sequence[str]) -> Block | None:
    """Read lines that need not be YAML: each that starts with a word and a colon begins an entry, down to the next.

    What stands before the first has an empty key. None if a key stands twice.
    """
    starts = [(at, found[1]) for at, line in enumerate(lines) if (found := _KEY_LINE.match(line))]
    if not starts or starts[0][0] > 0:
        starts.insert(0, (0, ""))
    if len({key for _, key in starts}) < len(starts):
        return None
    stops = [at for at, _ in starts[1:]] + [len(lines)]
    entries = [
        _loose_entry(key, list(lines[start:stop])) for (start, key), stop in zip(starts, stops, strict=True) if stop
    ]
    return Block(tuple(entries))


def _loose_entry(key: str, lines: list[str]) -> Entry:
    return Entry((LOOSE, key), [], lines, (LOOSE, *lines), None, None)


class _Loader(yaml.SafeLoader):
    """Composes nodes with aliases left as they are, down to a bounded depth."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            return self._alias()
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.YAMLError("too deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _alias(self) -> yaml.Node:
        event: yaml.AliasEvent = self.get_event()  # type: ignore[no-untyped-call]
        if event.anchor not in self.anchors:
            raise yaml.YAMLError("an alias of nothing")
        return yaml.ScalarNode("!alias", event.anchor, event.start_mark, event.end_mark)  # type: ignore[arg-type]


class _Source:
    """A text with its lines, split at line feeds only, and where each begins."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.split("\n")[:-1]
        self.starts = list(accumulate((len(line) + 1 for line in self.lines), initial=0))

    def line_at(self, index: int) -> int:
        """Return the line in which a character stands."""
        return bisect_right(self.starts, index) - 1

    def before(self, index: int) -> str:
        """Return what stands before a character on its line."""
        return self.text[self.starts[self.line_at(index)] : index]


def meaning_of(node: yaml.Node) -> Meaning:
    """Return what a node says."""
    if isinstance(node, yaml.MappingNode):
        pairs = [(meaning_of(key), meaning_of(value)) for key, value in node.value]
        return mapping(pairs) if node.tag == MAP else (node.tag, *pairs)
    if isinstance(node, yaml.SequenceNode):
        return (node.tag, *map(meaning_of, node.value))
    return (node.tag, node.value)


def _block(source: _Source, node: yaml.Node, start: int, stop: int) -> Block | None:
    """Read a block mapping that has the lines `start:stop` to itself."""
    if not isinstance(node, yaml.MappingNode) or node.flow_style or node.tag != MAP:
        return None
    keys = [key for key, _ in node.value]
    if not all(_is_plain_key(source, key) for key in keys) or len({key.value for key in keys}) < len(keys):
        return None
    slices = _slices(source, [(key.start_mark.index, _end(value)) for key, value in node.value], start, stop)
    if slices is None:
        return None
    entries = [
        _entry(source, meaning_of(key), value, *place) for (key, value), place in zip(node.value, slices, strict=True)
    ]
    column = len(source.before(keys[0].start_mark.index))
    return Block(tuple(entries), column, tail=tuple(source.lines[slices[-1][2] : stop]))


def _is_plain_key(source: _Source, key: yaml.Node) -> bool:
    return (
        isinstance(key, yaml.ScalarNode) and key.tag != "!alias" and not source.before(key.start_mark.index).strip(" ")
    )


def _end(node: yaml.Node) -> int:
    """Return where a node's last character is; a block collection's own mark is beyond the comments after it."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(node, yaml.MappingNode) else last
    return max(node.start_mark.index, node.end_mark.index - 1)


def _slices(source: _Source, spans: list[tuple[int, int]], start: int, stop: int) -> list[tuple[int, int, int]] | None:
    """Cut the lines `start:stop` at the elements of a collection: for each, its lead, its first line, its end.

    Blank lines and comments between two elements belong to the second. None if anything else stands before the first.
    """
    firsts = [source.line_at(first) for first, _ in spans]
    lasts = [start - 1, *(source.line_at(last) for _, last in spans)]
    leads = [_lead(source, last, first) for last, first in zip(lasts, [*firsts, stop], strict=True)]
    if leads[0] != start:
        return None
    return list(zip(leads, firsts, leads[1:], strict=False))


def _lead(source: _Source, last: int, first: int) -> int:
    """Return the line from which on only blank lines and comments come before line `first`, after line `last`."""
    while first - 1 > last and _is_trivia(source.lines[first - 1]):
        first -= 1
    return first


def _is_trivia(line: str) -> bool:
    return not line.strip(" \t") or line.lstrip(" ").startswith("#")


def _entry(source: _Source, key: Meaning, value: yaml.Node, lead: int, first: int, end: int) -> Entry:
    block = None
    if isinstance(value, yaml.MappingNode) and not value.flow_style:
        block = _block(source, value, first + 1, end)
    lines = source.lines
    return Entry(key, lines[lead:first], lines[first:end], meaning_of(value), block, _items(source, value, first, end))


def _items(source: _Source, value: yaml.Node, first: int, end: int) -> Items | None:
    """Read the value of an entry with the lines `first:end` as a list."""
    entry = "\n".join(source.lines[first:end])
    if isinstance(value, yaml.ScalarNode) and meaning_of(value) == NOTHING:
        return Items(before=entry)
    if not isinstance(value, yaml.SequenceNode) or value.tag != LIST:
        return None
    return _flow(source, value, first, entry) if value.flow_style else _dashes(source, value, first, end)


def _flow(source: _Source, value: yaml.SequenceNode, first: int, entry: str) -> Items | None:
    """Read `[a, b]`; None if there are comments in it."""
    offset = source.starts[first]
    spans = [(node.start_mark.index - offset, node.end_mark.index - offset) for node in value.value]
    opened, closed = value.start_mark.index - offset, value.end_mark.index - offset
    opened = entry.index("[", opened) + 1
    start, stop = (spans[0][0], spans[-1][1]) if spans else (opened, closed - 1)
    between = entry[spans[0][1] : spans[1][0]] if len(spans) > 1 else ", "
    items = [
        Item(meaning_of(node), entry[slice(*span)], _bare(source, node))
        for node, span in zip(value.value, spans, strict=True)
    ]
    if any(
        "#" in gap
        for gap in (entry[opened:start], entry[stop:closed], *(entry[one[1] : two[0]] for one, two in pairwise(spans)))
    ):
        return None
    return Items(tuple(items), "[", entry[:start], between, entry[stop:])


def _dashes(source: _Source, value: yaml.SequenceNode, first: int, end: int) -> Items | None:
    """Read the lines of `- a`; None if they are not all of one indentation, or start on the key's line."""
    slices = _slices(source, [(node.start_mark.index, _end(node)) for node in value.value], first + 1, end)
    if slices is None:
        return None
    dashes = [_ITEM.match(source.lines[line]) for _, line, _ in slices]
    styles = {match[0] if match else "" for match in dashes}
    if len(styles) > 1 or "" in styles:
        return None
    items = [
        Item(meaning_of(node), "\n".join(source.lines[lead:stop]), _bare(source, node))
        for node, (lead, _, stop) in zip(value.value, slices, strict=True)
    ]
    return Items(tuple(items), styles.pop(), source.lines[first] + "\n", "\n", "")


def _bare(source: _Source, node: yaml.Node) -> str | None:
    text = source.text[node.start_mark.index : node.end_mark.index]
    return text if isinstance(node, yaml.ScalarNode) and text and "\n" not in text else None
