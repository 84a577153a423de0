from __future__ import annotations

import pytest

from tidenote.server.pubsub import PubSub

pytestmark = pytest.mark.anyio


def nobody() -> None:
    """A listener that looks by itself."""


async def test_a_message_reaches_every_listener_of_its_topic() -> None:
    bus: PubSub[int] = PubSub()
    with bus.subscribe("a", nobody) as one, bus.subscribe("a", nobody) as two, bus.subscribe("b", nobody) as other:
        await bus.publish("a", 1)
        await bus.publish("a", 2)
        assert one.drain() == ([1, 2], False)
        assert two.drain() == ([1, 2], False)
        assert other.drain() == ([], False)
        assert one.drain() == ([], False)


async def test_a_listener_is_notified_of_each_message() -> None:
    bus: PubSub[int] = PubSub()
    calls: list[str] = []
    with bus.subscribe("a", lambda: calls.append("a")):
        await bus.publish("a", 1)
        await bus.publish("b", 2)
        await bus.publish("a", 3)
    assert calls == ["a", "a"]


async def test_overflow_drops_the_latest_and_says_so_once() -> None:
    bus: PubSub[int] = PubSub()
    with bus.subscribe("a", nobody, max_waiting=2) as slow, bus.subscribe("a", nobody) as other:
        for number in range(5):
            await bus.publish("a", number)
        assert slow.drain() == ([0, 1], True)
        assert other.drain() == ([0, 1, 2, 3, 4], False)
        await bus.publish("a", 5)
        assert slow.drain() == ([5], False)


async def test_an_overflow_notifies_too() -> None:
    bus: PubSub[int] = PubSub()
    calls: list[int] = []
    with bus.subscribe("a", lambda: calls.append(1), max_waiting=1) as slow:
        await bus.publish("a", 1)
        await bus.publish("a", 2)
        assert len(calls) == 2
        assert slow.drain() == ([1], True)


async def test_whoever_left_gets_nothing_and_nothing_is_kept() -> None:
    bus: PubSub[int] = PubSub()
    with bus.subscribe("a", nobody) as one:
        assert list(bus._topics) == ["a"]
    await bus.publish("a", 1)
    one.close()
    assert one.drain() == ([], False)
    assert not bus._topics


async def test_a_listener_may_leave_while_it_is_told() -> None:
    bus: PubSub[int] = PubSub()

    def leave() -> None:
        one.close()

    with bus.subscribe("a", leave) as one, bus.subscribe("a", nobody) as two:
        await bus.publish("a", 1)
        await bus.publish("a", 2)
        assert one.drain() == ([1], False)
        assert two.drain() == ([1, 2], False)
