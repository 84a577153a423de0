from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tidenote.errors import AccessError, ConfigError, ProtocolError
from tidenote.server.auth import ANY, Caller, Door, Grant, Tokens, check_version


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path / "tokens.toml")


# ---------------------------------------------------------------------------------------------- tokens


def test_a_created_token_is_found_and_its_like_is_not(tokens: Tokens) -> None:
    token = tokens.create("laptop", ["main"], "reader")
    assert tokens.find(token) == Grant(tokens.find(token).sha256, "laptop", ("main",), "reader")  # type: ignore[union-attr]
    for other in ("", token[:-1], token + "x", token.swapcase()):
        assert tokens.find(other) is None


def test_tokens_do_not_disturb_each_other(tokens: Tokens) -> None:
    made = {device: tokens.create(device) for device in ("a", "b", "c")}
    assert len(set(made.values())) == 3
    for device, token in made.items():
        grant = tokens.find(token)
        assert grant is not None
        assert grant.device_id == device


def test_the_file_is_its_owner_s_alone_and_holds_no_token(tokens: Tokens) -> None:
    old = os.umask(0)
    try:
        made = [tokens.create(), tokens.create()]
    finally:
        os.umask(old)
    assert stat.S_IMODE(tokens.file.stat().st_mode) == 0o600
    assert not any(token in tokens.file.read_text() for token in made)
    assert list(tokens.file.parent.iterdir()) == [tokens.file]


def test_a_token_that_was_taken_out_of_the_file_ends_at_once(tokens: Tokens) -> None:
    token = tokens.create()
    assert tokens.find(token)
    tokens.file.write_text("")
    assert tokens.find(token) is None


def test_another_process_s_tokens_are_noticed(tokens: Tokens) -> None:
    assert tokens.find("x") is None
    token = Tokens(tokens.file).create()
    assert tokens.find(token)


def test_without_the_file_nobody_is_known(tokens: Tokens) -> None:
    token = tokens.create()
    tokens.file.unlink()
    assert tokens.find(token) is None


@pytest.mark.parametrize("text", ["[[token]", "[[token]]\n", '[[token]]\nsha256 = "x"\nrole = "king"\n', "token = 1"])
def test_a_malformed_file_lets_nobody_in_and_says_so(tokens: Tokens, text: str) -> None:
    token = tokens.create()
    tokens.file.write_text(text)
    with pytest.raises(ConfigError, match=r"tokens\.toml is malformed"):
        tokens.find(token)


# ---------------------------------------------------------------------------------------------- who asks


def test_a_bearer_header_or_subprotocol_opens_the_door(tokens: Tokens) -> None:
    door = Door(tokens)
    token = tokens.create("laptop")
    for headers in (
        {"authorization": f"Bearer {token}"},
        {"authorization": f"bearer  {token} "},
        {"sec-websocket-protocol": f"tidenote, bearer.{token}"},
        {"sec-websocket-protocol": f"bearer.{token},tidenote"},
    ):
        assert door.admit(headers).grant.device_id == "laptop"


def test_without_a_known_token_the_door_stays_shut(tokens: Tokens) -> None:
    door = Door(tokens)
    token = tokens.create()
    for headers in (
        {},
        {"authorization": "Bearer"},
        {"authorization": f"Basic {token}"},
        {"authorization": token},
        {"authorization": f"Bearer {token}x"},
        {"sec-websocket-protocol": f"bearer.{token}"},
        {"sec-websocket-protocol": f"other, bearer.{token}"},
        {"cookie": f"token={token}"},
    ):
        with pytest.raises(AccessError) as caught:
            door.admit(headers)
        assert caught.value.code == "unauthorized"
        assert token not in caught.value.message


def test_without_tokens_everyone_comes_in() -> None:
    caller = Door(None).admit({})
    caller.check_device("anyone")
    caller.check_vault("any")
    assert caller.may_write


# ---------------------------------------------------------------------------------------------- which site asks


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "notes.example"),
        ("http://127.0.0.1:8787", "127.0.0.1:8787"),
        ("http://LOCALHOST:8787", "localhost:8787"),
        ("https://notes.example", "notes.example"),
        ("https://notes.example:443", "notes.example"),
        ("http://notes.example", "notes.example:80"),
        ("http://[::1]:8787", "[::1]:8787"),
    ],
)
def test_our_own_pages_and_clients_that_are_no_browsers_may_ask(tokens: Tokens, origin: str | None, host: str) -> None:
    Door(tokens).check_site({"host": host} | ({"origin": origin} if origin is not None else {}))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", "notes.example"),
        ("https://notes.example.evil.example", "notes.example"),
        ("https://notes.example:8443", "notes.example"),
        ("http://notes.example", "notes.example:443"),
        ("http://127.0.0.1:9999", "127.0.0.1:8787"),
        ("null", "127.0.0.1:8787"),
        ("", "127.0.0.1:8787"),
        ("file://", ""),
        ("chrome-extension://127.0.0.1:8787", "127.0.0.1:8787"),
        ("http://127.0.0.1:8787, http://127.0.0.1:8787", "127.0.0.1:8787"),
        ("http://[", "["),
    ],
)
def test_pages_of_other_sites_may_not(tokens: Tokens, origin: str, host: str) -> None:
    with pytest.raises(AccessError) as caught:
        Door(tokens).check_site({"host": host, "origin": origin})
    assert caught.value.code == "forbidden"


@pytest.mark.parametrize("host", ["127.0.0.1:8787", "localhost", "LOCALHOST:1", "[::1]:8787", "127.1.2.3"])
def test_without_tokens_the_names_of_this_machine_answer(host: str) -> None:
    Door(None).check_site({"host": host})


@pytest.mark.parametrize("host", ["", "evil.example", "evil.example:8787", "127.0.0.1.evil.example", "10.0.0.1", "["])
def test_without_tokens_other_names_do_not_even_if_they_lead_here(host: str) -> None:
    with pytest.raises(AccessError) as caught:
        Door(None).check_site({"host": host})
    assert caught.value.code == "forbidden"


# ---------------------------------------------------------------------------------------------- what they may


def test_a_token_belongs_to_its_device_and_the_later_incarnations() -> None:
    caller = Caller(Grant("", "phone"))
    caller.check_device("phone")
    caller.check_device("phone~2")
    for other in ("phone2", "laptop", "Phone"):
        with pytest.raises(AccessError) as caught:
            caller.check_device(other)
        assert caught.value.code == "forbidden"


def test_a_token_for_any_device_still_wants_a_device() -> None:
    caller = Caller(Grant("", ANY))
    caller.check_device("whatever")
    for bad in ("", "a b", "server", "server.1-x", "a" * 65, "a/b", "é", "*"):
        with pytest.raises(ProtocolError) as caught:
            caller.check_device(bad)
        assert caught.value.code == "bad_request"


def test_a_closed_vault_looks_like_none() -> None:
    Caller(Grant("", ANY, ("main", "work"))).check_vault("work")
    Caller(Grant("", ANY, (ANY,))).check_vault("work")
    with pytest.raises(AccessError) as caught:
        Caller(Grant("", ANY, ("main",))).check_vault("work")
    assert caught.value.code == "unknown_vault"


def test_a_reader_may_not_write() -> None:
    assert not Caller(Grant("", role="reader")).may_write


def test_versions() -> None:
    check_version(None)
    check_version("1")
    for bad in ("0", "2", "", "1.0", "one"):
        with pytest.raises(ProtocolError) as caught:
            check_version(bad)
        assert caught.value.code == "unsupported_version"
