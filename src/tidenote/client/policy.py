"""The link's next step from plain state: connect, ask by HTTP, wait, or stop. Pure: time and chance are arguments.

Transitions (`opened`, `lost`, `polled`, ...) say what happened, `next_step` what to do about it; link.py does it.
Heartbeats of an open socket are the WebSocket library's, set by `heartbeat_interval_ms` and `heartbeat_timeout_ms`:
a dead connection arrives here as `lost`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from tidenote.config import SyncConfig

FALL_BACK_AFTER: Final = 3
"""After how many WebSocket attempts in a row without success HTTP is tried, too."""

WEBSOCKET_RETRY_MAX_MS: Final = 60_000
"""While HTTP works and WebSockets do not: the longest time until a WebSocket is tried again."""


@dataclass(frozen=True, slots=True)
class Connect:
    """Step: open a WebSocket and talk until it ends."""


@dataclass(frozen=True, slots=True)
class Poll:
    """Step: push and pull everything by HTTP, once."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Step: wait, but no longer than until something happens; then ask again."""

    ms: int


@dataclass(frozen=True, slots=True)
class Close:
    """Step: close the open WebSocket."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Step: do nothing any more; `code` is None if the user closed the link."""

    code: str | None


Step = Connect | Poll | Wait | Close | Stop


@dataclass(frozen=True, slots=True)
class LinkState:
    """All that the next step depends on. Times are of one monotonic clock, in ms.

    Attributes:
        connected_at_ms: when the open WebSocket got its first answer; None while none is open.
        polling: whether the last exchange by HTTP worked and no WebSocket did since.
        failures: attempts of either kind in a row that failed, or did not last.
        unusable: WebSocket attempts in a row that failed, or did not last.
        blocked: those of them that failed while HTTP worked.
        http_is_next: whether the next attempt of a link without success goes by HTTP.
        due_at_ms: before that, no attempt; while polling, the next poll.
        websocket_due_at_ms: while polling, when to try a WebSocket again.
        hurry: whether there is something to send.
        stopped: the code that made the link stop.
        closing: whether the user closed the link.
    """

    connected_at_ms: int | None = None
    polling: bool = False
    failures: int = 0
    unusable: int = 0
    blocked: int = 0
    http_is_next: bool = False
    due_at_ms: int = 0
    websocket_due_at_ms: int = 0
    hurry: bool = False
    stopped: str | None = None
    closing: bool = False


def next_step(state: LinkState, config: SyncConfig, now_ms: int) -> Step:
    """Return what to do now."""
    if state.closing or state.stopped:
        return Close() if state.connected_at_ms is not None else Stop(None if state.closing else state.stopped)
    if state.connected_at_ms is not None:
        return Wait(config.heartbeat_interval_ms)
    if state.polling:
        return _while_polling(state, config, now_ms)
    if now_ms < state.due_at_ms:
        return Wait(state.due_at_ms - now_ms)
    return Poll() if state.http_is_next or not config.enable_websocket else Connect()


def _while_polling(state: LinkState, config: SyncConfig, now_ms: int) -> Step:
    due_at_ms = now_ms if state.hurry else state.due_at_ms
    if config.enable_websocket:
        if now_ms >= state.websocket_due_at_ms:
            return Connect()
        due_at_ms = min(due_at_ms, state.websocket_due_at_ms)
    if now_ms < due_at_ms:
        return Wait(due_at_ms - now_ms)
    return Poll()


def opened(state: LinkState, now_ms: int) -> LinkState:
    """A WebSocket got its first answer."""
    return replace(state, connected_at_ms=now_ms, polling=False, hurry=False)


def lost(state: LinkState, config: SyncConfig, now_ms: int, chance: float, *, replaced: bool = False) -> LinkState:
    """A WebSocket ended, or could not be opened.

    Args:
        state: before.
        config: the pauses.
        now_ms: when.
        chance: a random number in 0..1, the jitter.
        replaced: whether the same device connected elsewhere; then the longest pause, lest the two chase each other.
    """
    if state.connected_at_ms is not None and now_ms - state.connected_at_ms >= config.stable_after_ms:
        state = replace(state, failures=0, unusable=0, blocked=0)
    if state.polling:
        blocked = state.blocked + 1
        pause_ms = min(config.sync_interval_ms * 2 ** min(blocked, 16), WEBSOCKET_RETRY_MAX_MS)
        return replace(
            state,
            unusable=state.unusable + 1,
            blocked=blocked,
            websocket_due_at_ms=now_ms + _half_jitter(pause_ms, chance),
        )
    failures = state.failures + 1
    pause_ms = _half_jitter(config.backoff_max_ms, chance) if replaced else pause(failures, config, chance)
    return replace(
        state,
        connected_at_ms=None,
        failures=failures,
        unusable=state.unusable + 1,
        http_is_next=state.unusable + 1 >= FALL_BACK_AFTER,
        due_at_ms=now_ms + pause_ms,
    )


def polled(state: LinkState, config: SyncConfig, now_ms: int, chance: float) -> LinkState:
    """An exchange by HTTP worked."""
    websocket_due_at_ms = state.websocket_due_at_ms
    if not state.polling:
        # The server may just have come back: the WebSocket gets its chance soon, then ever less often.
        websocket_due_at_ms = now_ms + _half_jitter(config.sync_interval_ms, chance)
    return replace(
        state,
        polling=True,
        failures=0,
        http_is_next=False,
        due_at_ms=now_ms + config.sync_interval_ms,
        websocket_due_at_ms=websocket_due_at_ms,
    )


def poll_failed(state: LinkState, config: SyncConfig, now_ms: int, chance: float) -> LinkState:
    """An exchange by HTTP did not work."""
    failures = state.failures + 1
    return replace(
        state,
        polling=False,
        failures=failures,
        blocked=0,
        http_is_next=False,
        due_at_ms=now_ms + pause(failures, config, chance),
    )


def hurried(state: LinkState) -> LinkState:
    """There is something to send: an exchange by HTTP need not wait for its time."""
    return replace(state, hurry=True)


def sending(state: LinkState) -> LinkState:
    """An exchange by HTTP begins: what there is to send goes along."""
    return replace(state, hurry=False)


def stopped(state: LinkState, code: str) -> LinkState:
    """A code came that trying again does not cure."""
    return replace(state, stopped=code)


def closing(state: LinkState) -> LinkState:
    """The user closes the link."""
    return replace(state, closing=True)


def closed(state: LinkState) -> LinkState:
    """The open WebSocket was closed by ourselves."""
    return replace(state, connected_at_ms=None)


def pause(failures: int, config: SyncConfig, chance: float) -> int:
    """Return how long to wait after so many failures in a row, ms: full jitter below a bound that doubles.

    Full jitter, so that a thousand devices that lost the same server do not come back at once.
    """
    bound_ms = min(config.backoff_initial_ms * 2 ** min(failures - 1, 32), config.backoff_max_ms)
    return int(bound_ms * chance)


def _half_jitter(bound_ms: int, chance: float) -> int:
    return int(bound_ms * (1 + chance) / 2)
