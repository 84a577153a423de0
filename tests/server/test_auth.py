"""Who comes in, and what they may."""

from __future__ import annotations

from typing import Any

import pytest

from tidenote.errors import AccessError, ProtocolError
from tidenote.server.auth import COOKIE, SOCKET, Caller, Door, Head, check_version, cookie_name, set_cookie
from tidenote.server.identity import Identity
from tidenote.server.store.registry import ANY, Credential, MemoryRegistry

pytestmark = pytest.mark.anyio

NOW = 1_000_000


async def write(call: Any) -> Any:
    return call()


@pytest.fixture
def identity() -> Identity:
    return Identity(MemoryRegistry(), write, lambda: NOW, 90)


async def enrol(identity: Identity, device_id: str, *, session: bool = False) -> str:
    invitation = await identity.invite("main", device_id, "editor")
    _, token, _ = await identity.redeem(invitation.code, None, session=session)
    return token


def head(method: str = "GET", scheme: str = "http", **headers: str) -> Head:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Head(method, scheme, {"host": "127.0.0.1:8787", **named})


# ---------------------------------------------------------------------------------------------- who asks


async def test_a_bearer_header_or_subprotocol_opens_the_door(identity: Identity) -> None:
    door = Door(identity)
    token = await enrol(identity, "laptop")
    for headers in (
        {"authorization": f"Bearer {token}"},
        {"authorization": f"bearer  {token} "},
        {"sec_websocket_protocol": f"tidenote, bearer.{token}"},
        {"sec_websocket_protocol": f"bearer.{token},tidenote"},
    ):
        caller = door.admit(head("POST", **headers))
        assert (caller.device_id, caller.auth, caller.vault, caller.role) == ("laptop", "token", "main", "editor")


async def test_without_a_known_token_the_door_stays_shut(identity: Identity) -> None:
    door = Door(identity)
    token = await enrol(identity, "laptop")
    for headers in (
        {},
        {"authorization": "Bearer"},
        {"authorization": f"Basic {token}"},
        {"authorization": token},
        {"authorization": f"Bearer {token}x"},
        {"sec_websocket_protocol": f"bearer.{token}"},
        {"sec_websocket_protocol": f"other, bearer.{token}"},
        {"cookie": f"{COOKIE}={token}"},
        {"cookie": f"token={token}"},
    ):
        with pytest.raises(AccessError) as caught:
            door.admit(head(**headers))
        assert caught.value.code == "unauthorized"
        assert token not in caught.value.message


async def test_what_a_page_of_another_site_embeds_is_refused(identity: Identity) -> None:
    """Its browser sends no `Origin` then, but the cookie, if the sites are neighbours."""
    cookie = {"cookie": f"{COOKIE}={await enrol(identity, 'browser', session=True)}"}
    for door in (Door(identity), Door(identity, no_auth=True)):
        for site in ("same-origin", "none"):
            door.admit(head(sec_fetch_site=site, **cookie))
        for site in ("cross-site", "same-site"):
            with pytest.raises(AccessError) as caught:
                door.admit(head(sec_fetch_site=site, **cookie))
            assert caught.value.code == "forbidden"


async def test_a_browser_s_cookie_opens_for_our_own_pages_only(identity: Identity) -> None:
    door = Door(identity)
    token = await enrol(identity, "browser", session=True)
    cookie = {"cookie": f"other=1; {COOKIE}={token}"}
    assert door.admit(head("GET", **cookie)).auth == "session"
    for method in ("POST", "PUT", "DELETE", "PATCH", SOCKET):
        assert door.admit(head(method, origin="http://127.0.0.1:8787", **cookie)).device_id == "browser"
        for origin in ({}, {"origin": "null"}, {"origin": "https://127.0.0.1:8787"}, {"origin": "http://127.0.0.1"}):
            with pytest.raises(AccessError) as caught:
                door.admit(head(method, **origin, **cookie))
            assert caught.value.code == "forbidden"
    # A cookie's token is good for nothing else.
    with pytest.raises(AccessError):
        door.admit(head(authorization=f"Bearer {token}"))


def test_without_tokens_everyone_comes_in(identity: Identity) -> None:
    caller = Door(identity, no_auth=True).admit(head("POST"))
    caller.check_device("anyone")
    caller.check_vault("any")
    caller.check_owner(None)
    assert caller.may_write
    assert (caller.auth, caller.device_id, caller.vault) == ("none", None, None)


async def test_a_command_on_the_server_s_machine_is_no_replica(identity: Identity) -> None:
    console = {"authorization": f"Bearer {identity.console_token}"}
    token = {"authorization": f"Bearer {await enrol(identity, 'laptop')}"}
    for no_auth in (False, True):
        door = Door(identity, no_auth=no_auth)
        assert not door.admit(head(**console)).is_replica
        assert door.admit(head(**token)).is_replica
    assert Door(identity, no_auth=True).admit(head()).is_replica


@pytest.mark.parametrize(("scheme", "secure"), [("http", False), ("https", True)])
def test_a_cookie_is_out_of_reach_of_scripts_and_other_sites(scheme: str, secure: bool) -> None:
    value = set_cookie("abc", scheme, days=1)["set-cookie"]
    assert value.startswith(f"{cookie_name(scheme)}=abc; Path=/; Max-Age=86400; HttpOnly; SameSite=Strict")
    assert ("Secure" in value) == secure


async def test_over_https_no_neighbour_s_page_slips_in_another_session(identity: Identity) -> None:
    token = await enrol(identity, "browser", session=True)
    door = Door(identity)
    assert door.admit(head(scheme="https", cookie=f"__Host-{COOKIE}={token}")).device_id == "browser"
    assert door.known(head(scheme="https", cookie=f"{COOKIE}={token}")) is None


