"""The server's end of a connection, message by message."""

from __future__ import annotations

import json

import pytest

from core.changes import delete, write
from core.log import Log
from tidenote.core.crdt import CrdtEntry
from tidenote.core.version import Change
from tidenote.errors import ProtocolError
from tidenote.wire.messages import (
    MAX_MESSAGE_BYTES,
    MAX_MESSAGE_CHANGES,
    MAX_PUSH_CHANGES,
    MAX_PUSH_DOTS,
    ErrorMessage,
    SyncAck,
    from_change,
)
from tidenote.wire.session import (
    MAX_BAD_MESSAGES,
    MAX_BUFFERED,
    ClientSession,
    Fail,
    Page,
    Publication,
    Read,
    Send,
    Submit,
    generation_of,
    size_of,
)
from wire.ends import EPOCH, Json, ServerEnd, ack, error, keys_of, outcome_of, publication_of, push

A, B, C = "note:a.md", "note:b.md", "note:c.md"


def connected(log: Log | None = None, *, last_ack: int | None = None, **settings: object) -> ServerEnd:
    """Return a session whose first push was answered and that is up to date."""
    log = log or Log()
    end = ServerEnd(log, **settings)  # type: ignore[arg-type]
    end.receive(push(last_ack=log.clock if last_ack is None else last_ack))
    end.steps.clear()
    return end


def json_push(*changes: Change | Json, **fields: object) -> str:
    return json.dumps(push(*changes, **fields))  # type: ignore[arg-type]


def full_log(*changes: Change) -> Log:
    log = Log()
    log.take_in(changes)
    return log


# -- the first push, and plain clients


def test_nothing_is_said_before_the_first_push() -> None:
    end = ServerEnd(full_log(write("1b")))
    end.others_commit(write("1c", key=C))
    assert end.drain() == []


def test_the_first_push_is_answered_even_if_it_is_empty() -> None:
    end = ServerEnd(Log())
    assert end.receive(push()) == [ack(0)]


def test_the_first_answer_brings_what_the_client_lacks() -> None:
    log = full_log(write("1b"), write("2b", key=B))
    assert ServerEnd(log).receive(push()) == [ack(3, write("1b"), write("2b", key=B))]
    assert ServerEnd(log).receive(push(last_ack=2)) == [ack(3, write("2b", key=B))]
    assert ServerEnd(log).receive(push(last_ack=3)) == [ack(3)]


def test_a_client_that_knows_only_the_mandatory_fields() -> None:
    end = ServerEnd(full_log(write("1b", "theirs")))
    mine = {"key": B, "value": "mine", "timestamp": 1, "device_id": "a"}
    assert end.receive({"type": "sync_push", "changes": [mine], "last_ack": 0}) == [ack(3, write("1b", "theirs"))]
    gone = {"key": B, "value": None, "timestamp": 4, "device_id": "a"}
    assert end.receive({"type": "sync_push", "changes": [gone], "last_ack": 3}) == [ack(5)]
    assert end.log.siblings()[B] == (delete("4a", key=B),)


def test_an_answer_carries_the_id_of_its_push() -> None:
    end = ServerEnd(Log())
    assert end.receive(push(id=7)) == [ack(0, id=7)]
    assert end.receive(push(id="x")) == [ack(0, id="x")]
    assert end.receive(push(write("1a"), id=0)) == [ack(2, id=0)]


def test_a_pure_acknowledgement_is_noted_and_not_answered() -> None:
    end = connected(full_log(write("5b")), last_ack=0)
    assert end.receive(push(last_ack=6)) == []
    assert end.session.acknowledged == 6
    assert end.receive(push(last_ack=3)) == []
    assert end.session.acknowledged == 6


def test_messages_of_unknown_types_are_ignored() -> None:
    end = ServerEnd(Log())
    assert end.receive({"type": "weather"}) == []
    assert end.receive(push()) == [ack(0)]


# -- live deliveries


def test_what_others_commit_is_delivered_without_reading() -> None:
    end = connected()
    end.others_commit(write("1b", base=""), write("1c", base=""))
    assert end.drain() == [ack(3, write("1b", base=""), write("1c", base=""))]
    assert end.reads == []
    assert end.drain() == []


def test_what_came_together_is_told_together_and_each_key_once() -> None:
    end = connected()
    end.others_commit(write("1b", key=A), write("2b", key=B))
    end.others_commit(write("5b", key=A))
    assert end.drain() == [ack(6, write("5b", key=A), write("2b", key=B))]
    assert end.reads == []


def test_a_commit_under_way_is_not_overtaken_by_news() -> None:
    end = connected()
    end.session.receive(json_push(write("1a")))
    submit = end.next()
    assert isinstance(submit, Submit)
    end.others_commit(write("5b", key=B))
    assert end.drain() == []
    end.commit(submit)
    assert end.drain() == [ack(7, write("5b", key=B))]


