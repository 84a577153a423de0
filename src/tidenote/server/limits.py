"""What one device or one address may take of the server: connections, and changes a second.

Limits of messages and values are wire's and config's; time limits of heads and sockets are uvicorn_protocols.py's.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tidenote.core.version import Change
from tidenote.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PACES: Final = 10_000
"""How many devices' paces are remembered before those that are at rest are forgotten."""


DOTS_OF_A_CHANGE: Final = 8
"""How many dots of a base cost the log about as much as one more change."""


def work_of(changes: Iterable[Change]) -> int:
    """Return what changes cost, in changes: whoever names a thousand versions has each looked up."""
    return sum(1 + len(change.base or ()) // DOTS_OF_A_CHANGE for change in changes)


class Pace:
    """A token bucket: so many changes a second in the long run, and a burst at once. Time in seconds, monotonic.

    Args:
        per_s: changes a second.
        burst: changes at once, after a rest.
        now: the time.
    """

    def __init__(self, per_s: float, burst: float, now: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._room = burst
        self._at = now

    def take(self, number: int, now: float) -> float:
        """Count changes that came; return for how many seconds no more should be read."""
        self._room = self._room_at(now) - number
        self._at = max(now, self._at)
        return self.wait_s(now)

    def wait_s(self, now: float) -> float:
        """Return for how many seconds no more should be read."""
        return max(0.0, -self._room_at(now) / self._per_s)

    def is_rested(self, now: float) -> bool:
        """Say whether the whole burst is there again."""
        return self._room_at(now) >= self._burst

    def _room_at(self, now: float) -> float:
        return min(self._burst, self._room + max(0.0, now - self._at) * self._per_s)


class Paces:
    """The paces of all devices: of a device's connections and requests together, so that more of them gain nothing.

    Args:
        per_s: changes a second of one device.
        burst: changes at once.
        clock: returns the time in seconds, monotonic.
    """

    def __init__(self, per_s: float, burst: float, clock: Callable[[], float]) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._paces: dict[str, Pace] = {}

    def take(self, device: str, number: int) -> float:
        """Count changes that a device sent; return for how many seconds no more of it should be read."""
        now = self._clock()
        if device not in self._paces:
            if len(self._paces) >= MAX_PACES:
                self._paces = {name: pace for name, pace in self._paces.items() if not pace.is_rested(now)}
            self._paces[device] = Pace(self._per_s, self._burst, now)
        return self._paces[device].take(number, now)

    def wait_s(self, device: str) -> float:
        """Return for how many seconds no more of a device should be read."""
        pace = self._paces.get(device)
        return pace.wait_s(self._clock()) if pace else 0.0


class Crowd:
    """How many connections there are in all, of each device and from each address.

    Args:
        in_all: the most connections.
        per_device: the most of one device, its incarnations and vaults together.
        per_address: the most from one address.
    """

    def __init__(self, in_all: int, per_device: int, per_address: int) -> None:
        self._in_all = in_all
        self._per_device = per_device
        self._per_address = per_address
        self._total = 0
        self._devices: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._total

    def check_room(self, device: str, address: str) -> None:
        """Check that one more connection may come.

        Raises:
            ProtocolError: `overloaded`.
        """
        for number, most, whose in (
            (self._total, self._in_all, "the server has"),
            (self._devices[device], self._per_device, "this device has"),
            (self._addresses[address], self._per_address, "this address has"),
        ):
            if number >= most:
                raise ProtocolError(f"{whose} as many connections as it may", "overloaded")

    @contextmanager
    def joined(self, device: str, address: str) -> Iterator[None]:
        """Count a connection while the context lasts."""
        self._total += 1
        self._devices[device] += 1
        self._addresses[address] += 1
        try:
            yield
        finally:
            self._total -= 1
            for counter, name in ((self._devices, device), (self._addresses, address)):
                counter[name] -= 1
                if not counter[name]:
                    del counter[name]


def address_of(host: str | None) -> str:
    """Return what counts as one address: of IPv6 the network of a household, which has as many as it likes.

    Args:
        host: of the peer, as the socket has it; None if it has none.
    """
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return host or ""
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
    return str(address)


class Proxies:
    """The proxies that are believed when they say for whom they ask: many may ask from their addresses.

    Args:
        listed: addresses and networks, separated by commas; `*` for everyone.
    """

    def __init__(self, listed: str) -> None:
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for name in listed.split(","):
            try:
                networks = ("0.0.0.0/0", "::/0") if name.strip() == "*" else (name.strip(),)
                self._networks += map(ipaddress.ip_network, networks)
            except ValueError:
                continue  # the name of a local socket: no address

    def peer_of(self, host: str) -> str | None:
        """Return what counts as one address; None for a proxy's, since nobody knows yet who asks."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return None
        return None if any(address in network for network in self._networks) else address_of(host)
