"""Who is known: links, tokens, sessions, and how each of them ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tidenote.errors import AccessError, ProtocolError, StorageError
from tidenote.server.identity import OVERLAP_MS, PAIRING_MS, Identity
from tidenote.server.store.registry import Credential, MemoryRegistry, Pairing, Registry
from tidenote.server.store.sql import SqlStore

pytestmark = pytest.mark.anyio

DAY_MS = 86_400_000


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture(params=["memory", "sqlite"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    if request.param == "memory":
        yield MemoryRegistry()
        return
    store = SqlStore.open(tmp_path / "data")
    yield store.registry
    store.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def identity(registry: Registry, clock: Clock) -> Identity:
    return start(registry, clock)


async def write(call: Any) -> Any:
    await asyncio.sleep(0)
    return call()


def start(registry: Registry, clock: Clock) -> Identity:
    """Return what a server that starts now knows."""
    return Identity(registry, write, clock, 90)


async def enrol(identity: Identity, device_id: str | None = None, **how: Any) -> tuple[Credential, str]:
    invitation = await identity.invite(how.pop("vault", "main"), device_id, how.pop("role", "editor"))
    made, token, _ = await identity.redeem(invitation.code, how.pop("wanted", None), **how)
    return made, token


async def test_a_link_makes_a_device_that_later_starts_know(
    registry: Registry, clock: Clock, identity: Identity
) -> None:
    made, token = await enrol(identity, "laptop", role="reader")
    assert (made.device_id, made.vaults, made.role, made.session) == ("laptop", ("main",), "reader", False)
    assert len(token) == 43
    for known in (identity, start(registry, clock)):
        assert known.find(token) == made
        assert known.credentials == [made]
        for other in ("", token[:-1], f"{token}x", token.swapcase()):
            assert known.find(other) is None
    assert (await enrol(identity, vault=None, role="owner"))[0].vaults is None
    assert identity.has_owner
    assert start(registry, clock).has_owner


async def test_an_owner_of_one_vault_does_not_own_the_server(identity: Identity) -> None:
    await enrol(identity, role="owner")
    assert not identity.has_owner


async def test_a_link_is_good_once_also_for_two_at_the_same_moment(identity: Identity) -> None:
    invitation = await identity.invite("main", None, "editor")
    results = await asyncio.gather(
        *(identity.redeem(invitation.code, f"d{number}") for number in range(5)), return_exceptions=True
    )
    failures = [result for result in results if isinstance(result, BaseException)]
    assert len(failures) == 4
    assert all(isinstance(failure, AccessError) and failure.code == "bad_link" for failure in failures)
    assert len(identity.credentials) == 1


async def test_a_link_expires_and_so_do_others_that_nobody_uses(
    registry: Registry, clock: Clock, identity: Identity
) -> None:
    early, late = [await identity.invite("main", None, "editor") for _ in range(2)]
    assert early.expires_at == clock.now_ms + PAIRING_MS
    clock.now_ms += PAIRING_MS - 1
    await identity.redeem(early.code, None)
    clock.now_ms += 1
    words = set()
    for code in (late.code, early.code, "never", ""):
        with pytest.raises(AccessError) as caught:
            await identity.redeem(code, None)
        assert caught.value.code == "bad_link"
        words.add(caught.value.message)
    assert len(words) == 1
    # What expired is dropped when the next one is made.
    stale = Pairing("0" * 64, None, None, "owner", clock.now_ms)
    registry.add_pairing(stale, clock.now_ms)
    await identity.invite("main", None, "editor")
    clock.now_ms -= 1
    assert registry.redeem("0" * 64, clock.now_ms, lambda _: pytest.fail("it is gone")) is None


async def test_names_are_unique(identity: Identity) -> None:
    assert (await enrol(identity))[0].device_id == "device"
    assert [(await enrol(identity, wanted="phone"))[0].device_id for _ in range(3)] == ["phone", "phone-2", "phone-3"]
    long = "x" * 64
    assert [(await enrol(identity, wanted=long))[0].device_id for _ in range(2)] == [long, "x" * 62 + "-2"]
    both = [await identity.invite("main", None, "editor") for _ in range(2)]
    made = await asyncio.gather(*(identity.redeem(invitation.code, "pad") for invitation in both))
    assert {credential.device_id for credential, _, _ in made} == {"pad", "pad-2"}
    for bad in ("", "a b", "server", "phone~2", "*", "x" * 65):
        with pytest.raises(ProtocolError):
            await enrol(identity, wanted=bad)
        with pytest.raises(ProtocolError):
            await identity.invite("main", bad, "editor")


async def test_a_link_for_a_device_that_is_known_replaces_its_token(identity: Identity) -> None:
    first, old = await enrol(identity, "laptop")
    invitation = await identity.invite("main", "laptop", "reader")
    assert identity.find(old)
    second, new, ended = await identity.redeem(invitation.code, "ignored")
    assert (second.device_id, second.role) == ("laptop", "reader")
    assert [credential.id for credential in ended] == [first.id]
    assert identity.find(old) is None
    assert identity.find(new)
    # Another vault's device of that name is another one.
    other, _ = await enrol(identity, "laptop", vault="work")
    assert other.device_id == "laptop-2"
    assert identity.find(new)


async def test_a_device_stays_itself_with_a_new_link(identity: Identity) -> None:
    before, old = await enrol(identity, "laptop")
    await enrol(identity, "phone")
    for wanted, vault, device in (("phone", "main", "phone-2"), ("laptop", "work", "laptop-2")):
        made, _ = await enrol(identity, wanted=wanted, vault=vault, before=before)
        assert made.device_id == device
        assert identity.find(old)
    elsewhere, _ = await enrol(identity, "kitchen", wanted="laptop", before=before)
    assert elsewhere.device_id == "kitchen"
    assert identity.find(old)
    again, _ = await enrol(identity, wanted="laptop", before=before)
    assert again.device_id == "laptop"
    assert identity.find(old) is None


async def test_a_browser_has_one_session(identity: Identity) -> None:
    before, old = await enrol(identity, wanted="browser", session=True)
    assert identity.find(old) is None
    assert identity.find(old, session=True)
    made, new = await enrol(identity, wanted="browser", session=True, vault="work", before=before)
    assert made.device_id == "browser"
    assert identity.find(old, session=True) is None
    assert identity.find(new, session=True)
    _, device = await enrol(identity, "laptop")
    assert identity.find(device, session=True) is None


async def test_a_session_ends_when_it_is_not_used(registry: Registry, clock: Clock, identity: Identity) -> None:
    visitor, token = await enrol(identity, wanted="browser", session=True)
    _, device = await enrol(identity, "laptop")
    for _ in range(3):
        clock.now_ms += 89 * DAY_MS
        assert identity.find(token, session=True)
    clock.now_ms += 89 * DAY_MS
    identity.saw([visitor.id, "unknown"])
    clock.now_ms += 90 * DAY_MS
    assert identity.find(token, session=True) is None
    assert identity.find(device)
    await identity.note_seen()
    assert [known.device_id for known in identity.credentials] == ["laptop"]
    assert [known.device_id for known in registry.credentials()] == ["laptop"]


async def test_who_is_let_in_no_longer_is_forgotten_also_on_the_disk(
    registry: Registry, clock: Clock, identity: Identity
) -> None:
    phone, token = await enrol(identity, "phone")
    laptop, other = await enrol(identity, "laptop")
    assert identity.knows(phone)
    clock.now_ms += 10 * DAY_MS
    identity.find(token)
    await asyncio.gather(identity.note_seen(everything=True), identity.end([phone]))
    assert not identity.knows(phone)
    for known in (identity, start(registry, clock)):
        assert known.find(token) is None
        assert known.find(other)
    assert [known.id for known in registry.credentials()] == [laptop.id]
    await identity.end([])


async def test_nobody_s_access_ends_halfway(registry: Registry, clock: Clock) -> None:
    """Else nobody could end it again, and the next start would let them in."""
    failures: list[Exception] = []

    async def failing(call: Any) -> Any:
        if failures:
            raise failures.pop()
        return call()

    identity = Identity(registry, failing, clock, 90)
    phone, token = await enrol(identity, "phone")
    failures.append(StorageError("the disk is full", "storage_full"))
    with pytest.raises(StorageError):
        await identity.end([phone])
    assert identity.find(token)
    await identity.end(identity.credentials)
    assert identity.find(token) is None
    assert registry.credentials() == []


async def test_a_new_token_ends_the_old_one_when_it_is_used(
    registry: Registry, clock: Clock, identity: Identity
) -> None:
    _, old = await enrol(identity, "phone")
    known = identity.find(old)
    assert known
    lost = await identity.rotate(known)
    # The answer was lost: the old one asks again, and what nobody received opens nothing.
    again = identity.find(old)
    assert again
    new = await identity.rotate(again)
    assert identity.find(lost) is None
    restarted = start(registry, clock)
    assert restarted.find(old)
    assert identity.find(new)
    assert identity.find(old) is None
    await identity.note_seen()
    assert start(registry, clock).find(old) is None
    assert start(registry, clock).find(new)


async def test_an_old_token_ends_in_any_case(clock: Clock, identity: Identity) -> None:
    _, old = await enrol(identity, "phone")
    known = identity.find(old)
    assert known
    new = await identity.rotate(known)
    clock.now_ms += OVERLAP_MS - 1
    assert identity.find(old)
    clock.now_ms += 1
    assert identity.find(old) is None
    assert identity.find(new)


async def test_only_a_device_s_own_token_is_replaced(identity: Identity) -> None:
    console = identity.find(identity.console_token)
    assert console
    assert identity.knows(console)
    assert (console.role, console.vaults) == ("owner", None)
    assert identity.find(identity.console_token, session=True) is None
    assert console not in identity.credentials
    with pytest.raises(ProtocolError):
        await identity.rotate(console)


async def test_when_somebody_was_here_is_written_down_now_and_then(
    registry: Registry, clock: Clock, identity: Identity
) -> None:
    made, token = await enrol(identity, "phone")

    def on_disk() -> int:
        return registry.credentials()[0].last_seen_at

    clock.now_ms += 60_000
    identity.find(token)
    await identity.note_seen()
    assert on_disk() == made.created_at
    await identity.note_seen(everything=True)
    assert on_disk() == clock.now_ms
    clock.now_ms += 3_600_000
    identity.saw([made.id])
    await identity.note_seen()
    assert on_disk() == clock.now_ms
    # A clock that was set back makes nobody younger.
    clock.now_ms -= DAY_MS
    identity.find(token)
    assert identity.credentials[0].last_seen_at == clock.now_ms + DAY_MS


@pytest.mark.parametrize("meanwhile", ["note_seen", "rotate"])
async def test_what_a_link_replaced_is_not_written_down_again(registry: Registry, clock: Clock, meanwhile: str) -> None:
    """Else a token that somebody replaced because it was lost would open the server again after its next start."""
    written, goes_on = asyncio.Event(), asyncio.Event()
    goes_on.set()

    async def slowly(call: Any) -> Any:
        result = call()
        written.set()
        await goes_on.wait()
        return result

    identity = Identity(registry, slowly, clock, 90)
    old, _ = await enrol(identity, "laptop")
    clock.now_ms += DAY_MS
    identity.saw([old.id])
    invitation = await identity.invite("main", "laptop", "editor")
    written.clear()
    goes_on.clear()
    redeeming = asyncio.create_task(identity.redeem(invitation.code, None))
    await written.wait()
    other = identity.note_seen() if meanwhile == "note_seen" else identity.rotate(old)
    working = asyncio.create_task(other)
    await asyncio.sleep(0)
    goes_on.set()
    made, _, ended = await redeeming
    await asyncio.gather(working, return_exceptions=True)
    assert [credential.id for credential in ended] == [old.id]
    assert (
        [credential.id for credential in registry.credentials()]
        == [made.id]
        == [credential.id for credential in identity.credentials]
    )
