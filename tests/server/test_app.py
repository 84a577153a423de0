"""Who gets in, what a connection may cost, and how the server starts and stops; over real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from server.running import PATIENCE_S, bearer, enrol, plain_client, running_server
from tidenote.config import ServerConfig
from tidenote.errors import ConfigError
from tidenote.server.app import create_app
from tidenote.server.pubsub import PubSub
from tidenote.server.serve import Running, serve
from tidenote.wire.messages import MAX_FRAME_BYTES

pytestmark = pytest.mark.anyio

TLS = Path(__file__).parent / "tls"
"""A key and a certificate for localhost, made for these tests and used nowhere else."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    """A server that asks for no tokens."""
    async with running_server(tmp_path) as running:
        yield running


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Running]:
    """A server that asks for tokens."""
    async with running_server(tmp_path, no_auth=False) as running:
        yield running


def token_of(server: Running) -> str:
    """Return a token that opens everything."""
    return server.service.identity.console_token


async def refusal(server: Running, query: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Return the status and code with which a connection is refused."""
    with pytest.raises(InvalidStatus) as caught:
        async with connect(server.endpoint + query, additional_headers=headers, origin=None):
            pass
    response = caught.value.response
    assert response.headers["content-type"] == "application/json"
    message = json.loads(response.body)
    assert message["type"] == "error"
    assert message["message"]
    return response.status_code, message["code"]


# ---------------------------------------------------------------------------------------------- who gets in


async def test_without_a_known_token_nobody_gets_a_socket(guarded: Running) -> None:
    for headers in (
        {},
        bearer("x"),
        bearer(""),
        {"Authorization": "Basic x"},
        {"Cookie": f"t={token_of(guarded)}"},
    ):
        assert await refusal(guarded, "?device_id=a", headers) == (401, "unauthorized")
    assert await refusal(guarded, f"?device_id=a&token={token_of(guarded)}") == (
        401,
        "unauthorized",
    )


async def test_a_token_comes_as_a_header_or_as_a_subprotocol(guarded: Running) -> None:
    async with plain_client(guarded, "a", additional_headers=bearer(token_of(guarded))) as a:
        assert a.socket.subprotocol is None
    offers = [Subprotocol("tidenote"), Subprotocol(f"bearer.{token_of(guarded)}")]
    async with plain_client(guarded, "a", subprotocols=offers) as a:
        assert a.socket.subprotocol == "tidenote"
        assert "rejected" not in await a.push(a.change("note:a.md", "x", 1))


async def test_a_device_s_token_is_its_own(guarded: Running) -> None:
    token = await enrol(guarded, "phone")
    assert await refusal(guarded, "?device_id=laptop", bearer(token)) == (403, "forbidden")
    async with plain_client(guarded, "phone~2", additional_headers=bearer(token)) as phone:
        for author, codes in (("phone", []), ("phone~2", []), ("phone~9", []), ("laptop", ["bad_author"])):
            answer = await phone.push({**phone.change(f"note:{author}.md", "x", 1), "device_id": author})
            assert [rejected["code"] for rejected in answer.get("rejected", [])] == codes


async def test_a_reader_s_changes_are_refused_and_it_reads(guarded: Running) -> None:
    reader = await enrol(guarded, "kiosk", role="reader")
    async with plain_client(guarded, "a", additional_headers=bearer(token_of(guarded))) as a:
        await a.push(a.change("note:a.md", "x", 1))
    async with plain_client(guarded, "kiosk", additional_headers=bearer(reader)) as kiosk:
        assert kiosk.values("note:a.md") == ["x"]
        answer = await kiosk.push(kiosk.change("note:b.md", "x", 2))
        assert [rejected["code"] for rejected in answer["rejected"]] == ["read_only"]


