"""Topics: whoever publishes does not know who listens, and is never held up by them.

A message is a hint: what counts is the log, which a subscriber reads when it lost one. `Bus` is what the server asks
for; `PubSub` is the one inside a process. No sockets, no store.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Generic, Protocol, TypeVar

M = TypeVar("M")

MAX_WAITING: Final = 64
"""How many messages a subscription keeps until it is drained."""


class Bus(Protocol[M]):
    """Carries messages from whoever publishes to all subscribers of a topic, of this process or of others."""

    async def publish(self, topic: str, message: M) -> None:
        """Tell everyone who listens to a topic; return when the message is on its way."""
        ...

    def subscribe(self, topic: str, notify: Callable[[], object], *, max_waiting: int = MAX_WAITING) -> Subscription[M]:
        """Listen to a topic from now on; as `PubSub.subscribe`."""
        ...


class Subscription(Generic[M]):
    """One listener: a bounded queue that is drained at the listener's own pace. A context manager: leaving ends it."""

    def __init__(
        self, notify: Callable[[], object], max_waiting: int, release: Callable[[Subscription[M]], None]
    ) -> None:
        self._notify = notify
        self._max_waiting = max_waiting
        self._release = release
        self._waiting: deque[M] = deque()
        self._lost = False

    def put(self, message: M) -> None:
        """Add a message, or drop it and note the loss if the queue is full."""
        if len(self._waiting) < self._max_waiting:
            self._waiting.append(message)
        else:
            self._lost = True
        self._notify()

    def drain(self) -> tuple[list[M], bool]:
        """Return what arrived since the last call, and whether more than that did (then read the log)."""
        messages, lost = list(self._waiting), self._lost
        self._waiting.clear()
        self._lost = False
        return messages, lost

    def close(self) -> None:
        """Stop listening; closing twice is harmless."""
        self._release(self)

    def __enter__(self) -> Subscription[M]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PubSub(Generic[M]):
    """The bus of a server that is a single process."""

    def __init__(self) -> None:
        self._topics: dict[str, dict[Subscription[M], None]] = {}

    async def publish(self, topic: str, message: M) -> None:
        """Tell everyone who listens to a topic now."""
        for subscription in list(self._topics.get(topic, ())):
            subscription.put(message)

    def subscribe(self, topic: str, notify: Callable[[], object], *, max_waiting: int = MAX_WAITING) -> Subscription[M]:
        """Listen to a topic from now on.

        Args:
            topic: its name.
            notify: called without arguments when there is something to drain; must not block or fail.
            max_waiting: how many messages to keep; later ones are dropped, and the loss is told by `drain`.
        """

        def release(subscription: Subscription[M]) -> None:
            listeners = self._topics.get(topic, {})
            listeners.pop(subscription, None)
            if not listeners:
                self._topics.pop(topic, None)

        subscription: Subscription[M] = Subscription(notify, max_waiting, release)
        self._topics.setdefault(topic, {})[subscription] = None
        return subscription
