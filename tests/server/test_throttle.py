"""How often strangers may try."""

from __future__ import annotations

from tidenote.errors import ProtocolError
from tidenote.server.throttle import MAX_ADDRESSES, Throttle


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def tries(throttle: Throttle, address: str, most: int = 1000) -> int:
    """Return how many attempts an address has before it is refused."""
    for number in range(most):
        if not may(throttle, address):
            return number
    return most


def may(throttle: Throttle, address: str) -> bool:
    """Say whether an attempt is let through."""
    try:
        throttle.check(address)
    except ProtocolError as error:
        return error.code != "too_many_attempts"
    return True


def test_an_address_has_a_few_attempts_and_then_one_now_and_then() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    assert tries(throttle, "10.0.0.1") == 10
    assert tries(throttle, "10.0.0.2") == 10
    clock.now_s += 6
    assert tries(throttle, "10.0.0.1") == 1
    clock.now_s += 3600
    assert tries(throttle, "10.0.0.1") == 10


def test_one_person_s_addresses_are_one() -> None:
    throttle = Throttle(Clock())
    assert tries(throttle, "2001:db8::1") == 10
    assert tries(throttle, "2001:db8::ffff") == 0
    assert tries(throttle, "2001:db8:0:1::1") == 10
    assert tries(throttle, "") == 10


def test_all_together_have_not_many_more() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    assert sum(tries(throttle, f"10.0.0.{number}") for number in range(50)) == 100
    clock.now_s += 0.5
    assert tries(throttle, "10.1.0.0") == 1


def test_it_remembers_no_more_than_it_must() -> None:
    throttle = Throttle(Clock(), all_every_s=0)
    for number in range(MAX_ADDRESSES + 100):
        throttle.check(f"a{number}")
    assert len(throttle._full_at) == MAX_ADDRESSES
    assert tries(throttle, f"a{MAX_ADDRESSES}") == 9
    assert tries(throttle, "a0") == 10
