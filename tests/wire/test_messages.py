from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from core.changes import at, attach, delete, dots, write
from tidenote.core.clock import MAX_TIMESTAMP
from tidenote.core.crdt import CrdtEntry
from tidenote.core.merged import Spot
from tidenote.core.register import join_all
from tidenote.core.version import BlobRef, Change, Dot, Head
from tidenote.errors import CODES, ProtocolError, RefusedChange
from tidenote.wire.messages import (
    MAX_BASE_DOTS,
    MAX_ID_LENGTH,
    ErrorMessage,
    FetchRequest,
    IncomingPush,
    Manifest,
    Rejected,
    SyncAck,
    SyncPush,
    WireDot,
    WireHead,
    WireSpot,
    decode,
    decode_change,
    decode_from_server,
    decode_push,
    encode,
    from_change,
    from_entries,
    from_heads,
    from_spots,
    rejection,
    to_change,
)

PLAIN = {"key": "note:a.md", "value": "text", "timestamp": 5, "device_id": "phone"}
SHA = "ab" * 32
BLOB: dict[str, object] = {"sha256": SHA, "size": 3}
ABSENT = object()


def raw(**fields: object) -> Raw:
    """Return a change as JSON: a plain one, with some fields added, replaced or (`ABSENT`) left out."""
    change: dict[str, object] = {**PLAIN, **fields}
    return Raw(json.dumps({name: value for name, value in change.items() if value is not ABSENT}).encode())


def refusal_of(change: Raw, **settings: Any) -> RefusedChange:
    with pytest.raises(RefusedChange) as refused:
        decode_change(change, **settings)
    assert refused.value.message
    return refused.value


# -- changes: JSON -> program


def test_a_plain_change_is_a_blind_write() -> None:
    assert decode_change(raw()) == Change("note:a.md", Dot(5, "phone"), "text")


@pytest.mark.parametrize(
    ("fields", "change"),
    [
        ({"value": ""}, {"value": ""}),
        ({"value": None}, {"value": None}),
        ({"value": None, "deleted": True}, {"value": None}),
        ({"value": None, "deleted": False}, {"value": None}),
        ({"deleted": False}, {}),
        ({"base": None}, {}),
        ({"base": []}, {"base": frozenset()}),
        (
            {"base": [{"timestamp": 4, "device_id": "b"}, {"timestamp": 3, "device_id": "server.1-x"}]},
            {"base": frozenset([Dot(4, "b"), Dot(3, "server.1-x")])},
        ),
        ({"value": "", "blob": BLOB}, {"value": None, "blob": BlobRef(SHA, 3)}),
        (
            {"value": "", "blob": {**BLOB, "size": 0, "media_type": "image/svg+xml"}},
            {"value": None, "blob": BlobRef(SHA, 0, "image/svg+xml")},
        ),
        ({"value": None, "moved_to": "note:b.md"}, {"value": None, "moved_to": "note:b.md"}),
        ({"modified_at": 0}, {"modified_at": 0}),
        ({"live": True, "conflict": True}, {"live": True, "conflict": True}),
        ({"merged_from": [{"timestamp": 9, "device_id": "b"}]}, {"merged_from": frozenset([Dot(9, "b")])}),
        ({"merged_from": None}, {}),
        ({"device_id": "phone~2"}, {"dot": Dot(5, "phone~2")}),
        ({"timestamp": MAX_TIMESTAMP}, {"dot": Dot(MAX_TIMESTAMP, "phone")}),
        # Unknown fields are ignored, whatever they hold.
        ({"colour": "red", "nested": {"base": [[]]}}, {}),
    ],
)
def test_changes(fields: dict[str, object], change: dict[str, Any]) -> None:
    plain: dict[str, Any] = {"key": "note:a.md", "dot": Dot(5, "phone"), "value": "text"}
    assert decode_change(raw(**fields)) == Change(**{**plain, **change})


