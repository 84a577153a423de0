"""The web app's files, and what goes with them."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from server.running import running_server
from tidenote.server.static import Answer, StaticFiles

pytestmark = pytest.mark.anyio


@pytest.fixture
def built(tmp_path: Path) -> StaticFiles:
    """What a build leaves: a page, a script with its compressed forms, a worker, a manifest."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text('<meta name="csp-nonce" content="__CSP_NONCE__"><title>App</title>')
    (tmp_path / "assets" / "app-1a2b.js").write_text("plain")
    (tmp_path / "assets" / "app-1a2b.js.br").write_text("brotli")
    (tmp_path / "assets" / "app-1a2b.js.gz").write_text("gzip")
    (tmp_path / "sw.js").write_text("worker")
    (tmp_path / "manifest.webmanifest").write_text("{}")
    (tmp_path / ".secret").write_text("no")
    (tmp_path.parent / "outside.js").write_text("no")
    return StaticFiles(tmp_path)


async def get(files: StaticFiles, path: str, **headers: str) -> Answer:
    answer = await files.answer(path, {name.replace("_", "-"): value for name, value in headers.items()})
    assert answer
    assert answer.headers.get("x-content-type-options", "nosniff") == "nosniff"
    return answer


async def test_the_page_is_never_kept_and_has_a_nonce_of_its_own(built: StaticFiles) -> None:
    pages = [await get(built, path, accept_encoding="br, gzip") for path in ("/", "/index.html")]
    assert pages[0].body != pages[1].body
    for page in pages:
        assert (page.status, page.headers["cache-control"]) == (200, "no-store")
        nonce = page.body.decode().split('content="')[1].split('"')[0]
        assert f"style-src 'self' 'nonce-{nonce}'" in page.headers["content-security-policy"]
        assert "script-src 'self';" in page.headers["content-security-policy"]
        assert "unsafe" not in page.headers["content-security-policy"]
        assert page.headers["referrer-policy"] == "no-referrer"


async def test_assets_are_kept_for_ever_and_compressed_as_the_browser_likes(built: StaticFiles) -> None:
    for accepted, encoding, body in (
        ("gzip, deflate, br", "br", b"brotli"),
        ("gzip;q=1.0", "gzip", b"gzip"),
        ("br;q=0, gzip;q=0.5", "gzip", b"gzip"),
        ("br; q=0.000, gzip;q=0", None, b"plain"),
        ("", None, b"plain"),
    ):
        answer = await get(built, "/assets/app-1a2b.js", accept_encoding=accepted)
        assert (answer.headers.get("content-encoding"), answer.body) == (encoding, body)
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["vary"] == "accept-encoding"


async def test_other_files_are_asked_for_again(built: StaticFiles) -> None:
    worker = await get(built, "/sw.js", accept_encoding="br")
    assert (worker.body, worker.headers["cache-control"]) == (b"worker", "no-cache")
    again = await get(built, "/sw.js", if_none_match=f'"x", {worker.headers["etag"]}')
    assert (again.status, again.body) == (304, b"")
    manifest = await get(built, "/manifest.webmanifest")
    assert manifest.headers["content-type"] == "application/manifest+json"


@pytest.mark.parametrize(
    "path",
    "/absent.js /assets /assets/ //sw.js /../outside.js /assets/../../outside.js /.secret /a\0.js /assets/%2e%2e/x "
    "/\\sw.js /sw.js/ /assets/.hidden".split(),
)
async def test_nothing_else_is_there(built: StaticFiles, path: str) -> None:
    assert await built.answer(path, {}) is None


async def test_without_a_build_the_page_says_how_to_get_one(tmp_path: Path) -> None:
    page = await get(StaticFiles(tmp_path / "absent"), "/")
    assert page.status == 200
    assert b"make setup" in page.body
    assert await StaticFiles(tmp_path / "absent").answer("/sw.js", {}) is None


async def test_the_page_is_open_to_everyone_and_the_api_is_not(tmp_path: Path) -> None:
    async with running_server(tmp_path, no_auth=False) as server, httpx.AsyncClient(base_url=server.http_url) as http:
        page = await http.get("/")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert page.headers["content-length"] == str(len(page.content))
        head = await http.head("/")
        assert (head.status_code, head.content) == (200, b"")
        assert (await http.post("/")).status_code == 401
        assert (await http.get("/api/v1/me")).status_code == 401
        assert (await http.get("/", headers={"Origin": "https://evil.example"})).status_code == 403


async def test_what_the_policy_forbids_is_counted(tmp_path: Path) -> None:
    async with running_server(tmp_path, no_auth=False) as server, httpx.AsyncClient(base_url=server.http_url) as http:
        report = {"csp-report": {"blocked-uri": "inline", "document-uri": server.http_url}}
        headers = {"Content-Type": "application/csp-report", "Origin": server.http_url}
        for _ in range(2):
            assert (await http.post("/api/v1/csp-report", json=report, headers=headers)).status_code == 204
        assert (await http.post("/api/v1/csp-report", content=b"x" * 70_000)).status_code == 413
        foreign = {"Origin": "https://evil.example"}
        assert (await http.post("/api/v1/csp-report", json=report, headers=foreign)).status_code == 403
        token = {"Authorization": f"Bearer {server.service.identity.console_token}"}
        assert "tidenote_csp_reports_total 2.0" in (await http.get("/metrics", headers=token)).text
