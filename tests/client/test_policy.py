from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidenote.client import policy
from tidenote.client.policy import (
    FALL_BACK_AFTER,
    WEBSOCKET_RETRY_MAX_MS,
    Close,
    Connect,
    LinkState,
    Poll,
    Step,
    Stop,
    Wait,
    next_step,
)
from tidenote.config import SyncConfig

CONFIG = SyncConfig("phone")
NO_WEBSOCKET = SyncConfig("phone", enable_websocket=False)


@pytest.mark.parametrize(
    ("state", "config", "now_ms", "step"),
    [
        (LinkState(), CONFIG, 0, Connect()),
        (LinkState(), NO_WEBSOCKET, 0, Poll()),
        (LinkState(connected_at_ms=5), CONFIG, 10, Wait(20_000)),
        (LinkState(connected_at_ms=5, closing=True), CONFIG, 10, Close()),
        (LinkState(connected_at_ms=5, stopped="forbidden"), CONFIG, 10, Close()),
        (LinkState(closing=True), CONFIG, 10, Stop(None)),
        (LinkState(closing=True, stopped="forbidden"), CONFIG, 10, Stop(None)),
        (LinkState(stopped="forbidden"), CONFIG, 10, Stop("forbidden")),
        (LinkState(failures=1, due_at_ms=300), CONFIG, 100, Wait(200)),
        (LinkState(failures=1, due_at_ms=300, hurry=True), CONFIG, 100, Wait(200)),
        (LinkState(failures=1, due_at_ms=300), CONFIG, 300, Connect()),
        (LinkState(failures=3, due_at_ms=300, http_is_next=True), CONFIG, 300, Poll()),
        (LinkState(failures=3, due_at_ms=300), NO_WEBSOCKET, 300, Poll()),
        (LinkState(failures=3, due_at_ms=300), NO_WEBSOCKET, 299, Wait(1)),
        (LinkState(polling=True, due_at_ms=300, websocket_due_at_ms=900), CONFIG, 100, Wait(200)),
        (LinkState(polling=True, due_at_ms=900, websocket_due_at_ms=300), CONFIG, 100, Wait(200)),
        (LinkState(polling=True, due_at_ms=300, websocket_due_at_ms=900), CONFIG, 300, Poll()),
        (LinkState(polling=True, due_at_ms=300, websocket_due_at_ms=900, hurry=True), CONFIG, 100, Poll()),
        (LinkState(polling=True, due_at_ms=300, websocket_due_at_ms=100), CONFIG, 100, Connect()),
        (LinkState(polling=True, due_at_ms=300), NO_WEBSOCKET, 100, Wait(200)),
        (LinkState(polling=True, due_at_ms=300), NO_WEBSOCKET, 300, Poll()),
    ],
)
def test_the_next_step(state: LinkState, config: SyncConfig, now_ms: int, step: Step) -> None:
    assert next_step(state, config, now_ms) == step


@pytest.mark.parametrize(
    ("failures", "bound_ms"), [(1, 300), (2, 600), (3, 1200), (7, 19_200), (8, 30_000), (1_000_000, 30_000)]
)
def test_pauses_double_below_a_bound_with_full_jitter(failures: int, bound_ms: int) -> None:
    assert policy.pause(failures, CONFIG, 0.0) == 0
    assert policy.pause(failures, CONFIG, 0.5) == bound_ms // 2
    assert policy.pause(failures, CONFIG, 1.0) == bound_ms


def test_a_lost_connection_is_tried_again_after_a_short_pause() -> None:
    state = policy.lost(policy.opened(LinkState(), 1_000), CONFIG, 60_000, 1.0)
    assert (state.connected_at_ms, state.failures, state.unusable, state.due_at_ms) == (None, 1, 1, 60_300)


def test_only_a_connection_that_lasted_makes_the_pauses_small_again() -> None:
    before = LinkState(failures=5, unusable=2, blocked=1)
    short = policy.lost(policy.opened(before, 1_000), CONFIG, 30_999, 1.0)
    assert (short.failures, short.unusable) == (6, 3)
    long = policy.lost(policy.opened(before, 1_000), CONFIG, 31_000, 1.0)
    assert (long.failures, long.unusable, long.blocked) == (1, 1, 0)


def test_who_was_replaced_takes_the_longest_pause() -> None:
    state = policy.lost(policy.opened(LinkState(), 0), CONFIG, 100_000, 0.0, replaced=True)
    assert state.due_at_ms == 115_000
    assert policy.lost(LinkState(connected_at_ms=0), CONFIG, 100_000, 1.0, replaced=True).due_at_ms == 130_000


def test_after_some_failures_http_and_websocket_take_turns() -> None:
    state = LinkState()
    taken = []
    for _ in range(FALL_BACK_AFTER + 4):
        step = next_step(state, CONFIG, state.due_at_ms)
        taken.append(step)
        fail = policy.lost if step == Connect() else policy.poll_failed
        state = fail(state, CONFIG, state.due_at_ms, 1.0)
    assert taken == [Connect()] * FALL_BACK_AFTER + [Poll(), Connect(), Poll(), Connect()]
    assert state.failures == FALL_BACK_AFTER + 4