# -- own changes


def test_own_changes_are_left_out_on_the_connection_that_got_them_acknowledged() -> None:
    log = Log()
    end = connected(log)
    assert end.receive(push(write("1a"))) == [ack(2)]
    # A device that lost its journal gets its own notes back.
    assert ServerEnd(log).receive(push()) == [ack(2, write("1a"))]


def test_an_own_change_beside_another_is_not_left_out() -> None:
    end = connected(full_log(write("1b", base="")))
    assert end.receive(push(write("2a", "mine", base=""))) == [
        ack(3, write("1b", base=""), write("2a", "mine", base=""))
    ]


def test_an_own_change_that_lost_on_arrival_is_answered_with_what_it_lost_to() -> None:
    end = connected(full_log(write("5b")))
    assert end.receive(push(write("3a"))) == [ack(7, write("5b"))]


def test_an_own_change_that_others_replaced_is_not_left_out() -> None:
    end = connected()
    end.receive(push(write("1a")))
    end.others_commit(write("5b", base="1a"))
    assert end.drain() == [ack(6, write("5b", base="1a"))]


def test_an_own_change_that_the_server_settled_is_not_left_out() -> None:
    end = connected(full_log(write("1b", "x", base="")))
    settled = write("4server.1-x", "x", base="1b 2a")
    assert end.receive(push(write("2a", "x", base=""))) == [ack(4, settled)]


def test_an_own_change_over_what_the_client_has_not_heard_of_is_not_left_out() -> None:
    """What came late replaced a sibling that the client still holds, and is itself replaced by the one it edits."""
    log = full_log(write("1b", base=""), write("4b", base="3b"))
    end = connected(log)
    end.others_commit(write("3b", base="1b"), heard=False)
    assert end.receive(push(write("9a", base="4b"), id=1)) == [ack(10, write("9a", base="4b"), id=1)]
    # From here on the client knows the state.
    assert end.receive(push(write("11a", base="9a"), id=2)) == [ack(12, id=2)]


def test_own_changes_in_a_row_over_what_the_client_has_not_heard_of_are_not_left_out() -> None:
    log = full_log(write("1b", base=""), write("4b", base="3b"))
    end = connected(log)
    end.others_commit(write("3b", base="1b"), heard=False)
    first, second = write("9a", base="4b"), write("10a", base="9a")
    assert end.receive(push(first, second, id=1)) == [ack(11, second, id=1)]


def test_own_changes_in_a_row_are_left_out() -> None:
    end = connected(full_log(write("1b", base="")))
    assert end.receive(push(write("3a", base="1b"), write("4a", base="3a"), id=1)) == [ack(5, id=1)]


def test_no_cursor_passes_an_own_change_before_its_answer() -> None:
    """A page that was asked for before the commit shows a part of what was committed."""
    end = ServerEnd(Log(), max_keys=2)
    end.receive(push())
    end.others_commit(write("1b", key=B), heard=False)
    end.session.head_is(EPOCH, 2)
    assert end.next() == Read(0)
    end.session.receive(json_push(write("3a", key=A), write("4a", key=C), id=1))
    submit = end.next()
    assert isinstance(submit, Submit)
    end.commit(submit)
    end.session.page(end.log.page(0, 2))
    # If the connection ends here, the next one begins before the change.
    assert end.next() == Send(SyncAck(3, [from_change(write("1b", key=B))], EPOCH, behind=1))
    assert end.drain() == [ack(5, id=1)]
    assert end.reads == [Read(4)]


def test_no_cursor_passes_an_own_change_while_earlier_pushes_are_answered() -> None:
    end = connected()
    for number in (1, 2, 3):
        end.session.receive(json_push(write(f"{number}a", key=f"note:{number}.md"), id=number))
    submits = [end.next() for _ in range(3)]
    for submit in submits:
        assert isinstance(submit, Submit)
        end.commit(submit)
    assert end.drain() == [ack(2, id=1), ack(3, id=2), ack(4, id=3)]


def test_no_cursor_goes_back_to_own_changes_that_a_page_listed_before_their_commit_was_told() -> None:
    end = connected()
    end.others_commit(write("1b", key=B), heard=False)
    end.session.head_is(EPOCH, 2)
    assert end.next() == Read(0)
    pushes = []
    for number, key in ((1, A), (2, C)):
        end.session.receive(json_push(write(f"{number}a", key=key), id=number))
        submit = end.next()
        assert isinstance(submit, Submit)
        pushes.append((submit, end.log.take_in(submit.changes)))
    end.session.page(end.log.page(0))
    assert end.drain() == [ack(4, write("1b", key=B), write("1a", key=A), write("2a", key=C))]
    for submit, batch in reversed(pushes):
        end.session.committed(submit.number, *outcome_of(batch), batch.clock)
    assert end.drain() == [ack(4, id=1), ack(4, id=2)]


# -- publications are only hints