NO_INTEGERS = [1.5, 5.0, "9", True, None, [5], {"timestamp": 5}]
NO_TIMESTAMPS = [*NO_INTEGERS, 0, -1, 2**53, 2**63, 2**64, 10**30]
NO_STRINGS = [5, True, 1.5, ["x"], {"x": 1}]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        *[("timestamp", value, "bad_timestamp") for value in NO_TIMESTAMPS],
        *[("key", value, "bad_key") for value in [*NO_STRINGS, None, "", "a.md", "note:../a.md", "note:a.png"]],
        *[("device_id", value, "bad_device") for value in [*NO_STRINGS, None, "", "a b", "server.1-x", "x" * 65]],
        *[("value", value, "bad_value") for value in [*NO_STRINGS, "a\0b"]],
        *[(field, ABSENT, "bad_change") for field in PLAIN],
        *[("base", value, "bad_base") for value in ["x", 5, {}, [5], [[5, "a"]], [{}], [{"timestamp": 1}]]],
        *[("base", [{"timestamp": value, "device_id": "b"}], "bad_base") for value in [*NO_TIMESTAMPS, 5, 6]],
        *[("base", [{"timestamp": 1, "device_id": value}], "bad_base") for value in [*NO_STRINGS, "", "a b"]],
        ("base", [{"timestamp": 1, "device_id": f"d{n}"} for n in range(MAX_BASE_DOTS + 1)], "bad_base"),
        ("merged_from", [{"timestamp": 0, "device_id": "b"}], "bad_base"),
        ("merged_from", "x", "bad_change"),
        *[("deleted", value, "bad_change") for value in ["yes", 1, None]],
        ("deleted", True, "bad_value"),
        ("blob", BLOB, "bad_value"),
        *[("blob", value, "bad_value") for value in ["x", [], {}, {"sha256": SHA}]],
        *[("moved_to", value, "bad_value") for value in [5, ["x"], "note:b.md"]],
        *[("modified_at", value, "bad_change") for value in ["x", 1.5, -1, 2**53]],
        ("live", 1, "bad_change"),
        ("conflict", "no", "bad_change"),
    ],
)
def test_a_field_of_the_wrong_type_or_value(field: str, value: object, code: str) -> None:
    assert refusal_of(raw(**{field: value})).code == code


WRONG_BLOBS: list[dict[str, object]] = [
    {"sha256": SHA.upper()},
    {"sha256": SHA[1:]},
    {"sha256": "../../etc/passwd"},
    {"sha256": SHA + "\n"},
    {"size": -1},
    {"size": 2**53},
    {"size": 1.5},
    {"media_type": "image"},
    {"media_type": "text/html; charset=x\r\nSet-Cookie: a"},
    {"media_type": ""},
]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"value": None, "blob": BLOB}, "bad_value"),
        ({"value": "", "blob": BLOB, "deleted": True}, "bad_value"),
        ({"value": "", "blob": BLOB, "moved_to": "note:b.md"}, "bad_value"),
        *[({"value": "", "blob": {**BLOB, **wrong}}, "bad_value") for wrong in WRONG_BLOBS],
        ({"value": None, "moved_to": "note:../b.md"}, "bad_key"),
        ({"value": None, "moved_to": "note:a.md"}, "bad_value"),
        ({"value": None, "moved_to": ""}, "bad_key"),
        # The first thing that is wrong is the one that is told.
        ({"key": 5, "timestamp": "x", "device_id": 7}, "bad_key"),
        ({"timestamp": "x", "device_id": 7, "base": 1}, "bad_timestamp"),
        ({"value": ABSENT, "timestamp": "x"}, "bad_timestamp"),
    ],
)
def test_fields_that_contradict(fields: dict[str, object], code: str) -> None:
    assert refusal_of(raw(**fields)).code == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b'{"key": "note:a.md", "value": "x", "timestamp": 1e400, "device_id": "a"}', "bad_timestamp"),
        (b'{"key": "note:\xff.md", "value": "x", "timestamp": 1, "device_id": "a"}', "bad_key"),
        (b'{"key": "note:a.md", "value": "\xed\xa0\x80", "timestamp": 1, "device_id": "a"}', "bad_value"),
        (b'{"key": "note:a.md", "value": "\xff", "timestamp": 1, "device_id": "a"}', "bad_value"),
        (b'{"key": "note:a.md", "value": "x", "timestamp": ' + b"1" * 5000 + b', "device_id": "a"}', "bad_timestamp"),
        (b"[]", "bad_change"),
        (b"null", "bad_change"),
        (b"5", "bad_change"),
        (b'"note:a.md"', "bad_change"),
        (b"{}", "bad_change"),
    ],
)
def test_json_that_no_change_is_made_of(text: bytes, code: str) -> None:
    refusal = refusal_of(Raw(text))
    assert refusal.code == code
    encode(rejection(Raw(text), refusal))


