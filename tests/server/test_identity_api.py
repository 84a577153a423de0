"""Pairing, devices, sessions and vaults by REST, and what becomes of open sockets; over real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from server.running import PATIENCE_S, bearer, enrol, plain_client, running_server
from tidenote.config import ServerConfig
from tidenote.errors import CODES, StorageError
from tidenote.server.auth import COOKIE
from tidenote.server.serve import Running

pytestmark = pytest.mark.anyio

NOW_MS = 1_700_000_000_000


class Clock:
    """A clock that a test sets."""

    now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(tmp_path: Path, clock: Clock) -> AsyncIterator[Running]:
    async with running_server(tmp_path, no_auth=False, clock_ms=clock) as running:
        yield running


@pytest.fixture
async def http(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A client that shows nothing by itself."""
    async with httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", timeout=PATIENCE_S) as client:
        yield client


@pytest.fixture
async def owner(server: Running) -> dict[str, str]:
    return bearer(await enrol(server, "boss", role="owner"))


def refused(response: httpx.Response) -> str:
    """Return the code of an error, after checking that the status belongs to it."""
    code: str = response.json()["code"]
    assert CODES[code].http_status == response.status_code
    return code


async def pair(http: httpx.AsyncClient, owner: dict[str, str], **wanted: Any) -> dict[str, Any]:
    response = await http.post("/pair", json=wanted, headers=owner)
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


async def redeem(http: httpx.AsyncClient, code: str, **more: Any) -> httpx.Response:
    origin = {"Origin": str(http.base_url).removesuffix("/api/v1/")} if more.get("session") else {}
    return await http.post("/redeem", json={"code": code, **more}, headers=origin)


async def me(http: httpx.AsyncClient, **headers: str) -> dict[str, Any]:
    told: dict[str, Any] = (await http.get("/me", headers=headers)).json()
    return told


# ---------------------------------------------------------------------------------------------- pairing


async def test_a_link_pairs_one_device(server: Running, http: httpx.AsyncClient, owner: dict[str, str]) -> None:
    made = await pair(http, owner, device_id="phone")
    assert made["link"] == f"{server.http_url}/#pair={made['code']}"
    assert made["expires_at"] == NOW_MS + 600_000
    assert made["qr_svg"].startswith("<svg")
    assert "<script" not in made["qr_svg"]
    redeemed = (await redeem(http, made["code"])).json()
    assert (redeemed["device_id"], redeemed["vault"], redeemed["role"]) == ("phone", "main", "editor")
    async with plain_client(server, "phone~2", additional_headers=bearer(redeemed["token"])) as phone:
        assert "rejected" not in await phone.push(phone.change("note:a.md", "x", 1))
    told = await me(http, **bearer(redeemed["token"]))
    assert told == {
        "auth": "token",
        "device_id": "phone",
        "role": "editor",
        "vault": "main",
        "vaults": ["main"],
        "version": told["version"],
        "protocol": 1,
    }
    for code in (made["code"], "x" * 27, ""):
        assert refused(await redeem(http, code)) == "bad_link"


async def test_a_link_expires(http: httpx.AsyncClient, owner: dict[str, str], clock: Clock) -> None:
    made = await pair(http, owner)
    clock.now_ms += 600_000
    assert refused(await redeem(http, made["code"])) == "bad_link"


async def test_what_cannot_be_paired(http: httpx.AsyncClient, owner: dict[str, str]) -> None:
    for body, code in (
        ({"vault": "absent"}, "unknown_vault"),
        ({"device_id": "a b"}, "bad_request"),
        ({"device_id": "phone~2"}, "bad_request"),
        ({"device_id": "server"}, "bad_request"),
        ({"role": "king"}, "bad_message"),
        ([], "bad_message"),
    ):
        assert refused(await http.post("/pair", json=body, headers=owner)) == code
    made = await pair(http, owner)
    assert refused(await redeem(http, made["code"], device_id="a~2")) == "bad_request"
    assert (await redeem(http, made["code"], device_id="a")).json()["device_id"] == "a"


async def test_guesses_are_bounded_and_the_guesser_learns_nothing(
    http: httpx.AsyncClient, owner: dict[str, str]
) -> None:
    made = await pair(http, owner)
    answers = [(await redeem(http, f"guess{number}")).json() for number in range(10)]
    assert len({answer["message"] for answer in answers}) == 1
    assert refused(await redeem(http, "guess")) == "too_many_attempts"
    assert refused(await redeem(http, made["code"])) == "too_many_attempts"
    # The command line beside the server is no stranger.
    redeemed = await http.post("/redeem", json={"code": made["code"]}, headers=owner)
    assert redeemed.json()["device_id"] == "device"