# ---------------------------------------------------------------------------------------------- which site asks


@pytest.mark.parametrize(
    ("origin", "scheme", "host"),
    [
        ("http://127.0.0.1:8787", "http", "127.0.0.1:8787"),
        ("http://LOCALHOST:8787", "http", "localhost:8787"),
        ("https://notes.example", "https", "notes.example"),
        ("https://notes.example:443", "https", "notes.example"),
        ("http://notes.example", "http", "Notes.Example:80"),
        ("http://[::1]:8787", "http", "[::1]:8787"),
        ("https://public.example", "http", "10.0.0.1:8787"),
    ],
)
def test_our_own_pages_may_ask(identity: Identity, origin: str, scheme: str, host: str) -> None:
    Door(identity, "https://public.example/notes").check_site(Head("GET", scheme, {"host": host, "origin": origin}))


def test_clients_that_are_no_browsers_may_ask(identity: Identity) -> None:
    Door(identity).check_site(Head("GET", "http", {"host": "notes.example"}))


@pytest.mark.parametrize(
    ("origin", "scheme", "host"),
    [
        ("https://evil.example", "https", "notes.example"),
        ("https://notes.example.evil.example", "https", "notes.example"),
        ("https://notes.example:8443", "https", "notes.example"),
        ("http://notes.example", "https", "notes.example"),
        ("https://notes.example", "http", "notes.example"),
        ("http://notes.example", "http", "notes.example:443"),
        ("http://127.0.0.1:9999", "http", "127.0.0.1:8787"),
        ("http://localhost:8787", "http", "127.0.0.1:8787"),
        ("null", "http", "127.0.0.1:8787"),
        ("", "http", "127.0.0.1:8787"),
        ("http://127.0.0.1:8787/", "http", "127.0.0.1:8787"),
        ("http://user@127.0.0.1:8787", "http", "127.0.0.1:8787"),
        ("file://", "http", ""),
        ("chrome-extension://127.0.0.1:8787", "http", "127.0.0.1:8787"),
        ("http://127.0.0.1:8787, http://127.0.0.1:8787", "http", "127.0.0.1:8787"),
        ("http://[", "http", "["),
    ],
)
def test_pages_of_other_sites_may_not(identity: Identity, origin: str, scheme: str, host: str) -> None:
    with pytest.raises(AccessError) as caught:
        Door(identity).check_site(Head("GET", scheme, {"host": host, "origin": origin}))
    assert caught.value.code == "forbidden"


@pytest.mark.parametrize("host", ["127.0.0.1:8787", "localhost", "LOCALHOST:1", "[::1]:8787", "127.1.2.3"])
def test_without_tokens_the_names_of_this_machine_answer(identity: Identity, host: str) -> None:
    Door(identity, no_auth=True).check_site(Head("GET", "http", {"host": host}))


@pytest.mark.parametrize("host", ["", "evil.example", "evil.example:8787", "127.0.0.1.evil.example", "10.0.0.1", "["])
def test_without_tokens_other_names_do_not_even_if_they_lead_here(identity: Identity, host: str) -> None:
    with pytest.raises(AccessError) as caught:
        Door(identity, no_auth=True).check_site(Head("GET", "http", {"host": host}))
    assert caught.value.code == "forbidden"


# ---------------------------------------------------------------------------------------------- what they may


def caller(device_id: str = ANY, vaults: tuple[str, ...] | None = None, role: Any = "editor") -> Caller:
    return Caller(Credential("x", device_id, vaults, role, "", 0, 0))


def test_a_token_belongs_to_its_device_and_the_later_incarnations() -> None:
    caller("phone").check_device("phone")
    caller("phone").check_device("phone~2")
    for other in ("phone2", "laptop", "Phone"):
        with pytest.raises(AccessError) as caught:
            caller("phone").check_device(other)
        assert caught.value.code == "forbidden"


def test_a_token_for_any_device_still_wants_a_device() -> None:
    caller().check_device("whatever")
    for bad in ("", "a b", "server", "server.1-x", "a" * 65, "a/b", "é", "*"):
        with pytest.raises(ProtocolError) as caught:
            caller().check_device(bad)
        assert caught.value.code == "bad_request"


def test_a_closed_vault_looks_like_none() -> None:
    caller(vaults=("main", "work")).check_vault("work")
    caller().check_vault("work")
    with pytest.raises(AccessError) as caught:
        caller(vaults=("main",)).check_vault("work")
    assert caught.value.code == "unknown_vault"
    assert [caller(vaults=vaults).vault for vaults in (None, ("a",), ("a", "b"))] == [None, "a", None]


def test_a_reader_may_not_write_and_only_owners_administer() -> None:
    assert [caller(role=role).may_write for role in ("reader", "editor", "owner")] == [False, True, True]
    caller(role="owner").check_owner(None)
    caller(role="owner", vaults=("a",)).check_owner(("a",))
    for who, vaults in (
        (caller(), ("a",)),
        (caller(role="reader"), ()),
        (caller(role="owner", vaults=("a",)), ("b",)),
        (caller(role="owner", vaults=("a",)), ("a", "b")),
        (caller(role="owner", vaults=("a",)), None),
    ):
        with pytest.raises(AccessError) as caught:
            who.check_owner(vaults)
        assert caught.value.code == "forbidden"


def test_versions() -> None:
    check_version(None)
    check_version("1")
    for bad in ("0", "2", "", "1.0", "one"):
        with pytest.raises(ProtocolError) as caught:
            check_version(bad)
        assert caught.value.code == "unsupported_version"
