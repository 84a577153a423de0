"""What one device or one address may take."""

from __future__ import annotations

import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.changes import write
from tidenote.config import ServerConfig
from tidenote.errors import ConfigError, ProtocolError
from tidenote.server import limits, serve
from tidenote.server.limits import Crowd, Pace, Paces, Proxies, address_of, work_of


def test_a_burst_then_so_many_a_second() -> None:
    pace = Pace(10, 100, now=0.0)
    assert pace.take(100, 0.0) == 0
    assert pace.take(20, 0.0) == 2.0
    assert pace.wait_s(1.5) == 0.5
    assert not pace.is_rested(11.9)
    assert pace.is_rested(12.0)
    assert pace.take(100, 1000.0) == 0, "a long rest is worth one burst"
    assert pace.take(10, 1000.0) == 1.0


def test_a_change_that_names_many_versions_counts_for_many() -> None:
    few, many = write("9a", base="1b 2b 3b 4b 5b 6b 7b"), write("2000a", base=" ".join(f"{n}b" for n in range(1, 801)))
    assert (work_of([]), work_of([write("1a"), few]), work_of([few, many])) == (0, 2, 102)


def test_a_clock_that_goes_back_costs_nobody_anything() -> None:
    pace = Pace(10, 10, now=100.0)
    assert pace.take(10, 50.0) == 0
    assert pace.take(10, 100.5) == 0.5


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 500)), max_size=50))
def test_who_waits_as_told_never_gets_more_than_the_pace(pushes: list[tuple[float, int]]) -> None:
    pace, now, total = Pace(50, 200, now=0.0), 0.0, 0
    for rest, number in pushes:
        now += rest + pace.wait_s(now + rest)
        total += number
        pace.take(number, now)
        # One push is taken whole, so that at most one is ahead of the pace.
        assert total - number <= 200 + 50 * now + 1e-6


def test_paces_are_per_device_and_forgotten_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PACES", 2)
    now = [0.0]
    paces = Paces(1, 1, lambda: now[0])
    assert paces.wait_s("a") == 0
    assert paces.take("a", 2) == 1
    assert paces.take("b", 1) == 0
    assert paces.wait_s("a") == 1
    now[0] = 1.5
    assert paces.take("c", 1) == 0
    assert len(paces._paces) == 2, "b rests, a does not yet"
    assert paces.take("a", 1) == 0.5


def test_a_crowd_is_bounded_in_all_three_ways() -> None:
    crowd = Crowd(in_all=4, per_device=2, per_address=3)
    with crowd.joined("a", "x"), crowd.joined("a", "y"):
        with pytest.raises(ProtocolError, match="this device") as caught:
            crowd.check_room("a", "z")
        assert caught.value.code == "overloaded"
        with crowd.joined("b", "x"), crowd.joined("c", "x"):
            assert len(crowd) == 4
            with pytest.raises(ProtocolError, match="the server"):
                crowd.check_room("d", "z")
        with crowd.joined("b", "x"):
            crowd.check_room("c", "x")
            with crowd.joined("d", "z"):
                pass
    assert len(crowd) == 0
    crowd.check_room("a", "x")
    assert not crowd._devices
    assert not crowd._addresses
    crowd = Crowd(in_all=9, per_device=9, per_address=1)
    with crowd.joined("a", "x"), pytest.raises(ProtocolError, match="this address"):
        crowd.check_room("b", "x")


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::9", "2001:db8:1:2::/64"),
        ("/run/socket", "/run/socket"),
        (None, ""),
    ],
)
def test_what_counts_as_one_address(host: str | None, address: str) -> None:
    assert address_of(host) == address


def test_many_may_ask_from_the_address_of_a_proxy() -> None:
    proxies = Proxies("127.0.0.1, ::1,10.0.0.0/8,unix")
    assert [proxies.peer_of(host) for host in ("127.0.0.1", "::1", "10.1.2.3", "")] == [None] * 4
    assert proxies.peer_of("127.0.0.2") == "127.0.0.2"
    assert proxies.peer_of("2001:db8::1") == proxies.peer_of("2001:db8::2") == "2001:db8::/64"
    assert Proxies("*").peer_of("192.0.2.7") is Proxies("*").peer_of("2001:db8::1") is None
    assert Proxies("").peer_of("127.0.0.1") == "127.0.0.1"


@pytest.mark.parametrize(
    ("soft", "hard", "sockets", "others"),
    [
        (20_000, 20_000, 10_000, 2000),
        (1024, 20_000, 10_000, 2000),
        (1024, resource.RLIM_INFINITY, 10_000, 2000),
        (1024, 4096, 2922, 974),
        (1024, 1024, 618, 206),
    ],
)
def test_there_are_no_more_connections_than_leave_files_for_the_notes(
    soft: int, hard: int, sockets: int, others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = [soft]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: allowed.append(new[0]))
    config = serve.with_files(ServerConfig())
    assert (config.max_connections, config.max_http_connections) == (sockets, others)
    assert sockets + others + serve.OTHER_FILES <= allowed[-1]


def test_too_few_files_for_anything_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: None)
    with pytest.raises(ConfigError, match="ulimit -n 12200"):
        serve.with_files(ServerConfig())