async def test_links_are_for_the_address_that_devices_use(tmp_path: Path) -> None:
    async with running_server(tmp_path / "a", no_auth=False, public_url="https://notes.example/x") as server:
        assert server.owner_link
        assert server.owner_link.startswith("https://notes.example/x/#pair=")
        async with httpx.AsyncClient(base_url=f"{server.http_url}/api/v1") as http:
            made = await pair(http, bearer(server.service.identity.console_token))
            assert made["link"].startswith("https://notes.example/x/#pair=")
    async with (
        running_server(tmp_path / "b", no_auth=False) as server,
        httpx.AsyncClient(base_url=f"{server.http_url}/api/v1") as http,
    ):
        headers = {**bearer(server.service.identity.console_token), "Host": "notes.lan:99"}
        assert (await pair(http, headers))["link"].startswith("http://notes.lan:99/#pair=")


# ---------------------------------------------------------------------------------------------- sessions


async def test_a_browser_s_session_is_a_cookie_and_nothing_else(
    server: Running, http: httpx.AsyncClient, owner: dict[str, str]
) -> None:
    made = await pair(http, owner)
    response = await redeem(http, made["code"], session=True, device_id="browser")
    assert response.json() == {"device_id": "browser", "vault": "main", "role": "editor"}
    (cookie,) = response.headers.get_list("set-cookie")
    flags = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/", f"max-age={90 * 86_400}"} == flags
    assert COOKIE in http.cookies
    told = await http.get("/me")
    assert (told.json()["auth"], told.json()["device_id"]) == ("session", "browser")
    assert told.headers["set-cookie"] == cookie
    token = http.cookies[COOKIE]
    http.cookies.clear()
    assert refused(await http.get("/me", headers=bearer(token))) == "unauthorized"


async def test_a_session_answers_to_our_own_pages_only(
    server: Running, http: httpx.AsyncClient, owner: dict[str, str]
) -> None:
    code = (await pair(http, owner))["code"]
    for origin in ({}, {"Origin": "null"}, {"Origin": "http://evil.example"}):
        response = await http.post("/redeem", json={"code": code, "session": True}, headers=origin)
        assert refused(response) == "forbidden"
    await redeem(http, code, session=True, device_id="browser")
    ours = {"Origin": server.http_url}
    note = {"If-None-Match": "*"}
    other = server.http_url.replace("127.0.0.1", "localhost")
    for origin in ({}, {"Origin": "null"}, {"Origin": "https://127.0.0.1"}, {"Origin": other}, {"Origin": "http://x"}):
        assert refused(await http.put("/notes/a.md", content=b"x", headers={**note, **origin})) == "forbidden"
        cookie = {"Cookie": f"{COOKIE}={http.cookies[COOKIE]}"}
        assert await refused_socket(server, "browser", {**cookie, **origin}) == 403
    assert (await http.put("/notes/a.md", content=b"x", headers={**note, **ours})).status_code == 200
    headers = {"Cookie": f"{COOKIE}={http.cookies[COOKIE]}", **ours}
    async with plain_client(server, "browser", additional_headers=headers) as browser:
        assert browser.values("note:a.md") == ["x"]
        assert browser.winner("note:a.md")["device_id"] == "browser"


async def test_a_session_ends_with_logout_and_its_socket_too(
    server: Running, http: httpx.AsyncClient, owner: dict[str, str]
) -> None:
    await redeem(http, (await pair(http, owner))["code"], session=True, device_id="browser")
    token = http.cookies[COOKIE]
    headers = {"Cookie": f"{COOKIE}={token}", "Origin": server.http_url}
    async with plain_client(server, "browser", additional_headers=headers) as browser:
        response = await http.post("/logout", headers={"Origin": server.http_url})
        assert response.status_code == 200
        assert "max-age=0" in response.headers["set-cookie"].lower()
        assert await ending(browser.socket) == "unauthorized"
    assert refused(await http.get("/me", headers={"Cookie": f"{COOKIE}={token}"})) == "unauthorized"