def test_surrogates_that_make_a_pair_are_a_character() -> None:
    text = b'{"key": "note:a.md", "value": "\\ud83d\\ude00", "timestamp": 1, "device_id": "a"}'
    assert decode_change(Raw(text)).value == "😀"


@pytest.mark.parametrize(
    ("text", "fits"), [("x" * 10, True), ("x" * 11, False), ("äöü€", True), ("äöü€ ", True), ("äöü€€", False)]
)
def test_a_text_is_measured_in_bytes_of_utf8(text: str, fits: bool) -> None:
    if fits:
        assert decode_change(raw(value=text), max_text_bytes=10).value == text
    else:
        assert refusal_of(raw(value=text), max_text_bytes=10).code == "value_too_large"


def test_a_client_takes_texts_of_any_size() -> None:
    wire = from_change(write("1a", "x" * 2**21))
    assert to_change(wire).value == "x" * 2**21


def test_only_an_offer_may_bring_what_servers_wrote() -> None:
    change = raw(device_id="server.1-x")
    assert refusal_of(change).code == "bad_device"
    assert decode_change(change, allow_server=True).dot == Dot(5, "server.1-x")


# -- changes: program -> JSON


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        (write("5a", "x"), {"value": "x"}),
        (write("5a", "x", base=""), {"value": "x", "base": []}),
        (
            write("5a", "x", base="3b 4a 3a"),
            {
                "value": "x",
                "base": [
                    {"timestamp": 3, "device_id": "a"},
                    {"timestamp": 3, "device_id": "b"},
                    {"timestamp": 4, "device_id": "a"},
                ],
            },
        ),
        (delete("5a"), {"value": None, "deleted": True}),
        (delete("5a", moved_to="note:b.md"), {"value": None, "deleted": True, "moved_to": "note:b.md"}),
        (attach("5a", SHA, key="note:a.md"), {"value": "", "blob": {"sha256": SHA, "size": 1}}),
        (
            write("5a", "x", modified_at=7, live=True, conflict=True, merged_from=dots("2b")),
            {
                "value": "x",
                "modified_at": 7,
                "live": True,
                "conflict": True,
                "merged_from": [{"timestamp": 2, "device_id": "b"}],
            },
        ),
    ],
)
def test_what_a_change_looks_like(change: Change, fields: dict[str, object]) -> None:
    expected = {"key": "note:a.md", "timestamp": 5, "device_id": "a", **fields}
    assert json.loads(encode(from_change(change))) == expected


