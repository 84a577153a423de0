"""The client's end of a connection, message by message."""

from __future__ import annotations

import json

import pytest

from core.changes import KEY, delete, write
from tidenote.core.version import Change
from tidenote.errors import ProtocolError
from tidenote.wire.messages import MAX_MESSAGE_BYTES, MAX_MESSAGE_CHANGES, Rejected
from tidenote.wire.session import ClientEvent, ClientSession, Failed, Noticed, Received
from wire.ends import EPOCH, Json, ack, as_json, error, push


def hear(session: ClientSession, message: Json | str) -> list[ClientEvent]:
    """Hand a server's message over and return the events."""
    session.receive(json.dumps(message) if isinstance(message, dict) else message)
    return list(session.events())


def said(session: ClientSession) -> list[Json]:
    return [as_json(message) for message in session.outgoing()]


def opened(*changes: Change, cursor: int = 0, epoch: str | None = EPOCH, offer: str | None = None) -> ClientSession:
    """Return a session whose first push is under way."""
    session = ClientSession(cursor, epoch, offer=offer)
    session.push(changes)
    session.outgoing()
    return session


# -- pushing


def test_the_first_push_may_be_empty() -> None:
    session = ClientSession(0, None)
    assert session.push([]) == 0
    assert said(session) == [push(id=1)]
    assert said(session) == []


def test_a_push_names_the_cursor_and_the_epoch() -> None:
    session = ClientSession(41, EPOCH)
    assert session.push([write("1a", base="")]) == 1
    assert said(session) == [push(write("1a", base=""), last_ack=41, id=1, epoch=EPOCH)]


def test_there_is_one_push_in_flight() -> None:
    session = opened(write("1a"))
    with pytest.raises(AssertionError):
        session.push([])
    hear(session, ack(2, id=1))
    assert session.can_push
    session.push([write("3a")])
    assert said(session) == [push(write("3a"), id=2, epoch=EPOCH)]


def test_an_offer_is_named_in_every_push() -> None:
    session = ClientSession(9, "2-x", offer=EPOCH)
    session.push([write("1b"), write("2server.1-x")])
    assert said(session) == [push(write("1b"), write("2server.1-x"), last_ack=9, id=1, epoch="2-x", offer=EPOCH)]


def test_a_push_holds_as_many_changes_as_a_message() -> None:
    changes = [write(f"{number}a", key=f"note:{number}.md") for number in range(1, MAX_MESSAGE_CHANGES + 3)]
    session = ClientSession(0, EPOCH)
    assert session.push(changes) == MAX_MESSAGE_CHANGES
    assert len(said(session)[0]["changes"]) == MAX_MESSAGE_CHANGES


