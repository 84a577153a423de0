"""Data folders of an earlier version: nobody is locked out, and nobody gets in who did not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest

from server.running import bearer, plain_client, running_server
from tidenote.errors import ConfigError
from tidenote.server.earlier_tokens import TAKEN_OVER, TOKENS_FILE

pytestmark = pytest.mark.anyio


def entry(token: str, **more: str) -> str:
    fields = {"sha256": f'"{hashlib.sha256(token.encode()).hexdigest().upper()}"', **more}
    return "[[token]]\n" + "".join(f"{name} = {value}\n" for name, value in fields.items())


async def test_tokens_go_on_to_open_what_they_opened(tmp_path: Path) -> None:
    (tmp_path / TOKENS_FILE).write_text(
        entry("any")
        + entry("phone", device_id='"phone"', vaults='["main"]')
        + entry("phone-2", device_id='"phone"', vaults='["main", "other"]', role='"reader"')
    )
    async with running_server(tmp_path, no_auth=False) as server:
        assert server.owner_link
        assert not (tmp_path / TOKENS_FILE).exists()
        assert (tmp_path / TAKEN_OVER).exists()
    async with (
        running_server(tmp_path, no_auth=False) as server,
        httpx.AsyncClient(base_url=server.http_url) as http,
        plain_client(server, "anyone", additional_headers=bearer("any")),
        plain_client(server, "phone", additional_headers=bearer("phone")),
    ):
        told = {token: (await http.get("/api/v1/me", headers=bearer(token))).json() for token in ("any", "phone-2")}
        assert (told["any"]["device_id"], told["any"]["vault"], told["any"]["role"]) == (None, None, "editor")
        assert (told["phone-2"]["device_id"], told["phone-2"]["role"]) == ("phone", "reader")
        assert told["phone-2"]["vaults"] == ["main"]
        assert (await http.get("/api/v1/me", headers=bearer("Any"))).status_code == 401
        devices = (await http.get("/api/v1/devices", headers=bearer("any"))).json()["devices"]
        assert [device["device_id"] for device in devices] == ["*", "phone", "phone", "anyone"]


async def test_a_token_from_before_may_be_revoked(tmp_path: Path) -> None:
    (tmp_path / TOKENS_FILE).write_text(entry("any"))
    async with running_server(tmp_path, no_auth=False) as server, httpx.AsyncClient(base_url=server.http_url) as http:
        owner = bearer(server.service.identity.console_token)
        revoked = await http.post("/api/v1/devices/revoke", json={"device_id": "*"}, headers=owner)
        assert revoked.status_code == 200
        assert (await http.get("/api/v1/me", headers=bearer("any"))).status_code == 401


@pytest.mark.parametrize("text", ["[[token]", "[[token]]\n", '[[token]]\nsha256 = "x"\nrole = "owner"\n', "token = 1"])
async def test_a_malformed_file_is_named_and_kept(tmp_path: Path, text: str) -> None:
    (tmp_path / TOKENS_FILE).write_text(text)
    with pytest.raises(ConfigError, match=r"tokens\.toml is malformed"):
        async with running_server(tmp_path, no_auth=False):
            pass
    assert (tmp_path / TOKENS_FILE).read_text() == text