async def test_a_session_that_is_not_used_ends(http: httpx.AsyncClient, owner: dict[str, str], clock: Clock) -> None:
    await redeem(http, (await pair(http, owner))["code"], session=True)
    clock.now_ms += 90 * 86_400_000
    assert refused(await http.get("/me")) == "unauthorized"
    assert refused(await http.post("/logout", headers={"Origin": str(http.base_url)})) == "forbidden"


async def test_over_https_the_cookie_is_secure(tmp_path: Path) -> None:
    tls = Path(__file__).parent / "tls"
    settings: dict[str, Any] = {"tls_cert": tls / "cert.pem", "tls_key": tls / "key.pem"}
    async with running_server(tmp_path, no_auth=False, **settings) as server:
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        async with httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", verify=trusting) as http:
            code = (await pair(http, bearer(server.service.identity.console_token)))["code"]
            assert "; Secure" in (await redeem(http, code, session=True)).headers["set-cookie"]


async def test_behind_a_proxy_on_this_machine_the_browser_s_own_scheme_counts(
    server: Running, http: httpx.AsyncClient, owner: dict[str, str]
) -> None:
    code = (await pair(http, owner))["code"]
    proxied = {"X-Forwarded-Proto": "https", "Host": "notes.example", "Origin": "https://notes.example"}
    response = await http.post("/redeem", json={"code": code, "session": True}, headers=proxied)
    assert "; Secure" in response.headers["set-cookie"]


async def test_what_nobody_vouches_for_does_not_say_how_a_browser_came(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, no_auth=False, trusted_proxies="192.0.2.1") as server,
        httpx.AsyncClient(base_url=f"{server.http_url}/api/v1") as http,
    ):
        code = (await pair(http, bearer(server.service.identity.console_token)))["code"]
        response = await http.post(
            "/redeem",
            json={"code": code, "session": True},
            headers={"X-Forwarded-Proto": "https", "Origin": server.http_url},
        )
        assert response.status_code == 200
        assert "; Secure" not in response.headers["set-cookie"]


@pytest.mark.parametrize(("tls", "warns"), [(False, True), (True, False)])
async def test_who_opens_a_server_to_the_network_without_tls_is_warned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, *, tls: bool, warns: bool
) -> None:
    # It listens on loopback all the same: tests open nothing to the network.
    monkeypatch.setattr(ServerConfig, "is_loopback", property(lambda _: False))
    folder = Path(__file__).parent / "tls"
    settings: dict[str, Any] = {"tls_cert": folder / "cert.pem", "tls_key": folder / "key.pem"} if tls else {}
    async with running_server(tmp_path, no_auth=False, **settings):
        pass
    assert any("without TLS" in record.message for record in caplog.records) == warns


# ---------------------------------------------------------------------------------------------- devices


async def ending(socket: ClientConnection) -> str:
    """Return the reason with which a socket is closed, whatever comes before."""
    async with asyncio.timeout(PATIENCE_S):
        async for _ in closing(socket):
            pass
    assert socket.close_code == 1008
    return socket.close_reason or ""


async def closing(socket: ClientConnection) -> AsyncIterator[Any]:
    with suppress(ConnectionClosed):
        while True:
            yield await socket.recv()


async def refused_socket(server: Running, device: str, headers: dict[str, str]) -> int:
    """Return the status with which a socket is refused."""
    with pytest.raises(InvalidStatus) as caught:
        async with connect(f"{server.endpoint}?device_id={device}", additional_headers=headers):
            pass
    return caught.value.response.status_code


async def test_a_revoked_device_s_sockets_are_closed_and_nothing_opens_any_more(
    server: Running, http: httpx.AsyncClient, owner: dict[str, str]
) -> None:
    phone, laptop = bearer(await enrol(server, "phone")), bearer(await enrol(server, "laptop"))
    async with (
        plain_client(server, "phone", additional_headers=phone) as one,
        plain_client(server, "phone~2", additional_headers=phone) as two,
        plain_client(server, "laptop", additional_headers=laptop) as other,
    ):
        revoked = await http.post("/devices/revoke", json={"device_id": "phone"}, headers=owner)
        assert revoked.status_code == 200
        message = await one.receive()
        assert (message["type"], message["code"]) == ("error", "unauthorized")
        assert await ending(one.socket) == "unauthorized"
        assert await ending(two.socket) == "unauthorized"
        while (notice := await other.receive())["type"] != "notice":
            pass
        assert notice["topic"] == "devices"
        assert (await other.push())["type"] == "sync_ack"
    assert refused(await http.get("/me", headers=phone)) == "unauthorized"
    assert await refused_socket(server, "phone", phone) == 401
    assert refused(await http.post("/devices/revoke", json={"device_id": "phone"}, headers=owner)) == "not_found"
    names = [device["device_id"] for device in (await http.get("/devices", headers=owner)).json()["devices"]]
    assert names == ["boss", "laptop"]