@pytest.mark.parametrize(
    ("sizes", "fit"),
    [
        ([], 0),
        ([MAX_MESSAGE_BYTES * 2], 1),
        ([MAX_MESSAGE_BYTES * 2, 1], 1),
        ([1, MAX_MESSAGE_BYTES], 1),
        ([MAX_MESSAGE_BYTES // 2 - 500, MAX_MESSAGE_BYTES // 2 - 500, 1000], 2),
    ],
)
def test_a_push_holds_as_many_bytes_as_a_message_but_at_least_one_change(sizes: list[int], fit: int) -> None:
    changes = [write(f"{number}a", "x" * size, key=f"note:{number}.md") for number, size in enumerate(sizes, 1)]
    assert ClientSession(0, EPOCH).push(changes) == fit


def test_bytes_are_those_of_utf8() -> None:
    changes = [write(f"{number}a", "ä" * (MAX_MESSAGE_BYTES // 3), key=f"note:{number}.md") for number in (1, 2)]
    assert ClientSession(0, EPOCH).push(changes) == 1


@pytest.mark.parametrize("before", [MAX_MESSAGE_CHANGES - 2, MAX_MESSAGE_CHANGES - 1, MAX_MESSAGE_CHANGES])
def test_a_rename_is_never_split(before: int) -> None:
    changes = [write(f"{number}a", key=f"note:{number}.md") for number in range(1, before + 1)]
    rename = [write("601a", key="note:new.md", base=""), delete("602a", base="1a", moved_to="note:new.md")]
    fits = ClientSession(0, EPOCH).push([*changes, *rename, write("603a")])
    assert fits == (before if before == MAX_MESSAGE_CHANGES else before + 2)


def test_a_tombstone_alone_may_begin_a_push() -> None:
    changes = [write(f"{number}a", key=f"note:{number}.md") for number in range(1, MAX_MESSAGE_CHANGES + 1)]
    tombstone = delete("602a", base="1a", moved_to="note:elsewhere.md")
    assert ClientSession(0, EPOCH).push([*changes, tombstone]) == MAX_MESSAGE_CHANGES


# -- answers and deliveries


def test_an_answer_says_what_is_durable() -> None:
    session = opened(write("1a"), write("2a", key="note:b.md"))
    assert hear(session, ack(3, id=1)) == [
        Received(EPOCH, 3, {}, accepted=(write("1a"), write("2a", key="note:b.md")), answered=True)
    ]


def test_a_delivery_proves_nothing() -> None:
    session = opened(write("1a"))
    assert hear(session, ack(5, write("4b", base=""))) == [Received(EPOCH, 5, {KEY: (write("4b", base=""),)})]
    assert not session.can_push


@pytest.mark.parametrize("other", [0, 2, "1", -1])
def test_the_answer_to_another_push_proves_nothing(other: int | str) -> None:
    session = opened(write("1a"))
    assert hear(session, ack(5, id=other)) == [Received(EPOCH, 5, {})]


def test_an_answer_that_comes_twice_counts_once() -> None:
    session = opened(write("1a"))
    hear(session, ack(2, id=1))
    assert hear(session, ack(2, id=1)) == [Received(EPOCH, 2, {})]


def test_siblings_come_by_key_and_in_order() -> None:
    session = opened()
    changes = [write("2b", base=""), write("5c", key="note:c.md"), write("1a", base="")]
    assert hear(session, ack(6, *changes, behind=12)) == [
        Received(EPOCH, 6, {KEY: (write("1a", base=""), write("2b", base="")), "note:c.md": (changes[1],)}, behind=12)
    ]


def test_a_page_may_carry_the_answer() -> None:
    session = opened(write("1a"))
    assert hear(session, ack(4, write("3b", key="note:b.md"), id=1, behind=2)) == [
        Received(
            EPOCH, 4, {"note:b.md": (write("3b", key="note:b.md"),)}, behind=2, accepted=(write("1a"),), answered=True
        )
    ]


def rejected(change: Change, code: str = "bad_key", **fields: object) -> Json:
    return {
        "key": change.key,
        "timestamp": change.dot.timestamp,
        "device_id": change.dot.device_id,
        "code": code,
        "message": "why",
        **fields,
    }


def test_what_is_not_named_as_rejected_is_durable() -> None:
    good, bad, far = write("1a"), write("2a", key="note:b.md"), write("3a", key="note:c.md")
    session = opened(good, bad, far)
    refusals = [rejected(bad), rejected(far, "clock_too_far", clock=1)]
    assert hear(session, ack(4, id=1, rejected=refusals)) == [
        Received(
            EPOCH,
            4,
            {},
            accepted=(good,),
            rejected=(
                (bad, Rejected(bad.key, 2, "a", "bad_key", "why")),
                (far, Rejected(far.key, 3, "a", "clock_too_far", "why", 1)),
            ),
            answered=True,
        )
    ]


def test_what_the_answer_had_no_room_for_is_durable_and_to_be_asked_for() -> None:
    good, bad, crowded = write("1a"), write("2a", key="note:b.md"), write("3a", key="note:c.md")
    session = opened(good, bad, crowded)
    refusals = [rejected(bad), rejected(crowded, "no_room")]
    assert hear(session, ack(4, id=1, rejected=refusals)) == [
        Received(
            EPOCH,
            4,
            {},
            accepted=(good, crowded),
            unlisted=frozenset([crowded.key]),
            rejected=((bad, Rejected(bad.key, 2, "a", "bad_key", "why")),),
            answered=True,
        )
    ]


@pytest.mark.parametrize(
    "names",
    [
        {"key": None, "timestamp": None, "device_id": None},
        {"timestamp": 2},
        {"timestamp": "1"},
        {"device_id": "b"},
        {"key": "note:b.md"},
        {"key": ["note:a.md"], "timestamp": {}, "device_id": [1]},
    ],
)
def test_a_rejection_that_names_nothing_that_was_sent(names: Json) -> None:
    session = opened(write("1a"))
    with pytest.raises(ProtocolError) as failure:
        hear(session, ack(2, id=1, rejected=[{**rejected(write("1a")), **names}]))
    assert failure.value.code == "bad_message"
    assert session.events() == []


def test_keys_that_must_not_be_are_skipped_whole_and_named() -> None:
    session = opened()
    changes = [
        {"key": "note:../x.md", "value": "evil", "timestamp": 1, "device_id": "b"},
        {"key": KEY, "value": "good", "timestamp": 1, "device_id": "b"},
        {"key": KEY, "value": "bad", "timestamp": 0, "device_id": "c"},
        {"key": "note:c.md", "value": "c", "timestamp": 3, "device_id": "server.1-x"},
    ]
    assert hear(session, {**ack(4), "changes": changes}) == [
        Received(
            EPOCH,
            4,
            {"note:c.md": (write("3server.1-x", "c", key="note:c.md"),)},
            skipped=(
                ("note:../x.md", "an empty, . or .. name in the path"),
                (KEY, "the timestamp is not an integer in 1..2^53-1"),
            ),
        )
    ]


def test_unknown_messages_and_fields_are_ignored() -> None:
    session = opened()
    assert hear(session, {"type": "weather"}) == []
    assert hear(session, {**ack(4), "colour": "red"}) == [Received(EPOCH, 4, {})]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"type": "sync_ack"}', '{"type": "sync_ack", "ack_timestamp": -1, "changes": []}']
)
def test_a_server_that_makes_no_sense(text: str) -> None:
    with pytest.raises(ProtocolError) as failure:
        hear(opened(), text)
    assert failure.value.code == "bad_message"


def test_a_cursor_out_of_range() -> None:
    with pytest.raises(ProtocolError):
        hear(opened(), ack(2**53))


# -- acknowledging


def test_what_is_durable_here_is_acknowledged() -> None:
    session = opened()
    hear(session, ack(5, write("4b")))
    # Not before it is applied.
    assert said(session) == []
    session.applied(5)
    assert said(session) == [push(last_ack=5, epoch=EPOCH)]
    assert session.cursor == 5


def test_an_acknowledgement_is_sent_only_when_the_cursor_rose() -> None:
    session = opened(cursor=5)
    for cursor in (5, 3, 5):
        session.applied(cursor)
    assert said(session) == []
    assert session.cursor == 5


def test_a_push_acknowledges_as_well() -> None:
    session = opened()
    hear(session, ack(5, id=1))
    session.applied(5)
    session.outgoing()
    hear(session, ack(8))
    session.applied(8)
    session.outgoing()
    session.push([write("9a")])
    assert said(session) == [push(write("9a"), last_ack=8, id=2, epoch=EPOCH)]
    session.applied(8)
    assert said(session) == []


def test_the_first_message_is_a_push() -> None:
    session = ClientSession(0, None)
    session.applied(4)
    assert said(session) == []
    session.push([])
    assert said(session) == [push(last_ack=4, id=1)]


# -- epochs and errors


def test_the_first_contact_tells_the_epoch() -> None:
    session = opened(epoch=None)
    assert hear(session, ack(0, id=1)) == [Received(EPOCH, 0, {}, answered=True)]
    assert session.epoch == EPOCH
    session.applied(0)
    session.push([])
    assert said(session) == [push(id=2, epoch=EPOCH)]


def test_a_server_that_does_not_tell_its_epoch() -> None:
    for epoch in (None, EPOCH):
        session = opened(epoch=epoch)
        message = ack(1)
        del message["epoch"]
        assert hear(session, message) == [Received(epoch, 1, {})]


@pytest.mark.parametrize("epoch", ["1-y", "2-x", "0-x"])
def test_another_epoch_means_a_resync(epoch: str) -> None:
    session = opened(write("1a"))
    assert hear(session, {**ack(9, write("5b")), "epoch": epoch}) == [
        Failed("resync_required", f"the server's log is {epoch}, not 1-x", epoch)
    ]
    assert not session.can_push


def test_an_offer_goes_to_another_epoch_once() -> None:
    for known in (EPOCH, "2-x", None):
        session = opened(write("1b"), epoch=known, offer=EPOCH)
        assert hear(session, {**ack(9, id=1), "epoch": "2-x"}) == [
            Received("2-x", 9, {}, accepted=(write("1b"),), answered=True)
        ]
        assert hear(session, {**ack(9), "epoch": "3-x"}) == [
            Failed("resync_required", "the server's log is 3-x, not 2-x", "3-x")
        ]


def test_a_notice_is_handed_on_and_changes_nothing() -> None:
    session = opened(write("1a"))
    assert hear(session, {"type": "notice", "topic": "holds"}) == [Noticed("holds")]
    assert not session.can_push
    assert said(session) == []


@pytest.mark.parametrize("code", ["resync_required", "replaced", "a_code_of_the_future"])
def test_an_error_ends_the_session(code: str) -> None:
    session = opened(write("1a"))
    assert hear(session, error(code, "why", epoch="2-x")) == [Failed(code, "why", "2-x")]
    # Whatever comes after it counts no more, and nothing is said any more.
    assert hear(session, ack(5, id=1)) == []
    session.applied(5)
    assert said(session) == []
    assert not session.can_push