def test_a_lost_publication_is_read_when_the_next_one_does_not_fit() -> None:
    end = connected()
    end.others_commit(write("1b", key=A), heard=False)
    assert end.drain() == []
    end.others_commit(write("5b", key=B))
    assert end.drain() == [ack(6, write("1b", key=A), write("5b", key=B))]
    assert end.reads == [Read(0)]


def test_a_lost_publication_is_found_by_looking_at_the_head() -> None:
    end = connected()
    end.others_commit(write("1b"), heard=False)
    end.session.head_is(EPOCH, end.log.clock)
    assert end.drain() == [ack(2, write("1b"))]


def test_doubled_and_late_publications_say_nothing_twice() -> None:
    end = connected()
    first = publication_of(end.others_commit(write("1b", key=A)))
    second = publication_of(end.others_commit(write("5b", key=B)))
    assert len(end.drain()) == 1
    for late in (first, second, first):
        end.session.published(late)
        assert end.drain() == []
    assert end.reads == []


def test_publications_in_the_wrong_order_are_read() -> None:
    end = connected()
    first = end.others_commit(write("1b", key=A), heard=False)
    second = end.others_commit(write("5b", key=B), heard=False)
    for batch in (second, first):
        end.session.published(publication_of(batch))
    assert end.drain() == [ack(2, write("1b", key=A)), ack(6, write("5b", key=B))]
    assert end.reads == [Read(2)]


def test_a_publication_without_its_entries_is_read() -> None:
    end = connected()
    batch = end.others_commit(write("1b"), heard=False)
    end.session.published(Publication(EPOCH, batch.previous_clock, batch.clock, None))
    assert end.drain() == [ack(2, write("1b"))]
    assert end.reads == [Read(0)]


def test_publications_without_news_only_tell_how_far_the_log_is() -> None:
    end = connected()
    end.session.published(Publication(EPOCH, 0, 2, ()))
    assert end.drain() == [ack(2)]
    end.session.published(Publication(EPOCH, 2, 4, ()))
    end.session.head_is(EPOCH, 6)
    assert end.next() == Read(4)


def test_an_answer_never_shows_the_log_from_before_its_commit() -> None:
    """The publication of the commit itself is lost; one from before it is at hand."""
    end = connected()
    end.others_commit(write("1b", key=B))
    batch = end.log.take_in([write("5a", key=A)])
    end.session.receive(json_push(write("5a"), id=1))
    submit = end.next()
    assert isinstance(submit, Submit)
    end.session.committed(submit.number, *outcome_of(batch), batch.clock)
    assert end.drain() == [ack(6, write("1b", key=B), id=1)]
    assert end.reads == [Read(0)]


def test_a_publication_that_a_page_has_passed_is_dropped() -> None:
    end = connected()
    end.others_commit(write("1b", key=A), heard=False)
    end.session.head_is(EPOCH, 2)
    read = end.next()
    assert read == Read(0)
    batch = end.others_commit(write("5b", key=B))
    page = end.log.page(0)
    end.session.page(page)
    assert end.drain() == [ack(6, write("1b", key=A), write("5b", key=B))]
    end.session.published(publication_of(batch))
    assert end.drain() == []


def test_a_publication_during_a_read_goes_on_where_the_page_ends() -> None:
    end = connected()
    end.others_commit(write("1b", key=A))
    end.session.published(Publication(EPOCH, 2, 2, None))
    end.others_commit(write("5b", key=B), heard=False)
    end.session.head_is(EPOCH, 6)
    # All that was published is told first; then the rest is read.
    first = end.next()
    assert isinstance(first, Send)
    assert end.next() == Read(2)
    page = end.log.page(2)
    later = end.others_commit(write("8b", key=C))
    end.session.published(publication_of(later))
    end.session.page(page)
    assert end.drain() == [ack(6, write("5b", key=B)), ack(9, write("8b", key=C))]


def test_publications_that_follow_the_one_being_read_need_no_reading() -> None:
    end = connected(last_ack=0)
    end.others_commit(write("1b", key=A))
    large = end.others_commit(write("2b", key=B), heard=False)
    end.session.published(Publication(EPOCH, large.previous_clock, large.clock, None))
    first = end.next()
    assert isinstance(first, Send)
    assert end.next() == Read(2)
    page = end.log.page(2)
    third = publication_of(end.log.take_in([write("7b", key=C)]))
    end.session.page(page)
    message = end.next()
    assert isinstance(message, Send)
    end.session.published(third)
    assert end.drain() == [ack(8, write("7b", key=C))]
    assert end.reads == []


def test_what_was_buffered_during_a_read_is_used_if_it_follows() -> None:
    end = connected()
    first = end.others_commit(write("1b", key=A), heard=False)
    end.session.head_is(EPOCH, first.clock)
    assert end.next() == Read(0)
    page = end.log.page(0)
    end.session.published(publication_of(first))
    end.others_commit(write("5b", key=B))
    end.session.page(page)
    assert end.drain() == [ack(2, write("1b", key=A)), ack(6, write("5b", key=B))]
    assert end.reads == []