async def test_a_vault_that_is_closed_to_a_token_looks_like_none(guarded: Running) -> None:
    await guarded.service.create_vault("secret")
    token = await enrol(guarded, "a", "main")
    for vault in ("secret", "absent"):
        assert await refusal(guarded, f"?device_id=a&vault={vault}", bearer(token)) == (404, "unknown_vault")
    async with plain_client(guarded, "a", query="&vault=secret", additional_headers=bearer(token_of(guarded))):
        pass


@pytest.mark.parametrize(
    "query",
    ["", "?device_id=", "?device_id=a%20b", "?device_id=server", "?device_id=" + "a" * 65, "?device_id=a%00", "?v=1"],
)
async def test_a_malformed_device_id_is_refused(server: Running, query: str) -> None:
    assert await refusal(server, query) == (400, "bad_request")


async def test_other_versions_and_unknown_vaults_are_refused(server: Running) -> None:
    assert await refusal(server, "?device_id=a&v=2") == (426, "unsupported_version")
    assert await refusal(server, "?device_id=a&vault=absent") == (404, "unknown_vault")
    async with plain_client(server, "a", query="&v=1&vault=main&future=1") as a:
        assert (await a.push())["type"] == "sync_ack"


async def test_pages_of_other_sites_are_refused_even_without_tokens(server: Running) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", f"https://127.0.0.1:{server.port + 1}"):
        assert await refusal(server, "?device_id=a", {"Origin": origin}) == (403, "forbidden")
    async with plain_client(server, "a", additional_headers={"Origin": server.http_url}):
        pass


async def test_no_answer_is_kept_or_lent_to_other_pages(server: Running) -> None:
    async with httpx.AsyncClient(base_url=server.http_url) as http:
        written = await http.put("/api/v1/notes/a.html", content="<script>", headers={"If-None-Match": "*"})
        assert written.status_code == 200
        for path in (
            "/health",
            "/api/v1/notes",
            "/api/v1/notes/a.html",
            "/api/v1/openapi",
            "/api/v1/absent",
            "/absent",
        ):
            for headers in ({}, {"Host": "rebound.example"}):
                answer = await http.get(path, headers=headers)
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["cross-origin-resource-policy"] == "same-origin"
                assert answer.headers["cache-control"] in ("no-store", "private, no-cache")
                policy = answer.headers["content-security-policy"]
                assert policy in ("frame-ancestors 'none'", "sandbox; default-src 'none'")


async def test_other_names_that_lead_to_this_machine_are_refused_without_tokens(server: Running) -> None:
    async with httpx.AsyncClient(base_url=server.http_url) as http:
        for path in ("/health", "/metrics", "/api/v1/manifest", "/api/v1/sync?device_id=a", "/ws/sync"):
            response = await http.get(path, headers={"Host": "rebound.example"})
            assert (response.status_code, response.json()["code"]) == (403, "forbidden")
        assert (await http.get("/health", headers={"Host": f"localhost:{server.port}"})).status_code == 200


async def test_who_is_refused_leaves_no_error_in_the_log(guarded: Running, caplog: pytest.LogCaptureFixture) -> None:
    await refusal(guarded, "?device_id=a")
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []


async def test_who_leaves_before_being_let_in_is_forgotten(server: Running) -> None:
    """Else every such attempt would cost memory for good, and each commit its time."""
    query = b"device_id=phone"
    scope: Any = {
        "type": "websocket",
        "path": "/ws/sync",
        "raw_path": b"/ws/sync",
        "root_path": "",
        "scheme": "ws",
        "query_string": query,
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "subprotocols": [],
        "state": {},
        "extensions": {"websocket.http.response": {}},
    }

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        raise OSError(f"gone before {message['type']}")

    def listeners() -> int:
        bus = server.service.bus
        assert isinstance(bus, PubSub)
        return sum(len(found) for found in bus._topics.values())

    before = listeners()
    with suppress(OSError):
        await create_app(server.service)(scope, receive, send)
    assert listeners() == before