NAMES = st.text(st.sampled_from("ab.-ä日😀 %~"), min_size=1, max_size=8).filter(lambda name: name not in (".", ".."))
FOLDERS = st.lists(NAMES, max_size=2)
DEVICE_IDS = st.sampled_from(["a", "b", "phone", "phone~2", "server.1-x"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@st.composite
def notes(draw: st.DrawFn) -> str:
    return "note:" + "/".join([*draw(FOLDERS), draw(NAMES) + ".md"])


@st.composite
def valid_changes(draw: st.DrawFn) -> Change:
    dot = Dot(draw(st.integers(2, MAX_TIMESTAMP)), draw(DEVICE_IDS))
    seen = st.frozensets(st.builds(Dot, st.integers(1, dot.timestamp - 1), DEVICE_IDS), max_size=3)
    key = draw(notes())
    kind = draw(st.sampled_from(["text", "blob", "deletion", "rename"]))
    media = st.none() | st.sampled_from(["image/png", "application/x-y+z"])
    return Change(
        key,
        dot,
        draw(TEXTS) if kind == "text" else None,
        BlobRef(SHA, draw(st.integers(0, MAX_TIMESTAMP)), draw(media)) if kind == "blob" else None,
        draw(st.none() | seen),
        draw(notes().filter(lambda other: other != key)) if kind == "rename" else None,
        draw(st.none() | st.integers(0, MAX_TIMESTAMP)),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(seen),
    )


@given(valid_changes())
def test_a_change_comes_back_from_json_as_it_was(change: Change) -> None:
    text = encode(from_change(change))
    assert decode_change(Raw(text), allow_server=True) == change
    assert decode_change(Raw(json.dumps(json.loads(text)).encode()), allow_server=True) == change
    assert to_change(from_change(change), allow_server=True) == change


@given(st.lists(valid_changes(), max_size=3), st.integers(0, MAX_TIMESTAMP))
def test_messages_come_back_as_they_were(changes: list[Change], cursor: int) -> None:
    wire = [from_change(change) for change in changes]
    push = decode_push(encode(SyncPush(wire, cursor, id=3, epoch="1-x", offer="0-y")))
    assert push is not None
    assert (push.last_ack, push.id, push.epoch, push.offer) == (cursor, 3, "1-x", "0-y")
    assert [decode_change(found, allow_server=True) for found in push.changes] == changes
    ack = SyncAck(cursor, wire, "1-x", "id", 4, [Rejected("k", 1, "d", "bad_key", "why", 9)])
    assert decode_from_server(encode(ack)) == ack


def test_all_siblings_of_a_key_stand_next_to_each_other() -> None:
    first = join_all([write("1a", base=""), write("1b", base="")])
    second = join_all([write("2c", key="note:b.md")])
    wire = from_entries([CrdtEntry("note:a.md", first), CrdtEntry("note:b.md", second)])
    assert [(change.key, change.device_id) for change in wire] == [
        ("note:a.md", "a"),
        ("note:a.md", "b"),
        ("note:b.md", "c"),
    ]


# -- what a push looks like


def test_mandatory_fields_are_there_even_if_they_are_empty() -> None:
    assert json.loads(encode(SyncPush([], 0))) == {"type": "sync_push", "changes": [], "last_ack": 0}
    assert json.loads(encode(SyncAck(0, []))) == {"type": "sync_ack", "changes": [], "ack_timestamp": 0}
    assert json.loads(encode(ErrorMessage("bad_key", ""))) == {"type": "error", "code": "bad_key", "message": ""}


def test_a_client_that_knows_only_the_mandatory_fields() -> None:
    push = decode_push(json.dumps({"type": "sync_push", "changes": [PLAIN], "last_ack": 0}))
    assert push is not None
    assert (push.last_ack, push.id, push.epoch, push.offer) == (0, None, None, None)
    assert [decode_change(found) for found in push.changes] == [Change("note:a.md", Dot(5, "phone"), "text")]


def test_one_bad_change_spoils_no_other() -> None:
    push = decode_push(json.dumps({"type": "sync_push", "changes": [PLAIN, 5, None, {"key": 1}], "last_ack": 0}))
    assert push is not None
    assert len(push.changes) == 4
    assert decode_change(push.changes[0]).value == "text"


@pytest.mark.parametrize("push_id", [0, 7, -7, MAX_TIMESTAMP, "", "a-7", "x" * MAX_ID_LENGTH])
def test_ids(push_id: int | str) -> None:
    push = decode_push(json.dumps({"type": "sync_push", "changes": [], "last_ack": 0, "id": push_id}))
    assert push is not None
    assert push.id == push_id


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "sync_ack", "ack_timestamp": 1, "changes": []}',
        '{"type": "cursor_moved"}',
        '{"type": "", "changes": 5}',
        '{"type": "SYNC_PUSH"}',
    ],
)
def test_unknown_types_are_ignored(text: str) -> None:
    assert decode_push(text) is None
    assert decode_push(text.encode()) is None


EMPTY_PUSH = {"type": "sync_push", "changes": [], "last_ack": 0}


