"""Every route, asked by every role, for its own vault and for another's (generated from the table of routes).

The other vault is full of canaries: none may come out of any answer, frame or log.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from server.running import PATIENCE_S, PlainClient, bearer, enrol, plain_client, running_server
from tidenote.server.app import PARTS
from tidenote.server.serve import Running
from tidenote.wire.messages import Role

pytestmark = pytest.mark.anyio

PICTURE = b"\x89PNG canary"
SHA256 = hashlib.sha256(PICTURE).hexdigest()

CANARY = "canary"
"""Stands in everything of the other vault that nobody else can know of."""
KNOWN = "known"
"""What somebody else might guess: a device of the other vault, and one of its notes."""
SECRET = f"note:{KNOWN}.md"
OWN = "note:own.md"
ROLES: tuple[Role, ...] = ("reader", "editor", "owner")
DENIALS = ("forbidden", "read_only")


@dataclass(frozen=True)
class Row:
    """How a route is asked.

    Attributes:
        needs: the least role that may; `all` if the route is open.
        body: as JSON; `KEY` in it stands for the key that is asked about.
        params: of the query.
        headers: of the request.
        scoped: whether a query parameter names the vault.
        foreign: what an owner of one vault is told who asks about another's; None if the route knows no vaults.
    """

    needs: Literal["all", "reader", "editor", "owner"]
    body: Any = None
    params: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    scoped: bool = True
    foreign: str | None = "unknown_vault"


DOT = {"timestamp": 1, "device_id": "x"}
PUSH = {"type": "sync_push", "changes": [], "last_ack": 0}
TABLE: dict[str, Row] = {
    "POST /api/v1/sync": Row("reader", PUSH, {"device_id": "self"}),
    "GET /api/v1/manifest": Row("reader"),
    "POST /api/v1/fetch": Row("reader", {"keys": ["KEY"]}),
    "HEAD /api/v1/blobs/{sha256:str}": Row("reader", scoped=False, foreign=None),
    "GET /api/v1/blobs/{sha256:str}": Row("reader", scoped=False, foreign=None),
    "PUT /api/v1/blobs/{sha256:str}": Row("editor", headers={"Upload-Length": "0"}, scoped=False, foreign=None),
    "GET /health": Row("all", scoped=False, foreign=None),
    "GET /metrics": Row("reader", scoped=False, foreign=None),
    "POST /api/v1/csp-report": Row("all", {}, scoped=False, foreign=None),
    "GET /api/v1/conflicts": Row("reader"),
    "GET /api/v1/conflicts/one": Row("reader", params={"key": "KEY"}),
    "POST /api/v1/conflicts/resolve": Row("editor", {"key": "KEY", "siblings": [DOT], "choice": {"text": "x"}}),
    "POST /api/v1/conflicts/reopen": Row("editor", {"key": "KEY", "siblings": [DOT]}),
    "GET /api/v1/history": Row("reader", params={"key": "KEY"}),
    "GET /api/v1/version": Row("reader", params={"key": "KEY", "timestamp": "1", "device_id": KNOWN}),
    "POST /api/v1/restore": Row("editor", {"key": "KEY", "receipt": 2}),
    "POST /api/v1/restore-all": Row("editor", {"receipt": 2, "dry_run": True}),
    "POST /api/v1/undo": Row("editor", {"device": KNOWN, "since": 0, "dry_run": True}),
    "GET /api/v1/trash": Row("reader"),
    "POST /api/v1/trash/restore": Row("editor", {"key": "KEY"}),
    "POST /api/v1/gc": Row("owner", {"dry_run": True}),
    "GET /api/v1/notes": Row("reader"),
    "GET /api/v1/notes/{path:path}": Row("reader"),
    "PUT /api/v1/notes/{path:path}": Row("editor", {}, headers={"If-Match": "*"}),
    "DELETE /api/v1/notes/{path:path}": Row("editor", headers={"If-Match": "*"}),
    "POST /api/v1/rename": Row("editor", {"key": "KEY", "to": "note:new.md", **DOT}),
    "GET /api/v1/search": Row("reader", params={"q": "can"}),
    "PUT /api/v1/holds": Row("reader", {"holds": []}, {"device_id": "self"}),
    "GET /api/v1/holds": Row("reader"),
    "POST /api/v1/holds/decide": Row("editor", {"device_id": "self", "kind": "delete_out", "decision": "confirm"}),
    "GET /api/v1/me": Row("reader", scoped=False, foreign=None),
    "POST /api/v1/pair": Row("owner", {"vault": "VAULT"}, scoped=False, foreign="forbidden"),
    "POST /api/v1/redeem": Row("all", {"code": "wrong"}, scoped=False, foreign=None),
    "GET /api/v1/devices": Row("reader"),
    "POST /api/v1/devices/revoke": Row("owner", {"device_id": "DEVICE"}, scoped=False, foreign="not_found"),
    "GET /api/v1/vaults": Row("reader", scoped=False, foreign=None),
    "POST /api/v1/vaults/set": Row("owner", {"name": "VAULT", "on_tie": "ask"}, scoped=False),
    "POST /api/v1/vaults/unfence": Row("owner", {"name": "VAULT"}, scoped=False),
    "POST /api/v1/vaults": Row("owner", {"name": "VAULT"}, scoped=False, foreign="forbidden"),
    "POST /api/v1/devices/rotate": Row("reader", scoped=False, foreign=None),
    "POST /api/v1/logout": Row("reader", scoped=False, foreign=None),
}
"""Every route. Those that end the caller's own access come last."""