async def test_nothing_but_health_is_told_without_a_token(guarded: Running) -> None:
    async with httpx.AsyncClient(base_url=guarded.http_url) as http:
        assert (await http.get("/health")).json()["status"] == "ok"
        for path in (
            "/metrics",
            "/api/v1/manifest",
            "//api/v1/manifest",
            "/api//v1/manifest/",
            "/health/../metrics",
            "/api/v1/openapi/openapi.json",
            "/ws/sync",
            "/absent",
        ):
            response = await http.get(path)
            assert (response.status_code, response.json()["code"]) == (401, "unauthorized"), path
            assert response.headers["www-authenticate"] == "Bearer"
            assert (await http.get(path, headers=bearer(token_of(guarded)))).status_code != 401
        for path in ("/api/v1/sync?device_id=a", "/api/v1/fetch"):
            assert (await http.post(path, json={"keys": []})).status_code == 401
        assert (await http.put("/api/v1/blobs/" + "0" * 64, content=b"x")).status_code == 401


async def test_secrets_stay_out_of_the_log(guarded: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    offers = [Subprotocol("tidenote"), Subprotocol(f"bearer.{token_of(guarded)}")]
    async with plain_client(guarded, "a", subprotocols=offers) as a:
        await a.push(a.change("note:canary.md", "the canary sings", 1))
        await a.send_raw('{"the canary sings')
        await a.receive()
    logged = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("websockets"))
    assert token_of(guarded) not in logged
    assert "canary" not in logged


# ---------------------------------------------------------------------------------------------- what a connection costs


class RawSocket:
    """A WebSocket without a library: frames as they are on the wire."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def frame(self, opcode: int, payload: bytes = b"", *, fin: bool) -> bytes:
        assert len(payload) < 126
        return bytes((opcode | (0x80 if fin else 0), 0x80 | len(payload))) + b"\0\0\0\0" + payload

    async def frames(self) -> AsyncIterator[tuple[int, bytes]]:
        """Yield the frames that arrive, up to the end of the connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                async with asyncio.timeout(PATIENCE_S):
                    first, length = await self.reader.readexactly(2)
                    size = int.from_bytes(await self.reader.readexactly(2)) if length == 126 else length
                    yield first & 0x0F, await self.reader.readexactly(size)

    async def close_code(self) -> int | None:
        """Return the code of the close frame, after which nothing comes; None if there was none."""
        found = [int.from_bytes(payload[:2]) async for opcode, payload in self.frames() if opcode == 8]
        return found[0] if found else None


@asynccontextmanager
async def tcp(server: Running) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def raw_socket(server: Running) -> AsyncIterator[RawSocket]:
    async with tcp(server) as (reader, writer):
        head = (
            f"GET /ws/sync?device_id=raw HTTP/1.1\r\nHost: {server.host}:{server.port}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        )
        writer.write(head.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101")
        yield RawSocket(reader, writer)


async def test_a_flood_of_empty_fragments_is_closed(server: Running) -> None:
    async with raw_socket(server) as raw, plain_client(server, "b") as b:
        raw.writer.write(raw.frame(1, fin=False) + raw.frame(0, fin=False) * 4096)
        assert await raw.close_code() == 1009
        assert "rejected" not in await b.push(b.change("note:a.md", "x", 1))


async def test_a_message_may_come_in_many_fragments_and_so_may_the_next(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_fragments=100) as server, raw_socket(server) as raw:
        message = json.dumps({"type": "sync_push", "changes": [], "last_ack": 0, "id": "x"}).encode()
        for _ in range(3):
            raw.writer.write(raw.frame(1, message[:1], fin=False))
            raw.writer.write(b"".join(raw.frame(0, message[n : n + 1], fin=False) for n in range(1, 60)))
            raw.writer.write(raw.frame(9, b"ping", fin=True))
            raw.writer.write(raw.frame(0, message[60:], fin=True))
        answers = 0
        async for opcode, payload in raw.frames():
            answers += opcode == 1 and json.loads(payload)["id"] == "x"
            if answers == 3:
                break
        raw.writer.write(raw.frame(1, fin=False) + raw.frame(0, fin=False) * 100)
        assert await raw.close_code() == 1009


async def test_a_flood_of_pings_whose_answers_nobody_reads_is_cut_off(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, max_text_bytes=100, max_frame_bytes=300_000) as server,
        raw_socket(server) as raw,
    ):
        pings = raw.frame(9, b"x" * 125, fin=True) * 1000
        with suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    raw.writer.write(pings)
                    await raw.writer.drain()


async def test_a_client_that_answers_no_ping_is_closed(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, heartbeat_interval_ms=200, heartbeat_timeout_ms=200) as server,
        raw_socket(server) as raw,
        plain_client(server, "b") as b,
    ):
        assert await raw.close_code() == 1011
        assert (await b.push())["type"] == "sync_ack"