def test_while_polling_the_websocket_is_tried_soon_and_then_ever_less_often() -> None:
    state = policy.polled(LinkState(failures=3, unusable=3, http_is_next=True), CONFIG, 1_000, 1.0)
    assert (state.polling, state.failures, state.due_at_ms, state.websocket_due_at_ms) == (True, 0, 6_000, 6_000)
    pauses = []
    for _ in range(6):
        now_ms = state.websocket_due_at_ms
        assert next_step(state, CONFIG, now_ms) == Connect()
        state = policy.lost(state, CONFIG, now_ms, 1.0)
        assert state.polling
        pauses.append(state.websocket_due_at_ms - now_ms)
    assert pauses == [10_000, 20_000, 40_000, 60_000, 60_000, 60_000]
    assert policy.polled(state, CONFIG, 500_000, 1.0).websocket_due_at_ms == state.websocket_due_at_ms


def test_a_websocket_that_opens_ends_the_polling() -> None:
    state = policy.opened(LinkState(polling=True, hurry=True), 7)
    assert (state.polling, state.hurry, state.connected_at_ms) == (False, False, 7)


def test_a_poll_that_fails_ends_the_polling_and_backs_off() -> None:
    state = policy.poll_failed(LinkState(polling=True, blocked=4, hurry=True), CONFIG, 1_000, 1.0)
    assert (state.polling, state.blocked, state.failures, state.due_at_ms) == (False, 0, 1, 1_300)
    assert next_step(state, CONFIG, 1_000) == Wait(300)
    assert next_step(state, CONFIG, 1_300) == Connect()


def test_what_is_written_while_a_poll_runs_makes_the_next_one_hurry() -> None:
    state = policy.polled(policy.sending(LinkState(hurry=True)), NO_WEBSOCKET, 1_000, 1.0)
    assert next_step(state, NO_WEBSOCKET, 1_001) == Wait(4_999)
    assert next_step(policy.hurried(state), NO_WEBSOCKET, 1_001) == Poll()


def test_a_stop_closes_first() -> None:
    state = policy.stopped(policy.opened(LinkState(), 1), "unauthorized")
    assert next_step(state, CONFIG, 2) == Close()
    assert next_step(policy.closed(state), CONFIG, 2) == Stop("unauthorized")
    assert next_step(policy.closing(policy.closed(state)), CONFIG, 2) == Stop(None)


configs = st.builds(
    SyncConfig,
    device_id=st.just("phone"),
    enable_websocket=st.booleans(),
    sync_interval_ms=st.integers(1, 100_000),
    backoff_initial_ms=st.integers(1, 10_000),
    backoff_max_ms=st.integers(1, 100_000),
    stable_after_ms=st.integers(1, 100_000),
)
events = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.booleans(), st.integers(0, 200_000), st.floats(0, 1)), max_size=60
)


@given(configs, events)
def test_whatever_happens_the_link_tries_again_within_a_bounded_time(
    config: SyncConfig, happenings: list[tuple[bool, bool, bool, int, float]]
) -> None:
    bound_ms = max(config.backoff_max_ms, config.sync_interval_ms, WEBSOCKET_RETRY_MAX_MS)
    state, now_ms = LinkState(), 0
    tried_at_ms = 0
    for works, replaced, hurry, lasts_ms, chance in happenings:
        if hurry:
            state = policy.hurried(state)
        step = next_step(state, config, now_ms)
        if isinstance(step, Wait):
            assert 0 < step.ms <= bound_ms
            now_ms += step.ms
            step = next_step(state, config, now_ms)
        # Nobody asks for a second wait: after the first, something is tried.
        assert step == Poll() if not config.enable_websocket else step in (Connect(), Poll())
        assert now_ms - tried_at_ms <= bound_ms
        if step == Connect():
            state = policy.opened(state, now_ms) if works else state
            now_ms += lasts_ms
            state = policy.lost(state, config, now_ms, chance, replaced=replaced)
        else:
            state = policy.sending(state)
            now_ms += lasts_ms
            then = policy.polled if works else policy.poll_failed
            state = then(state, config, now_ms, chance)
        tried_at_ms = now_ms
        assert state.connected_at_ms is None


@given(configs, events)
def test_a_websocket_is_always_tried_again(
    config: SyncConfig, happenings: list[tuple[bool, bool, bool, int, float]]
) -> None:
    """Even where HTTP works all the time: otherwise one bad minute would make a device slow for ever."""
    config = replace(config, enable_websocket=True)
    state, now_ms = LinkState(), 0
    last_connect_ms = 0
    for _, _, _, _, chance in happenings:
        step = next_step(state, config, now_ms)
        if isinstance(step, Wait):
            now_ms += step.ms
        elif step == Connect():
            last_connect_ms = now_ms
            state = policy.lost(state, config, now_ms, chance)
        else:
            state = policy.polled(state, config, now_ms, chance)
        assert now_ms - last_connect_ms <= WEBSOCKET_RETRY_MAX_MS + config.sync_interval_ms + config.backoff_max_ms
