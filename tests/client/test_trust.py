from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from client.devices import device, until
from server.running import running_server
from tidenote.client.trust import trust_for
from tidenote.errors import ConfigError

pytestmark = pytest.mark.anyio

TLS = Path(__file__).parents[1] / "server" / "tls"
SERVED: dict[str, Any] = {"tls_cert": TLS / "cert.pem", "tls_key": TLS / "key.pem"}


async def test_an_authority_of_ones_own_is_believed_by_the_socket_and_by_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "cert.pem"))
    picture = tmp_path / "a.png"
    picture.write_bytes(bytes(range(256)))
    async with (
        running_server(tmp_path / "server", **SERVED) as server,
        device(tmp_path, server.endpoint, "laptop") as laptop,
        device(tmp_path, server.endpoint, "phone") as phone,
    ):
        await laptop.put("a.md", "text")
        await laptop.put("a.png", picture)
        await until(phone, lambda: {"note:a.md", "file:a.png"} <= set(phone.journal.keys()), "the phone has both")
        assert await phone.get("a.md") == "text"
        assert await phone.get("a.png") == picture.read_bytes()


async def test_nobody_elses_authority_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    async with (
        running_server(tmp_path / "server", **SERVED) as server,
        device(tmp_path, server.endpoint, "laptop") as laptop,
    ):
        await laptop.put("a.md", "text")
        await until(laptop, lambda: laptop.status().last_error is not None, "the certificate is refused")
        assert "CERTIFICATE_VERIFY_FAILED" in (laptop.status().last_error or "")
        assert server.service.hub("main").clock == 0


@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_without_tls_there_is_nothing_to_believe(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    assert trust_for(f"{scheme}://notes.example") is None


@pytest.mark.parametrize("scheme", ["https", "wss"])
def test_certificates_that_cannot_be_read_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scheme: str
) -> None:
    url = f"{scheme}://notes.example"
    for content in (None, "nonsense"):
        if content:
            (tmp_path / "some.pem").write_text(content)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "some.pem"))
        with pytest.raises(ConfigError, match="SSL_CERT_FILE"):
            trust_for(url)
    monkeypatch.setenv("SSL_CERT_FILE", "")
    found = trust_for(url)
    assert found is not None
    assert found.verify_mode is ssl.CERT_REQUIRED
    assert found.check_hostname