async def test_a_broken_frame_is_closed(server: Running) -> None:
    async with raw_socket(server) as raw:
        raw.writer.write(b"\xff\xff\xff\xff\xff\xff\xff\xff")
        assert await raw.close_code() == 1002


async def test_nothing_is_compressed(server: Running) -> None:
    async with connect(server.endpoint + "?device_id=a", compression="deflate") as socket:
        assert socket.response
        assert "sec-websocket-extensions" not in socket.response.headers


async def test_the_largest_message_fits_and_one_byte_more_does_not(server: Running) -> None:
    push = json.dumps({"type": "sync_push", "changes": [], "last_ack": 0, "id": "big", "padding": ""})
    padding = "x" * (MAX_FRAME_BYTES - len(push))
    async with plain_client(server, "a") as a:
        await a.send_raw(push.replace('"padding": ""', f'"padding": "{padding}"'))
        assert (await a.receive())["id"] == "big"
        with suppress(ConnectionClosed):
            await a.send_raw(push.replace('"padding": ""', f'"padding": "{padding}x"'))
            await a.receive()
        assert a.socket.close_code == 1009


async def test_more_connections_than_there_may_be_are_refused(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_connections=2) as server:
        async with plain_client(server, "a"), plain_client(server, "b"):
            assert await refusal(server, "?device_id=c") == (503, "overloaded")
        # Whoever left makes room, as soon as the server has noticed.
        connected = False
        while not connected:
            with suppress(InvalidStatus):
                async with plain_client(server, "c"):
                    connected = True


@pytest.mark.parametrize("beginning", [b"", b"GET /health HTTP/1.1\r\nX-Slow: "])
async def test_a_request_that_never_comes_to_its_end_is_cut_off(tmp_path: Path, beginning: bytes) -> None:
    async with running_server(tmp_path, request_timeout_ms=100) as server, tcp(server) as (reader, writer):
        writer.write(beginning)
        async with asyncio.timeout(PATIENCE_S):
            with suppress(ConnectionError):
                assert await reader.read() == b""


async def test_traffic_does_not_extend_the_time_for_a_head(tmp_path: Path) -> None:
    async with running_server(tmp_path, request_timeout_ms=300) as server, tcp(server) as (reader, writer):
        writer.write(b"GET /health HTTP/1.1\r\nX-Slow: ")
        gone = asyncio.create_task(reader.read())
        async with asyncio.timeout(PATIENCE_S):
            while not gone.done():
                writer.write(b"x")
                await asyncio.wait([gone], timeout=0.02)
        assert isinstance(gone.exception(), ConnectionError) or gone.result() == b""