EVERY_VAULT = frozenset(("POST /api/v1/vaults",))
"""What only an owner of every vault may do."""


def routes() -> Iterator[str]:
    """Yield every route of the table that the application is made of."""
    for part in PARTS:
        for handler in part.ROUTES:
            for path in handler.paths:
                for method in sorted(handler.http_methods):
                    if method != "OPTIONS":
                        yield f"{method} {path}"


def test_every_route_is_in_the_table() -> None:
    assert sorted(routes()) == sorted(TABLE)


@asynccontextmanager
async def two_vaults(data: Path) -> AsyncIterator[tuple[Running, httpx.AsyncClient, PlainClient]]:
    """Run a server with a vault of ours and one of somebody else's, in which everything is a canary; and who is in it.

    A blob is handed to everyone who has a token and knows its hash: the hash is what must not come out.
    """
    async with running_server(data, no_auth=False) as server:
        await server.service.create_vault("secret")
        theirs = bearer(await enrol(server, KNOWN, "secret"))
        await enrol(server, CANARY, "secret")
        async with (
            httpx.AsyncClient(base_url=server.http_url, timeout=PATIENCE_S) as http,
            plain_client(server, KNOWN, query="&vault=secret", additional_headers=theirs) as device,
        ):
            await device.push(device.change(SECRET, f"{CANARY} text", 1))
            await device.push(device.change(SECRET, f"{CANARY} again", 5))
            await device.push(device.change(f"note:{CANARY}.md", f"{CANARY} gone", 6))
            await device.push(device.change(f"note:{CANARY}.md", None, 9))
            length = {"Upload-Length": str(len(PICTURE))}
            uploaded = await http.put(f"/api/v1/blobs/{SHA256}", content=PICTURE, headers=theirs | length)
            assert uploaded.status_code == 200
            blob = {"sha256": SHA256, "size": len(PICTURE)}
            await device.push(device.change(f"file:{KNOWN}.png", "", 12, blob=blob))
            hold = {"kind": "delete_out", "keys": [f"note:{CANARY}.md"], "count": 1, "since": 1}
            reported = await http.put(
                "/api/v1/holds",
                params={"device_id": KNOWN, "vault": "secret"},
                json={"holds": [hold]},
                headers=theirs,
            )
            assert reported.status_code == 200
            for path in ("trash", "search", "holds", "devices", "manifest", "notes/known.md"):
                told = await http.get(f"/api/v1/{path}", params={"vault": "secret", "q": "can"}, headers=theirs)
                assert CANARY in told.text, path
            yield server, http, device


