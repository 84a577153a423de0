"""Bounds how often strangers may try something: a bucket of attempts per network address, and one for all together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from tidenote.errors import ProtocolError
from tidenote.server.limits import address_of

MAX_ADDRESSES: Final = 10_000
"""Of how many addresses attempts are remembered."""


class Throttle:
    """Lets a few attempts through at once, and then one now and then.

    Args:
        clock_s: a monotonic clock, in seconds.
        burst: how many attempts an address has at once.
        every_s: after how many seconds it has one more.
        all_burst: how many attempts all addresses have together.
        all_every_s: after how many seconds they have one more.
    """

    def __init__(
        self,
        clock_s: Callable[[], float],
        *,
        burst: int = 10,
        every_s: float = 6.0,
        all_burst: int = 100,
        all_every_s: float = 0.5,
    ) -> None:
        self._clock_s = clock_s
        self._burst, self._every_s = burst, every_s
        self._all_burst, self._all_every_s = all_burst, all_every_s
        self._full_at: OrderedDict[str, float] = OrderedDict()
        """Address -> when its bucket will be full again. An address that is not here has a full one."""
        self._all_full_at = 0.0

    def check(self, address: str) -> None:
        """Count an attempt.

        Raises:
            ProtocolError: `too_many_attempts`, and it did not count.
        """
        now_s, name = self._clock_s(), address_of(address)
        own = max(self._full_at.get(name, now_s), now_s) + self._every_s
        everyone = max(self._all_full_at, now_s) + self._all_every_s
        if own > now_s + self._burst * self._every_s or everyone > now_s + self._all_burst * self._all_every_s:
            raise ProtocolError("too many attempts: wait a minute", "too_many_attempts")
        self._all_full_at = everyone
        self._full_at[name] = own
        self._full_at.move_to_end(name)
        if len(self._full_at) > MAX_ADDRESSES:
            self._full_at.popitem(last=False)