async def test_a_revocation_is_one_though_a_vault_cannot_forget_the_device(
    server: Running, http: httpx.AsyncClient, owner: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = bearer(await enrol(server, "phone"))
    await server.service.create_vault("work")
    for vault in ("main", "work"):
        server.service.hub(vault).saw("phone", 1)
    await server.service.upkeep._note_devices()
    really = server.service.store.forget_device

    def forget(vault: str, owner: str) -> None:
        if vault == "main":
            raise StorageError("the disk is full", "storage_full")
        really(vault, owner)

    monkeypatch.setattr(server.service.store, "forget_device", forget)
    revoked = await http.post("/devices/revoke", json={"device_id": "phone"}, headers=owner)
    assert revoked.status_code == 200
    assert refused(await http.get("/me", headers=phone)) == "unauthorized"
    assert [len(server.service.store.devices(vault)) for vault in ("main", "work")] == [1, 0]


async def test_a_revoked_device_that_reads_nothing_is_cut_off(
    server: Running, http: httpx.AsyncClient, owner: dict[str, str]
) -> None:
    """Its connection hangs in a message that it does not take; what was written since never leaves the server."""
    phone, laptop = bearer(await enrol(server, "phone")), bearer(await enrol(server, "laptop"))
    async with (
        plain_client(server, "laptop", additional_headers=laptop) as writer,
        plain_client(server, "phone", max_queue=1, close_timeout=0.1, additional_headers=phone) as hung,
    ):
        for number in range(40):
            await writer.push(writer.change(f"note:{number}.md", "x" * 500_000, number + 1))
        assert server.service.connections.devices("main") == {"phone", "laptop"}
        await http.post("/devices/revoke", json={"device_id": "phone"}, headers=owner)
        await writer.push(writer.change("note:secret.md", "written since", 999))
        async with asyncio.timeout(PATIENCE_S):
            told = [str(message) async for message in closing(hung.socket)]
        assert not any("written since" in message for message in told)
    assert server.service.connections.devices("main") == set()


async def test_what_a_device_had_begun_to_send_when_it_was_revoked_is_not_taken(
    server: Running, http: httpx.AsyncClient, owner: dict[str, str]
) -> None:
    push = b'{"type": "sync_push", "last_ack": 0, "changes": [{"key": "note:a.md", "value": "", "timestamp": 1, '
    push += b'"device_id": "phone"}]}'
    sha256 = hashlib.sha256(push).hexdigest()
    for method, path, headers in (
        ("PUT", "/notes/a.md", {"If-None-Match": "*"}),
        ("POST", "/sync?device_id=phone", {}),
        ("PUT", f"/blobs/{sha256}", {"Upload-Length": str(len(push))}),
    ):
        phone = bearer(await enrol(server, "phone"))

        async def body() -> AsyncIterator[bytes]:
            yield push[:10]
            revoked = await http.post("/devices/revoke", json={"device_id": "phone"}, headers=owner)
            assert revoked.status_code == 200
            yield push[10:]

        response = await http.request(method, path, content=body(), headers={**headers, **phone})
        assert refused(response) == "unauthorized"
    assert (await http.get("/notes", headers=owner)).json()["notes"] == []
    assert not server.service.blobs.has(sha256)


@pytest.mark.parametrize("path", ["/blobs/{}", "/notes/film.mp4"])
async def test_a_download_that_a_revoked_device_had_begun_ends(
    server: Running, http: httpx.AsyncClient, owner: dict[str, str], path: str
) -> None:
    film = bytes(2**25)
    sha256 = hashlib.sha256(film).hexdigest()
    await http.put(f"/blobs/{sha256}", content=film, headers={**owner, "Upload-Length": str(len(film))})
    change = {"key": "file:film.mp4", "value": "", "timestamp": 1, "device_id": "boss"}
    push = {"type": "sync_push", "changes": [{**change, "blob": {"sha256": sha256, "size": len(film)}}], "last_ack": 0}
    assert (await http.post("/sync?device_id=boss", json=push, headers=owner)).status_code == 200
    path = path.format(sha256)
    phone, laptop = bearer(await enrol(server, "phone")), bearer(await enrol(server, "laptop"))
    async with http.stream("GET", path, headers=phone) as cut, http.stream("GET", path, headers=laptop) as whole:
        assert cut.status_code == whole.status_code == 200
        assert len(server.service.downloads) == 2
        await http.post("/devices/revoke", json={"device_id": "phone"}, headers=owner)
        # Although it has read nothing yet.
        async with asyncio.timeout(PATIENCE_S):
            while len(server.service.downloads) > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        with pytest.raises(httpx.TransportError):
            await cut.aread()
        assert await whole.aread() == film
    assert len(server.service.downloads) == 0


async def test_a_forged_device_id_opens_nothing(server: Running, http: httpx.AsyncClient) -> None:
    phone = bearer(await enrol(server, "phone"))
    victim = bearer(await enrol(server, "laptop"))
    async with plain_client(server, "laptop", additional_headers=victim) as laptop:
        await laptop.push(laptop.change("note:a.md", "mine", 5))
        async with plain_client(server, "phone", additional_headers=phone) as thief:
            forged = thief.change("note:a.md", "forged", 9, device_id="laptop")
            answer = await thief.push(forged, thief.change("note:b.md", "own", 9))
            assert [(bad["code"], bad["device_id"]) for bad in answer["rejected"]] == [("bad_author", "laptop")]
        # The same dot is still the victim's to use.
        assert "rejected" not in await laptop.push(laptop.change("note:a.md", "again", 9))
    for method, path, body in (
        ("POST", "/sync?device_id=laptop", {"type": "sync_push", "changes": [], "last_ack": 0}),
        ("PUT", "/notes/c.md?device_id=laptop", {}),
        ("PUT", "/holds?device_id=laptop", {"holds": []}),
    ):
        response = await http.request(method, path, json=body, headers={**phone, "If-None-Match": "*"})
        assert refused(response) == "forbidden"


async def test_a_replaced_token_ends_and_the_device_stays(
    server: Running, http: httpx.AsyncClient, clock: Clock
) -> None:
    old = bearer(await enrol(server, "phone"))
    async with plain_client(server, "phone", additional_headers=old) as phone:
        new = bearer((await http.post("/devices/rotate", headers=old)).json()["token"])
        assert (await me(http, **old))["device_id"] == "phone"
        assert (await me(http, **new))["device_id"] == "phone"
        assert refused(await http.get("/me", headers=old)) == "unauthorized"
        assert (await phone.push())["type"] == "sync_ack"
    newer = bearer((await http.post("/devices/rotate", headers=new)).json()["token"])
    clock.now_ms += 600_000
    assert refused(await http.get("/me", headers=new)) == "unauthorized"
    assert (await me(http, **newer))["device_id"] == "phone"


async def test_a_browser_s_new_token_is_a_cookie(
    server: Running, http: httpx.AsyncClient, owner: dict[str, str]
) -> None:
    await redeem(http, (await pair(http, owner))["code"], session=True, device_id="browser")
    before = http.cookies[COOKIE]
    response = await http.post("/devices/rotate", headers={"Origin": server.http_url})
    assert response.json() == {}
    assert http.cookies[COOKIE] != before
    assert (await me(http))["device_id"] == "browser"


async def test_devices_are_told_with_how_far_they_are(
    server: Running, http: httpx.AsyncClient, owner: dict[str, str], clock: Clock
) -> None:
    phone = bearer(await enrol(server, "phone", "main"))
    await enrol(server, "stranger", "other")
    await redeem(http, (await pair(http, owner))["code"], session=True, device_id="browser")
    http.cookies.clear()
    async with plain_client(server, "phone~2", additional_headers=phone) as device:
        await device.push(device.change("note:a.md", "x", 1))
        answer = await device.push()
        told = (await http.get("/devices", headers=phone)).json()
        assert told["clock"] == answer["ack_timestamp"] == 2
        entries = {entry["device_id"]: entry for entry in told["devices"]}
        assert list(entries) == ["boss", "browser", "phone"]
        assert entries["phone"]["last_seen_at"] >= NOW_MS
        assert {**entries["phone"], "last_seen_at": 0} == {
            "device_id": "phone",
            "vault": "main",
            "role": "editor",
            "created_at": NOW_MS,
            "last_seen_at": 0,
            "cursor": 2,
            "connected": True,
            "web": False,
            "this": True,
        }
        assert (entries["browser"]["web"], entries["browser"]["cursor"]) == (True, None)
        assert (entries["boss"]["vault"], entries["boss"]["this"], entries["boss"]["connected"]) == (None, False, False)
    assert refused(await http.get("/devices", params={"vault": "other"}, headers=phone)) == "unknown_vault"


async def test_on_a_server_without_tokens_devices_are_known_by_what_they_did(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server, httpx.AsyncClient(base_url=f"{server.http_url}/api/v1") as http:
        assert (await me(http))["auth"] == "none"
        async with plain_client(server, "a") as a:
            await a.push(a.change("note:a.md", "x", 1))
            (entry,) = (await http.get("/devices")).json()["devices"]
            assert (entry["device_id"], entry["role"], entry["connected"]) == ("a", None, True)
        # Whoever pairs there goes on to work when tokens are asked for.
        made = await pair(http, {})
        token = (await redeem(http, made["code"], device_id="b")).json()["token"]
    async with (
        running_server(tmp_path, no_auth=False) as server,
        plain_client(server, "b", additional_headers=bearer(token)) as b,
    ):
        assert b.values("note:a.md") == ["x"]


# ---------------------------------------------------------------------------------------------- vaults


async def test_vaults_are_made_and_set(server: Running, http: httpx.AsyncClient, owner: dict[str, str]) -> None:
    made = await http.post("/vaults", json={"name": "work", "on_tie": "ask"}, headers=owner)
    assert made.json() == {"vaults": [{"name": "work", "on_tie": "ask", "notes": 0, "clock": 0, "fenced_by": None}]}
    for body in ({"name": "work"}, {"name": ""}, {"name": "x", "on_tie": "perhaps"}):
        assert refused(await http.post("/vaults", json=body, headers=owner)) == "bad_request"
    for way in ("set", "unfence"):
        assert refused(await http.post(f"/vaults/{way}", json={"name": "absent"}, headers=owner)) == "unknown_vault"
    assert refused(await http.post("/vaults/set", json={"name": "work", "on_tie": "x"}, headers=owner)) == "bad_request"
    done = await http.post("/vaults/set", json={"name": "work", "on_tie": "merge"}, headers=owner)
    assert done.json()["vaults"][0]["on_tie"] == "merge"
    await http.put("/notes/a.md", params={"vault": "work"}, content=b"x", headers={**owner, "If-None-Match": "*"})
    listed = (await http.get("/vaults", headers=owner)).json()["vaults"]
    assert [(vault["name"], vault["on_tie"], vault["notes"]) for vault in listed] == [
        ("main", "review", 0),
        ("work", "merge", 1),
    ]
    only = bearer(await enrol(server, "w", "work"))
    assert [vault["name"] for vault in (await http.get("/vaults", headers=only)).json()["vaults"]] == ["work"]


async def test_an_owner_of_one_vault_stays_in_it(
    server: Running, http: httpx.AsyncClient, owner: dict[str, str]
) -> None:
    await http.post("/vaults", json={"name": "work"}, headers=owner)
    boss = bearer(await enrol(server, "chef", "work", "owner"))
    colleague, stranger = await enrol(server, "colleague", "work"), await enrol(server, "stranger", "main")
    assert (await pair(http, boss, vault="work", device_id="new"))["code"]
    for body, code in (({}, "forbidden"), ({"vault": "main"}, "forbidden"), ({"vault": None}, "forbidden")):
        assert refused(await http.post("/pair", json=body, headers=boss)) == code
    assert refused(await http.post("/vaults", json={"name": "x"}, headers=boss)) == "forbidden"
    assert refused(await http.post("/vaults/set", json={"name": "main"}, headers=boss)) == "unknown_vault"
    for device, code in (("stranger", "not_found"), ("boss", "forbidden"), ("absent", "not_found")):
        assert refused(await http.post("/devices/revoke", json={"device_id": device}, headers=boss)) == code
    assert (await http.post("/devices/revoke", json={"device_id": "colleague"}, headers=boss)).status_code == 200
    assert refused(await http.get("/me", headers=bearer(colleague))) == "unauthorized"
    assert (await me(http, **bearer(stranger)))["device_id"] == "stranger"


async def test_blobs_need_a_token_whatever_their_hash(http: httpx.AsyncClient, server: Running) -> None:
    name = f"/blobs/{hashlib.sha256(b'x').hexdigest()}"
    assert refused(await http.get(name)) == "unauthorized"