async def ask(
    http: httpx.AsyncClient, route: str, token: dict[str, str], *, vault: str, key: str, device: str, me: str
) -> httpx.Response:
    """Ask a route as its row says."""
    row = TABLE[route]
    method, path = route.split()
    path = path.replace("{sha256:str}", "0" * 64).replace("{path:path}", key.partition(":")[2])
    filled = {"KEY": key, "VAULT": vault, "DEVICE": device, "self": me}

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: fill(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [fill(inner) for inner in value]
        return filled.get(value, value) if isinstance(value, str) else value

    params = {**fill(row.params), **({"vault": vault} if row.scoped else {})}
    content = b"" if row.body is None else json.dumps(fill(row.body)).encode()
    return await http.request(method, path, params=params, content=content, headers={**token, **row.headers})


def code_of(response: httpx.Response) -> str | None:
    """Return the code of an error; None of what is none."""
    if response.status_code < 400 or response.request.method == "HEAD":
        return None
    code: str = response.json()["code"]
    return code


async def visit(server: Running, http: httpx.AsyncClient, device_id: str, role: Role) -> dict[str, str]:
    """Let a browser in, and return what it shows: the cookie of its session, and whose page asks."""
    invitation = await server.service.identity.invite("main", device_id, role)
    page = {"Origin": server.http_url}
    answer = await http.post("/api/v1/redeem", json={"code": invitation.code, "session": True}, headers=page)
    http.cookies.clear()
    return {**page, "Cookie": answer.headers["set-cookie"].partition(";")[0]}


def renewed(shown: dict[str, str], answer: httpx.Response) -> dict[str, str]:
    """Return what somebody shows after the answer to `rotate`."""
    if "Cookie" not in shown:
        return bearer(answer.json()["token"])
    return {**shown, "Cookie": answer.headers["set-cookie"].partition(";")[0]}


@pytest.mark.parametrize("way", ["token", "cookie"])
@pytest.mark.parametrize("role", ROLES)
async def test_nothing_of_another_vault_comes_out(
    tmp_path: Path, role: Role, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "tidenote")
    async with two_vaults(tmp_path) as (server, http, _):
        if way == "token":
            token = bearer(await enrol(server, "spy", "main", role))
        else:
            token = await visit(server, http, "spy", role)
        everything: list[str] = []
        for route, row in TABLE.items():
            for vault in ("secret", "main", "absent"):
                response = await ask(http, route, token, vault=vault, key=SECRET, device=KNOWN, me="spy")
                everything.append(response.text)
                code = code_of(response)
                if vault != "main" and row.foreign:
                    may = ROLES.index(role) >= ROLES.index(row.needs) if row.needs != "all" else True
                    expected = {row.foreign} if may or row.scoped or row.foreign == "unknown_vault" else {"forbidden"}
                    assert code in expected | ({"forbidden"} if row.needs == "owner" else set()), (route, vault)
            if route == "POST /api/v1/devices/rotate":
                token = renewed(token, response)
        told = "\n".join(everything)
        assert CANARY not in told, told[max(0, told.index(CANARY) - 200) : told.index(CANARY) + 100]
        assert SHA256 not in told
        for vault in ("secret", "absent"):
            fresh = bearer(await enrol(server, "spy", "main", role))
            with pytest.raises(InvalidStatus) as caught:
                async with connect(f"{server.endpoint}?device_id=spy&vault={vault}", additional_headers=fresh):
                    pass
            assert json.loads(caught.value.response.body)["code"] == "unknown_vault"
        # And their owner's access is as it was.
        names = [known.device_id for known in server.service.identity.credentials]
        assert {KNOWN, CANARY} <= set(names)
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert CANARY not in logged


async def test_nothing_of_another_vault_comes_over_an_open_socket(tmp_path: Path) -> None:
    async with two_vaults(tmp_path) as (server, http, theirs):
        headers = bearer(await enrol(server, "spy", "main", "owner"))
        async with plain_client(server, "spy", additional_headers=headers) as spy:
            # Changes, deletions, conflicts, notices of holds and of devices there, while the spy listens here.
            await theirs.push(theirs.change(f"note:{CANARY} live.md", f"{CANARY} text", 20))
            await theirs.push(theirs.change(SECRET, f"{CANARY} mine", 21, base=[]))
            await theirs.push(theirs.change(f"note:{CANARY} live.md", None, 22))
            owner = bearer(await enrol(server, f"{CANARY}-owner", "secret", "owner"))
            hold = {"kind": "delete_out", "keys": [SECRET], "count": 1, "since": 1}
            where = {"device_id": f"{CANARY}-owner", "vault": "secret"}
            assert (
                await http.put("/api/v1/holds", params=where, json={"holds": [hold]}, headers=owner)
            ).status_code == 200
            revoked = await http.post("/api/v1/devices/revoke", json={"device_id": CANARY}, headers=owner)
            assert revoked.status_code == 200
            # Told last: everything before has been delivered by then, if to anyone.
            heard: list[Any] = []
            await spy.send(spy.change(OWN, "own", 1), id="last")
            while not heard or heard[-1].get("id") != "last":
                heard.append(await spy.receive())
            assert spy.notes.keys() <= {OWN}
            assert CANARY not in json.dumps([heard, spy.deliveries])
            assert KNOWN not in json.dumps([heard, spy.deliveries])


@pytest.mark.parametrize("role", [None, *ROLES])
async def test_each_role_may_what_it_may(tmp_path: Path, role: Role | None) -> None:
    async with (
        running_server(tmp_path, no_auth=False) as server,
        httpx.AsyncClient(base_url=server.http_url, timeout=PATIENCE_S) as http,
    ):
        token = {} if role is None else bearer(await enrol(server, "me", "main", role))
        await enrol(server, "other", "main")
        for route, row in TABLE.items():
            response = await ask(http, route, token, vault="main", key=OWN, device="other", me="me")
            if role is None:
                assert (response.status_code == 401) == (row.needs != "all"), route
                continue
            may = row.needs == "all" or ROLES.index(role) >= ROLES.index(row.needs)
            may = may and route not in EVERY_VAULT
            assert (code_of(response) in DENIALS) == (not may), (route, response.text)
            if route == "POST /api/v1/devices/rotate":
                token = bearer(response.json()["token"])


async def test_secrets_are_in_no_log_and_no_address(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Links, codes, tokens and cookies of a whole life of a device, with as much logged as anybody can ask for."""
    caplog.set_level(logging.DEBUG)
    secrets: list[str] = []
    async with running_server(tmp_path, no_auth=False) as server:
        assert server.owner_link
        secrets += [server.owner_link.partition("=")[2], server.service.identity.console_token]
        async with httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", timeout=PATIENCE_S) as http:
            made = (await http.post("/pair", json={}, headers=bearer(secrets[1]))).json()
            redeemed = (await http.post("/redeem", json={"code": made["code"], "device_id": "phone"})).json()
            secrets += [made["code"], redeemed["token"]]
            await http.post("/redeem", json={"code": made["code"]})
            rotated = (await http.post("/devices/rotate", headers=bearer(redeemed["token"]))).json()["token"]
            browser = (await http.post("/pair", json={}, headers=bearer(secrets[1]))).json()["code"]
            origin = {"Origin": server.http_url}
            await http.post("/redeem", json={"code": browser, "session": True}, headers=origin)
            secrets += [rotated, browser, http.cookies["tidenote_session"]]
            await http.post("/logout", headers=origin)
            http.cookies.clear()
            for path in ("/notes/absent.md", "/absent", "/sync?device_id=x"):
                await http.get(path, headers=bearer(rotated))
                await http.get(path, headers=bearer(f"{rotated}x"))
            async with plain_client(server, "phone", additional_headers=bearer(rotated)):
                await http.post("/devices/revoke", json={"device_id": "phone"}, headers=bearer(secrets[1]))
    assert len(secrets) == len(set(secrets)) == 7
    logged = "\n".join(
        f"{record.getMessage()} {record.exc_text}"
        for record in caplog.records
        if record.name.startswith(("tidenote", "uvicorn", "litestar", "sqlalchemy", "alembic", "httpx"))
    )
    assert "POST" in logged
    for line in logged.splitlines():
        assert not any(secret in line for secret in secrets), line
    assert kept_in(tmp_path, secrets) == []


def kept_in(folder: Path, secrets: list[str]) -> list[str]:
    """Return those of some secrets that stand in any file."""
    kept = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    return [secret for secret in secrets if secret.encode() in kept]