@pytest.mark.parametrize(
    ("request_line", "answer"),
    [
        ("GET /health HTTP/1.1", b"200"),
        ("POST /api/v1/fetch HTTP/1.1\r\nContent-Length: 1000", b"401"),
        ("POST /api/v1/csp-report HTTP/1.1\r\nContent-Length: 1000", b"408"),
    ],
)
async def test_no_byte_keeps_a_connection_that_was_answered(tmp_path: Path, request_line: str, answer: bytes) -> None:
    async with (
        running_server(tmp_path, no_auth=False, request_timeout_ms=300) as server,
        tcp(server) as (reader, writer),
    ):
        writer.write(f"{request_line}\r\nHost: {server.host}\r\n\r\n".encode())
        async with asyncio.timeout(PATIENCE_S):
            assert answer in await reader.readuntil(b"\r\n")
            gone = asyncio.create_task(reader.read())
            while not gone.done():
                writer.write(b"\r\n")
                await asyncio.wait([gone], timeout=0.02)
        assert isinstance(gone.exception(), ConnectionError) or gone.result() is not None


async def test_a_stranger_s_body_comes_in_time_or_not_at_all(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, no_auth=False, request_timeout_ms=300) as server,
        tcp(server) as (reader, writer),
    ):
        writer.write(f"POST /api/v1/redeem HTTP/1.1\r\nHost: {server.host}\r\nContent-Length: 9999\r\n\r\n".encode())
        answer = asyncio.create_task(reader.readuntil(b"\r\n"))
        async with asyncio.timeout(PATIENCE_S):
            while not answer.done():
                writer.write(b"x")
                await asyncio.wait([answer], timeout=0.02)
        assert b"408" in answer.result()


async def test_who_reads_no_answer_is_cut_off(tmp_path: Path) -> None:
    async with running_server(tmp_path, request_timeout_ms=200) as server:
        blob = bytes(2**24)
        sha256 = hashlib.sha256(blob).hexdigest()
        async with httpx.AsyncClient(base_url=server.http_url, timeout=PATIENCE_S) as http:
            headers = {"Upload-Length": str(len(blob))}
            stored = await http.put(f"/api/v1/blobs/{sha256}", content=blob[: 2**23], headers=headers)
            headers["Upload-Offset"] = str(stored.json()["size"])
            await http.put(f"/api/v1/blobs/{sha256}", content=blob[2**23 :], headers=headers)
        async with tcp(server) as (_, writer):
            writer.write(f"GET /api/v1/blobs/{sha256} HTTP/1.1\r\nHost: {server.host}\r\n\r\n".encode())
            async with asyncio.timeout(PATIENCE_S):
                # Nothing is read here, so that the end shows only when something more is sent.
                with suppress(ConnectionError):
                    while not writer.is_closing():
                        writer.write(b"\r\n")
                        await writer.drain()
                        await asyncio.sleep(0.02)


async def test_the_second_request_of_a_connection_has_the_same_time(tmp_path: Path) -> None:
    async with running_server(tmp_path, request_timeout_ms=100) as server, tcp(server) as (reader, writer):
        writer.write(f"GET /health HTTP/1.1\r\nHost: {server.host}\r\n\r\n".encode())
        assert await reader.readuntil(b"}")
        writer.write(b"GET /health HTTP/1.1\r\n")
        async with asyncio.timeout(PATIENCE_S):
            with suppress(ConnectionError):
                assert await reader.read() == b""


async def test_a_head_without_end_is_refused(server: Running) -> None:
    async with tcp(server) as (reader, writer):
        writer.write(b"GET /health HTTP/1.1\r\n")
        answer = asyncio.create_task(reader.read(12))
        with suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE_S):
                while not answer.done():
                    writer.write(b"X-Header: " + b"x" * 10_000 + b"\r\n")
                    await writer.drain()
            # The answer may be lost in the reset of a connection that still sends.
            assert await answer == b"HTTP/1.1 400"
        async with httpx.AsyncClient(base_url=server.http_url) as http:
            assert (await http.get("/health")).status_code == 200


# ---------------------------------------------------------------------------------------------- start and stop