@pytest.mark.parametrize(
    "fields",
    [
        *[{"last_ack": value} for value in [*NO_INTEGERS, -1, 2**53, 2**64, ABSENT]],
        *[{"changes": value} for value in [None, 5, "x", {}, ABSENT]],
        *[{"type": value} for value in [None, 5, ["sync_push"], ABSENT]],
        *[{"id": value} for value in [1.5, True, [1], {}, 2**53, -(2**53), 10**30, "x" * (MAX_ID_LENGTH + 1)]],
        *[{"epoch": value} for value in [5, ["1-x"], True]],
        *[{"offer": value} for value in [5, ["1-x"], True]],
    ],
)
def test_a_push_of_the_wrong_shape(fields: dict[str, object]) -> None:
    message = {name: value for name, value in {**EMPTY_PUSH, **fields}.items() if value is not ABSENT}
    with pytest.raises(ProtocolError) as error:
        decode_push(json.dumps(message))
    assert error.value.code == "bad_message"


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 5000, "1E0", "0.0"])
def test_a_cursor_that_no_integer_is_made_of(number: str) -> None:
    with pytest.raises(ProtocolError):
        decode_push('{"type": "sync_push", "changes": [], "last_ack": ' + number + "}")


DEEP = b"[" * 200_000
MALFORMED = [
    b"",
    b" ",
    b"{",
    b"null",
    b"5",
    b"[]",
    b'"sync_push"',
    b'{"type": "sync_push", "changes": [], "last_ack": NaN}',
    b'{"type": "sync_push", "changes": [], "last_ack": Infinity}',
    b'{"type": "sync_push", "changes": [], "last_ack": 01}',
    b'{"type": "sync_push", "changes": [], "last_ack": 0,}',
    b'{"type": "sync_push", "changes": [], "last_ack": 0} {}',
    b'{"type": "sync_push", "changes": [{]}, "last_ack": 0}',
    b'{"type": "sync_push", "changes": [NaN], "last_ack": 0}',
    b"{'type': 'sync_push', 'changes': [], 'last_ack': 0}",
    # Half a character: a client must not send what is no text (`String.prototype.toWellFormed`).
    b'{"type": "sync_push", "changes": [{"value": "\\ud83d, and on"}], "last_ack": 0}',
    b'{"type": "sync_pus\xff", "changes": [], "last_ack": 0}',
    b'\xef\xbb\xbf{"type": "sync_push", "changes": [], "last_ack": 0}',
    '{"type": "sync_push", "changes": [], "last_ack": 0}'.encode("utf-16"),
    DEEP,
    b'{"x": ' + DEEP,
    b'{"type": "sync_push", "last_ack": 0, "changes": [' + DEEP,
    b'{"type": "sync_push", "last_ack": 0, "changes": ' + DEEP + b"]" * 200_000 + b"}",
    '{"type": "sync_push", "changes": [], "last_ack": 0, "id": "\ud800"}',
    "\ud800",
]


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: repr(text[:60]))
def test_what_is_not_json(text: bytes | str) -> None:
    for decoder in (decode_push, decode_from_server, lambda data: decode(data, Manifest)):
        with pytest.raises(ProtocolError) as error:
            decoder(text)
        assert error.value.code == "bad_message"


def test_one_change_nested_too_deeply_for_its_decoder() -> None:
    """What could be skipped when the message was read, but not again inside the change."""
    refusal = refusal_of(Raw(b'{"key": ' + DEEP + b"]" * 200_000 + b"}"))
    assert refusal.code == "bad_change"


def test_a_manifest_tells_heads_in_the_order_of_dots() -> None:
    heads = from_heads({Dot(2, "b"): Head("ff", conflict=True), Dot(2, "a"): Head(None)})
    told = b'[{"timestamp":2,"device_id":"a"},{"timestamp":2,"device_id":"b","conflict":true,"sha256":"ff"}]'
    assert encode(heads) == told
    assert decode(told, list[WireHead]) == heads


# -- what the server says