def test_what_was_buffered_is_dropped_if_the_page_ends_within_it() -> None:
    log = Log()
    end = ServerEnd(log, max_keys=1)
    end.receive(push())
    end.others_commit(write("1b", key=A), write("2b", key=B), heard=False)
    end.session.head_is(EPOCH, log.clock)
    assert end.next() == Read(0)
    end.session.published(Publication(EPOCH, 0, 3, tuple(log.entries.values())))
    end.others_commit(write("9b", key=C))
    end.session.page(log.page(0, 1))
    assert keys_of(end.drain()) == [[A], [B], [C]]


def test_a_slow_client_costs_a_few_publications_and_then_a_read() -> None:
    end = connected()
    for number in range(MAX_BUFFERED + 10):
        end.others_commit(write(f"{number + 1}b", key=f"note:{number}.md"))
    messages = end.drain()
    assert len(messages) == 2
    assert sum(len(keys) for keys in keys_of(messages)) == MAX_BUFFERED + 10
    assert end.reads == [Read(messages[0]["ack_timestamp"])]


# -- large messages


def test_many_publications_are_cut_into_messages() -> None:
    end = connected()
    text = "x" * (MAX_MESSAGE_BYTES // 2)
    for number in range(4):
        end.others_commit(write(f"{number + 1}b", text, key=f"note:{number}.md"))
    assert keys_of(end.drain()) == [["note:0.md"], ["note:1.md"], ["note:2.md"], ["note:3.md"]]
    for number in range(3):
        end.others_commit(*(write("50c", key=f"note:{number}-{n}.md") for n in range(MAX_MESSAGE_CHANGES // 2)))
    assert [len(keys) for keys in keys_of(end.drain())] == [MAX_MESSAGE_CHANGES, MAX_MESSAGE_CHANGES // 2]


def test_an_answer_waits_for_the_message_that_reaches_its_commit() -> None:
    end = connected()
    text = "x" * MAX_MESSAGE_BYTES
    end.others_commit(write("1b", text, key=A))
    end.others_commit(write("2b", text, key=B))
    messages = end.receive(push(write("5a", key=C), id=1))
    assert [(keys, message.get("id")) for keys, message in zip(keys_of(messages), messages, strict=True)] == [
        ([A], None),
        ([B], None),
        ([], 1),
    ]


def test_sizes_count_what_makes_messages_large() -> None:
    register = Log().take_in([write("5b", "ää", base="1a 2a")]).entries[0].register
    assert size_of(CrdtEntry(A, register)) == 200 + len(A) + 4 + 200


def test_catching_up_goes_by_pages_and_says_how_many_keys_are_to_come() -> None:
    log = full_log(*(write(f"{n}b", key=f"note:{n}.md") for n in range(1, 6)))
    end = ServerEnd(log, max_keys=2)
    messages = end.receive(push(id=1))
    assert keys_of(messages) == [["note:1.md", "note:2.md"], ["note:3.md", "note:4.md"], ["note:5.md"]]
    assert [message.get("behind") for message in messages] == [3, 1, None]
    assert [message["ack_timestamp"] for message in messages] == [3, 5, 6]
    # The push was empty; its answer is the first page.
    assert [message.get("id") for message in messages] == [1, None, None]


def test_a_page_that_holds_only_own_changes_still_tells_how_far_it_is() -> None:
    log = Log()
    end = ServerEnd(log, max_keys=1)
    end.receive(push())
    batch = log.take_in([write("1a", key=A), write("2a", key=B)])
    end.session.receive(json_push(write("1a", key=A), write("2a", key=B)))
    submit = end.next()
    assert isinstance(submit, Submit)
    end.session.committed(submit.number, *outcome_of(batch), batch.clock)
    assert end.drain() == [ack(2, behind=1), ack(3)]


# -- answers


def test_answers_come_one_per_message_in_the_order_of_the_pushes() -> None:
    end = connected()
    for number in (1, 2, 3):
        end.session.receive(json_push(write(f"{number}a", key=f"note:{number}.md"), id=number))
    submits = [end.next() for _ in range(3)]
    assert end.next() is None
    assert (end.session.waiting, end.session.waiting_changes) == (3, 3)
    # Even if their commits are told in another order.
    for submit in (submits[1], submits[2]):
        assert isinstance(submit, Submit)
        end.commit(submit)
        assert end.drain() == []
    assert isinstance(submits[0], Submit)
    end.commit(submits[0])
    assert [(message["id"], message["changes"]) for message in end.drain()] == [(1, []), (2, []), (3, [])]
    assert (end.session.waiting, end.session.waiting_changes) == (0, 0)


def test_a_push_without_good_changes_keeps_its_place_among_the_answers() -> None:
    end = connected()
    end.session.receive(json_push(write("1a"), id=1))
    end.session.receive(json_push(id=2))
    end.session.receive(json_push({"key": 5}, id=3))
    submit = end.next()
    assert isinstance(submit, Submit)
    assert end.next() is None
    end.commit(submit)
    assert [message["id"] for message in end.drain()] == [1, 2, 3]


def test_an_answer_rides_on_a_page_that_was_read_after_its_commit() -> None:
    end = connected()
    end.others_commit(write("1b", key=B), heard=False)
    end.session.head_is(EPOCH, 2)
    assert end.next() == Read(0)
    # While the page is read, a push is committed.
    end.session.receive(json_push(write("5a"), id=1))
    submit = end.next()
    assert isinstance(submit, Submit)
    end.commit(submit)
    end.session.page(end.log.page(0))
    assert end.drain() == [ack(6, write("1b", key=B), id=1)]


def test_an_answer_does_not_ride_on_a_page_that_was_read_before_its_commit() -> None:
    end = connected()
    end.others_commit(write("1b", key=B), heard=False)
    end.session.head_is(EPOCH, 2)
    assert end.next() == Read(0)
    page = end.log.page(0)
    end.session.receive(json_push(write("5a"), id=1))
    submit = end.next()
    assert isinstance(submit, Submit)
    end.commit(submit)
    end.session.page(page)
    assert end.drain() == [ack(2, write("1b", key=B)), ack(6, id=1)]


# -- states that an acknowledgement alone would spoil


def test_a_change_sent_again_is_answered_with_the_state_of_its_key() -> None:
    """Its author may have passed the state that replaced it, without ever having got the answer."""
    log = full_log(write("1a", base=""))
    log.take_in([write("5b", base="1a")])
    log.take_in([write("8c", base="5b")])
    end = ServerEnd(log)
    assert end.receive(push(write("1a", base=""), last_ack=log.clock, id=1)) == [ack(9, write("8c", base="5b"), id=1)]
    assert end.reads == [Read(9, (A,))]


def test_a_change_sent_again_that_still_stands_is_told_as_well() -> None:
    log = full_log(write("1a", base=""))
    assert ServerEnd(log).receive(push(write("1a", base=""), last_ack=2)) == [ack(2, write("1a", base=""))]


def test_a_change_that_lost_on_arrival_is_answered_with_the_state_of_its_key() -> None:
    """Also if a page ends before it: the client must not go on with what its acknowledgement alone says."""
    log = full_log(write("9b"))
    end = ServerEnd(log)
    assert end.receive(push(write("5a"), last_ack=log.clock, id=1)) == [ack(log.clock, write("9b"), id=1)]
    assert end.reads == [Read(10, (A,))]


def test_keys_that_are_listed_again_and_altered_are_listed_once() -> None:
    log = full_log(write("1a", base=""), write("1b", key=B))
    end = ServerEnd(log)
    messages = end.receive(push(write("1a", base=""), last_ack=0))
    assert messages == [ack(3, write("1a", base=""), write("1b", key=B))]


def no_room(change: Change) -> Json:
    return {
        "key": change.key,
        "timestamp": change.dot.timestamp,
        "device_id": change.dot.device_id,
        "code": "no_room",
        "message": "the answer has no room for the state of this key",
    }


def test_what_an_answer_has_no_room_for_is_named_and_told_when_it_is_sent_again() -> None:
    first, second, late = write("1a", base=""), write("1a", base="", key=B), write("2a", base="", key=C)
    log = full_log(first, second)
    log.take_in([write("5b", base="1a"), write("5b", base="1a", key=B)])
    end = connected(log, max_again=1)
    bad = write("9a", base="9b", key=B)
    (answer,) = end.receive(push(first, second, bad, late, last_ack=log.clock, id=1))
    refused = answer.pop("rejected")
    assert [(change["key"], change["code"]) for change in refused] == [(B, "bad_base"), (B, "no_room")]
    assert refused[1] == no_room(second)
    assert answer == ack(log.clock, write("5b", base="1a"), id=1)
    assert end.receive(push(second, id=2)) == [ack(log.clock, write("5b", base="1a", key=B), id=2)]


def test_what_is_on_the_page_has_room() -> None:
    log = full_log(write("8b"), write("9b", key=B))
    end = ServerEnd(log, max_again=1)
    lost = [write("5a"), write("6a", key=B)]
    assert end.receive(push(*lost, last_ack=log.clock, id=1)) == [ack(log.clock, write("8b"), write("9b", key=B), id=1)]


def test_a_page_waits_that_has_no_room_beside_the_keys_that_are_listed_again() -> None:
    large = write("5b", "x" * (MAX_MESSAGE_BYTES // 2), base="1a")
    news = write("9b", "y" * (MAX_MESSAGE_BYTES // 2), key=B)
    log = full_log(write("1a", base=""))
    log.take_in([large])
    cursor = log.clock
    end = connected(log)
    log.take_in([news, write("10b", key=C)])
    messages = end.receive(push(write("1a", base=""), last_ack=cursor, id=1))
    assert messages == [ack(cursor, large, id=1, behind=2), ack(log.clock, news, write("10b", key=C))]


def test_a_key_of_any_size_is_listed_again_beside_nothing() -> None:
    large = write("5b", "x" * MAX_MESSAGE_BYTES, base="1a")
    log = full_log(write("1a", base=""))
    log.take_in([large])
    end = connected(log)
    assert end.receive(push(write("1a", base=""), last_ack=log.clock, id=1)) == [ack(log.clock, large, id=1)]


def test_a_state_that_was_told_before_the_answer_is_told_again_with_it() -> None:
    """A page overtakes the answer and shows what has replaced the change meanwhile."""
    end = connected()
    end.others_commit(write("1b", key=B), heard=False)
    end.session.head_is(EPOCH, 2)
    assert end.next() == Read(0)
    end.session.receive(json_push(write("5a", base=""), id=1))
    submit = end.next()
    assert isinstance(submit, Submit)
    batch = end.log.take_in(submit.changes)
    end.others_commit(write("7b", base="5a"), heard=False)
    end.others_commit(write("9c", base="7b"), heard=False)
    end.session.page(end.log.page(0))
    assert end.drain() == [ack(10, write("1b", key=B), write("9c", base="7b"))]
    end.session.committed(submit.number, *outcome_of(batch), batch.clock)
    assert end.drain() == [ack(10, write("9c", base="7b"), id=1)]


def test_a_state_from_before_the_commit_needs_no_second_telling() -> None:
    end = connected()
    end.others_commit(write("1b", base=""), heard=False)
    end.session.head_is(EPOCH, 2)
    assert end.next() == Read(0)
    page = end.log.page(0)
    end.session.receive(json_push(write("5a", base=""), id=1))
    submit = end.next()
    assert isinstance(submit, Submit)
    end.session.page(page)
    assert end.drain() == [ack(2, write("1b", base=""))]
    end.commit(submit)
    assert end.drain() == [ack(6, write("1b", base=""), write("5a", base=""), id=1)]
    assert end.reads == []


# -- refusals


def test_what_the_door_and_the_log_refuse_stands_in_one_answer() -> None:
    end = connected(full_log(write("1a", "mine", key=B)))
    bad_key = {"key": "note:../x.md", "value": "x", "timestamp": 5, "device_id": "a"}
    messages = end.receive(push(bad_key, write("5a"), write("1a", "other", key=B), id=1))
    assert messages == [
        ack(
            6,
            id=1,
            rejected=[
                {
                    "key": "note:../x.md",
                    "timestamp": 5,
                    "device_id": "a",
                    "code": "bad_key",
                    "message": "an empty, . or .. name in the path",
                },
                {
                    "key": B,
                    "timestamp": 1,
                    "device_id": "a",
                    "code": "dot_reused",
                    "message": "this key and dot came before with other content",
                },
            ],
        )
    ]


def rejections(messages: list[Json]) -> list[tuple[str | None, str]]:
    return [(found["device_id"], found["code"]) for message in messages for found in message.get("rejected", [])]


def test_a_re_stamp_is_told_the_clock() -> None:
    end = connected(full_log(write("41b")))
    (message,) = end.receive(push(write(f"{2**50}a", key=B)))
    assert [(found["code"], found["clock"]) for found in message["rejected"]] == [("clock_too_far", 42)]


def test_a_reader_may_not_write_but_reads() -> None:
    end = ServerEnd(full_log(write("1b")), may_write=False)
    messages = end.receive(push(write("5a", key=B)))
    assert rejections(messages) == [("a", "read_only")]
    assert keys_of(messages) == [[A]]
    assert B not in end.log.siblings()


@pytest.mark.parametrize("author", ["b", "aa", "a.b", "A", "b~2"])
def test_nobody_writes_in_the_name_of_another_device(author: str) -> None:
    end = connected()
    assert rejections(end.receive(push(write(f"1{author}")))) == [(author, "bad_author")]
    assert end.log.siblings() == {}


@pytest.mark.parametrize(("connected_as", "author"), [("a", "a"), ("a", "a~2"), ("a~2", "a~2"), ("a~3", "a~2")])
def test_a_device_writes_as_any_of_its_incarnations(connected_as: str, author: str) -> None:
    end = ServerEnd(Log(), connected_as)
    assert rejections(end.receive(push(write(f"1{author}")))) == []
    assert end.log.siblings()[A] == (write(f"1{author}"),)


def test_a_text_over_the_limit() -> None:
    end = connected(max_text_bytes=3)
    assert rejections(end.receive(push(write("1a", "four")))) == [("a", "value_too_large")]


def test_a_rename_whose_creation_is_refused_at_the_door_moves_nothing() -> None:
    log = full_log(write("1a", key=A), write("2b", "old", key=B))
    end = connected(log, max_text_bytes=3)
    create, tombstone = write("5a", "long text", key=B), delete("6a", base="1a", moved_to=B)
    assert rejections(end.receive(push(create, tombstone))) == [("a", "value_too_large"), ("a", "move_target_missing")]
    assert log.siblings()[A] == (write("1a", key=A),)
    # A change that cannot be named refuses nobody else.
    assert rejections(end.receive(push({}, delete("7a", base="1a", key=A)))) == [(None, "bad_change")]


def test_a_push_of_too_many_changes_is_refused_as_a_whole() -> None:
    end = connected()
    (message,) = end.receive(push(write("1a"), *[{}] * MAX_PUSH_CHANGES))
    assert (message["type"], message["code"]) == ("error", "message_too_large")
    assert end.failure is not None
    assert end.log.versions == []


def test_a_push_that_names_too_many_versions_is_refused_as_a_whole() -> None:
    base = " ".join(f"{number}b" for number in range(1, 1001))
    changes = [
        write(f"{2000 + number}a", base=base, key=f"note:{number}.md") for number in range(MAX_PUSH_DOTS // 1000)
    ]
    end = connected()
    assert rejections(end.receive(push(*changes))) == []
    (message,) = connected().receive(push(*changes, write("1a", base="", key=A), write("3a", base="2b", key=B)))
    assert (message["type"], message["code"]) == ("error", "message_too_large")


def test_our_own_devices_send_no_push_that_is_too_large() -> None:
    base = " ".join(f"{number}b" for number in range(1, 1001))
    pending = [write(f"{2000 + number}a", base=base, key=f"note:{number}.md") for number in range(MAX_PUSH_CHANGES)]
    client = ClientSession(0, None)
    sent = client.push(pending)
    assert 0 < sent < MAX_PUSH_DOTS // 1000


# -- malformed messages


def test_malformed_messages_are_told_and_otherwise_ignored_for_a_while() -> None:
    end = ServerEnd(Log())
    for _ in range(MAX_BAD_MESSAGES - 1):
        (message,) = end.receive("{")
        assert (message["type"], message["code"]) == ("error", "bad_message")
        assert end.failure is None
    assert end.receive(push(write("1a"))) == [ack(2)]
    (message,) = end.receive("{")
    assert message["code"] == "bad_message"
    assert end.failure is not None
    assert "15 bad messages before" in message["message"]
    # Then nothing counts any more.
    end.session.receive(json_push(write("2a")))
    assert end.next() == end.failure


def test_malformed_messages_wait_for_their_turn() -> None:
    end = ServerEnd(Log())
    end.session.receive("{")
    end.session.receive("5")
    assert end.session.waiting == 2
    assert isinstance(end.next(), Send)
    assert end.session.waiting == 1


# -- epochs


@pytest.mark.parametrize(
    ("fields", "failure"),
    [
        ({"epoch": "1-x"}, None),
        ({}, None),
        ({"epoch": "1-y"}, Fail(ErrorMessage("resync_required", "this vault's log is 1-x, not 1-y", "1-x"))),
        ({"epoch": "0-x"}, Fail(ErrorMessage("resync_required", "this vault's log is 1-x, not 0-x", "1-x"))),
        (
            {"epoch": "2-x"},
            Fail(ErrorMessage("resync_required", "this vault's log is 1-x, not 2-x", "1-x"), later_epoch="2-x"),
        ),
        # An offer names where it comes from.
        ({"epoch": "1-x", "offer": "0-y"}, None),
        ({"epoch": "0-y", "offer": "0-y"}, None),
        ({"offer": "1-y"}, None),
        ({"offer": "1-x"}, None),
        (
            {"epoch": "1-x", "offer": "2-x"},
            Fail(ErrorMessage("resync_required", "this vault's log is 1-x, not 2-x", "1-x"), later_epoch="2-x"),
        ),
        (
            {"epoch": "2-x", "offer": "0-y"},
            Fail(ErrorMessage("resync_required", "this vault's log is 1-x, not 2-x", "1-x"), later_epoch="2-x"),
        ),
    ],
)
def test_epochs(fields: Json, failure: Fail | None) -> None:
    end = ServerEnd(Log())
    end.receive(push(write("1a"), **fields))
    assert end.failure == failure
    assert bool(end.log.versions) is (failure is None)


@pytest.mark.parametrize("field", ["epoch", "offer"])
@pytest.mark.parametrize(
    "epoch",
    [
        "",
        "1",
        "1-",
        "-x",
        "x-1",
        "1.5-x",
        "²-x",
        "-1-x",
        "1-" + "x" * 63,
        "9-\n2026 INFO all is well",
        "9-\x1b[2J",
        "9-é",
    ],
)
def test_malformed_epochs(field: str, epoch: str) -> None:
    end = ServerEnd(Log())
    assert end.receive({**push(), field: epoch}) == [error("bad_message", "an epoch is <generation>-<random>")]
    with pytest.raises(ProtocolError):
        generation_of(epoch)


def test_generations() -> None:
    assert [generation_of("1-x"), generation_of("12-9f-2c")] == [1, 12]


def test_a_cursor_ahead_of_the_log_means_that_the_log_lost_something() -> None:
    message = ErrorMessage("resync_required", "the cursor 3 is ahead of the log", EPOCH)
    for fields, ahead in (({"epoch": EPOCH}, 3), ({}, 0), ({"epoch": "0-y", "offer": "0-y"}, 0)):
        end = ServerEnd(full_log(write("1b")))
        end.receive(push(last_ack=3, **fields))
        assert end.failure == Fail(message, ahead=ahead)


@pytest.mark.parametrize(("last_ack", "quarantined"), [(0, False), (1, True), (4, True), (5, False), (6, False)])
def test_who_may_have_missed_a_forgotten_deletion_has_to_compare_everything(last_ack: int, quarantined: bool) -> None:
    end = ServerEnd(Log(9), tombstones_gone_before=5)
    (answer,) = end.receive(push(write("1a"), last_ack=last_ack, epoch=EPOCH))
    assert (answer.get("code"), answer.get("quarantine", False)) == (
        ("resync_required", True) if quarantined else (None, False)
    )
    assert (end.failure is not None) is quarantined
    assert (end.log.siblings() == {}) is quarantined


def test_who_missed_deletions_under_another_epoch_is_told_both() -> None:
    """It must not offer what was deleted before the log was restored."""
    for last_ack, quarantined in ((4, True), (5, None)):
        (answer,) = ServerEnd(Log(9), tombstones_gone_before=5).receive(push(last_ack=last_ack, epoch="0-y"))
        assert (answer["code"], answer.get("quarantine")) == ("resync_required", quarantined)


def test_notices_come_after_the_first_push_and_each_topic_once() -> None:
    end = ServerEnd(Log())
    for topic in ("holds", "devices", "holds"):
        end.session.notice(topic)
    assert end.drain() == []
    answers = end.receive(push(id=1))
    assert [answer for answer in answers if answer["type"] == "notice"] == [
        {"type": "notice", "topic": "holds"},
        {"type": "notice", "topic": "devices"},
    ]
    assert [answer["id"] for answer in answers if answer["type"] == "sync_ack"] == [1]
    end.session.notice("holds")
    assert end.drain() == [{"type": "notice", "topic": "holds"}]


def test_a_slow_first_acknowledgement_is_no_quarantine() -> None:
    end = connected(Log(9), last_ack=0, tombstones_gone_before=5)
    end.receive(push(last_ack=3))
    assert end.failure is None


def test_an_offer_brings_back_what_others_and_the_server_wrote() -> None:
    end = ServerEnd(Log())
    lost = [write("1b", base=""), write("4server.0-y", key=B, base="")]
    assert rejections(end.receive(push(*lost, epoch="1-x", offer="0-y"))) == []
    assert end.log.siblings() == {A: (lost[0],), B: (lost[1],)}


def test_only_an_offer_from_another_epoch_brings_what_others_wrote() -> None:
    end = ServerEnd(Log())
    changes = [write("1b", base=""), write("4server.0-y", key=B, base="")]
    assert rejections(end.receive(push(*changes, offer="1-x"))) == [("b", "bad_author"), ("server.0-y", "bad_device")]


def test_an_offer_of_a_reader_is_refused() -> None:
    end = ServerEnd(Log(), may_write=False)
    assert rejections(end.receive(push(write("1b"), offer="0-y"))) == [("b", "read_only")]


def test_a_new_epoch_ends_the_connection() -> None:
    end = connected()
    end.session.published(Publication("2-z", 0, 2**32, ()))
    assert end.drain() == [error("resync_required", "the vault's log was restored or replaced", epoch="2-z")]
    looked = connected()
    looked.session.head_is("2-z", 2**32)
    assert looked.drain() == [error("resync_required", "the vault's log was restored or replaced", epoch="2-z")]
    # The first failure counts.
    end.session.fail("server_stopping", "bye")
    assert isinstance(end.failure, Fail)
    assert end.next() == end.failure


def test_the_driver_may_end_the_connection() -> None:
    end = connected()
    end.session.fail("replaced", "the same device connected again")
    assert end.session.failed
    assert end.drain() == [error("replaced", "the same device connected again")]


def test_a_page_without_news_only_tells_how_far_the_log_is() -> None:
    end = connected()
    end.session.head_is(EPOCH, 3)
    assert end.next() == Read(0)
    assert end.next() is None
    end.session.page(Page((), 3))
    assert end.drain() == [ack(3)]
    assert end.receive(push(id=1)) == [ack(3, id=1)]