async def test_a_start_makes_a_vault_and_a_link_for_the_owner_until_there_is_one(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    async with running_server(data, no_auth=False) as server:
        assert server.owner_link
        epoch = server.service.hub("main").epoch
        assert (data.stat().st_mode & 0o777) == 0o700
    async with running_server(data, no_auth=False) as server, httpx.AsyncClient() as http:
        assert server.owner_link
        assert server.service.hub("main").epoch == epoch
        url, _, code = server.owner_link.partition("/#pair=")
        assert url == server.http_url
        redeemed = (await http.post(f"{url}/api/v1/redeem", json={"code": code, "device_id": "a"})).json()
        assert (redeemed["role"], redeemed["vault"]) == ("owner", None)
    async with running_server(data, no_auth=False) as server:
        assert server.owner_link is None
        async with plain_client(server, "a", additional_headers=bearer(redeemed["token"])):
            pass


async def test_a_server_without_tokens_has_no_owner(server: Running) -> None:
    assert server.owner_link is None


async def test_a_second_server_on_the_same_data_is_refused(server: Running, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        async with running_server(tmp_path):
            pass
    async with plain_client(server, "a") as a:
        assert "rejected" not in await a.push(a.change("note:a.md", "x", 1))


async def test_a_port_in_use_is_named_with_a_next_step(server: Running, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"port {server.port} .*--port"):
        async with running_server(tmp_path / "other", port=server.port):
            pass


async def test_an_unusable_data_folder_is_named_with_a_next_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--data"):
        async with running_server(tmp_path / "file"):
            pass


async def test_a_wrong_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("nonsense")
    for cert in (tmp_path / "bad.pem", tmp_path / "absent.pem"):
        with pytest.raises(ConfigError, match="--tls-cert"):
            async with running_server(tmp_path / "data", tls_cert=cert, tls_key=TLS / "key.pem"):
                pass


async def test_tls(tmp_path: Path) -> None:
    trusting = ssl.create_default_context(cafile=TLS / "cert.pem")
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    async with running_server(tmp_path, tls_cert=TLS / "cert.pem", tls_key=TLS / "key.pem") as server:
        assert server.endpoint.startswith("wss://")
        async with plain_client(server, "a", ssl=trusting) as a:
            await a.push(a.change("note:a.md", "x", 1))
        async with httpx.AsyncClient(base_url=server.http_url, verify=trusting) as http:
            assert (await http.get("/health")).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
async def test_the_address_that_is_told_is_the_one_that_answers(tmp_path: Path, host: str) -> None:
    async with running_server(tmp_path, host=host) as server, httpx.AsyncClient(base_url=server.http_url) as http:
        assert (await http.get("/health")).status_code == 200
        async with plain_client(server, "a"):
            pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_server_in_order(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    started: asyncio.Future[Running] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(ServerConfig(tmp_path, port=0, no_auth=True), started.set_result))
    server = await started
    async with plain_client(server, "a") as a:
        await a.push(a.change("note:a.md", "x", 1))
        os.kill(os.getpid(), number)
        message = await a.receive()
        assert message["code"] == "server_stopping"
        await serving
    assert signal.getsignal(number) is before
    with socket.create_server((server.host, server.port)):
        pass
    async with running_server(tmp_path) as again, plain_client(again, "a") as a:
        assert a.values("note:a.md") == ["x"]


async def test_a_stopping_server_lets_nobody_in_any_more(server: Running) -> None:
    await server.service.stop()
    assert await refusal(server, "?device_id=late") == (503, "server_stopping")


async def test_a_client_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"shutdown_timeout_ms": 300, "write_timeout_ms": 60_000}
    async with (
        running_server(tmp_path, **settings) as server,
        plain_client(server, "a") as a,
        plain_client(server, "hung", max_queue=1, close_timeout=0.1),
    ):
        for number in range(40):
            await a.push(a.change(f"note:{number}.md", "x" * 500_000, number + 1))
        async with asyncio.timeout(PATIENCE_S):
            await server.service.stop()
        message = await a.receive()
        assert message["code"] == "server_stopping"