def test_what_the_server_says() -> None:
    assert decode_from_server('{"type": "sync_ack", "ack_timestamp": 4, "changes": []}') == SyncAck(4, [])
    assert decode_from_server('{"type": "error", "code": "new", "message": "m", "x": 1}') == ErrorMessage("new", "m")
    assert decode_from_server('{"type": "weather", "ack_timestamp": "x"}') is None
    assert decode_from_server(encode(SyncPush([], 0))) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "sync_ack", "changes": []}',
        '{"type": "sync_ack", "ack_timestamp": 4}',
        '{"type": "sync_ack", "ack_timestamp": "4", "changes": []}',
        '{"type": "sync_ack", "ack_timestamp": 4, "changes": [{"key": 1}]}',
        '{"type": "sync_ack", "ack_timestamp": 4, "changes": [], "rejected": [{}]}',
        '{"type": "error"}',
    ],
)
def test_a_server_that_makes_no_sense(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode_from_server(text)


def test_bodies_of_rest_requests() -> None:
    assert decode('{"keys": ["note:a.md"]}', FetchRequest) == FetchRequest(["note:a.md"])
    with pytest.raises(ProtocolError, match="FetchRequest"):
        decode('{"keys": 5}', FetchRequest)


# -- rejections of what could not be read


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (bytes(raw()), ("note:a.md", 5, "phone")),
        (bytes(raw(timestamp="9")), ("note:a.md", "9", "phone")),
        (bytes(raw(timestamp=1.5, key=True)), (True, 1.5, "phone")),
        (bytes(raw(timestamp=10**30)), ("note:a.md", 10**30, "phone")),
        (bytes(raw(timestamp=[1], key={}, device_id=None)), (None, None, None)),
        (bytes(raw(key="x" * 2001)), (None, 5, "phone")),
        (b'{"key": "\xff", "timestamp": 1e400, "device_id": "a"}', (None, None, "a")),
        (b"{}", (None, None, None)),
        (b"[5]", (None, None, None)),
    ],
)
def test_a_rejection_names_what_could_be_read(text: bytes, named: tuple[object, ...]) -> None:
    rejected = rejection(Raw(text), RefusedChange("why", "bad_key"))
    assert (rejected.key, rejected.timestamp, rejected.device_id) == named
    assert json.loads(encode(rejected)) == {
        "key": named[0],
        "timestamp": named[1],
        "device_id": named[2],
        "code": "bad_key",
        "message": "why",
    }


# -- anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "type",
    "changes",
    "last_ack",
    "id",
    "epoch",
    "offer",
    "ack_timestamp",
    "rejected",
    "behind",
    "code",
    "message",
]
CHANGE_FIELDS = [*PLAIN, "base", "deleted", "moved_to", "blob", "modified_at", "live", "conflict", "merged_from"]


@st.composite
def nearly_messages(draw: st.DrawFn) -> str:
    """Draw JSON of about the right shape, with some of it replaced by anything."""
    change = {**PLAIN, **draw(st.dictionaries(st.sampled_from(CHANGE_FIELDS), JSON, max_size=4))}
    message: dict[str, Any] = {"type": draw(st.sampled_from(["sync_push", "sync_ack", "error"])), "last_ack": 0}
    message |= {"ack_timestamp": 0, "changes": [PLAIN, change]}
    message |= draw(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=2))
    return json.dumps(message, ensure_ascii=draw(st.booleans()))


@st.composite
def broken_messages(draw: st.DrawFn) -> bytes:
    """Draw a good message with some bytes cut out or replaced."""
    good = encode(SyncPush([from_change(draw(valid_changes()))], 5, id=1))
    start = draw(st.integers(0, len(good)))
    end = draw(st.integers(start, min(len(good), start + 8)))
    return good[:start] + draw(st.binary(max_size=4)) + good[end:]


@given(st.binary() | st.text() | nearly_messages() | broken_messages())
def test_whatever_comes_raises_only_what_is_documented(data: bytes | str) -> None:
    for push in filter(None, [attempt(decode_push, data)]):
        assert isinstance(push, IncomingPush)
        for found in push.changes:
            try:
                change = decode_change(found)
            except RefusedChange as refusal:
                answer = encode(rejection(found, refusal))
                msgspec.json.decode(answer, type=Rejected)
            else:
                assert decode_change(Raw(encode(from_change(change)))) == change
    attempt(decode_from_server, data)
    attempt(lambda body: decode(body, FetchRequest), data)


def attempt(decoder: Any, data: bytes | str) -> object:
    try:
        return decoder(data)
    except ProtocolError as error:
        return error.code not in CODES or None


def test_dots_are_what_they_say() -> None:
    assert WireDot(*at("5a")) == WireDot(5, "a")


def test_places_of_a_merge_have_the_same_names_in_json() -> None:
    spot = Spot(1, 2, "both_changed", "was", "one", "other")
    assert from_spots([spot]) == [WireSpot(1, 2, "both_changed", "was", "one", "other")]
