"""Serves the web app: the files in `static/`, to everyone; what is in them asks for a token or a link itself.

Nothing here is secret and nothing is dynamic but a nonce for styles. Headers allow what the app needs and no more.
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parent / "static"
"""Where `make setup` puts the built web app."""

INDEX: Final = "index.html"

NONCE: Final = b"__CSP_NONCE__"
"""What `index.html` has in place of the nonce with which scripts of the app may add styles."""

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; report-uri /api/v1/csp-report"
)
"""The content security policy; docs/operations.md has it in words."""

_PATH = re.compile(r"/(?:[\w-][\w.-]*/)*[\w-][\w.-]*", re.ASCII)
"""Paths of files that may be there: no name begins with a dot, none is empty."""

_ENCODINGS: Final = (("br", ".br"), ("gzip", ".gz"))
"""The compressions that may lie beside a file, best first."""

_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}

NOT_BUILT: Final = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Tidenote</title>
<h1>Tidenote</h1>
<p>The server runs. Its web app is not built yet: run <code>make setup</code> in Tidenote's source folder
(it needs Node.js), then load this page again. Folders sync without it.</p>
</html>
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer a request for a file."""

    status: int
    headers: dict[str, str]
    body: bytes


class StaticFiles:
    """The files of the web app.

    Args:
        root: the folder; it may be missing.
    """

    def __init__(self, root: Path = STATIC) -> None:
        self._root = root

    async def answer(self, path: str, headers: Mapping[str, str]) -> Answer | None:
        """Return the answer to a GET or HEAD, None if there is no such file.

        Args:
            path: of the address.
            headers: of the request, by lower-case names.
        """
        name = INDEX if path in ("/", f"/{INDEX}") else path[1:]
        if path != "/" and not _PATH.fullmatch(path):
            return None
        found = await asyncio.to_thread(self._read, name, headers.get("accept-encoding", ""))
        if found is None:
            return _page(NOT_BUILT) if name == INDEX else None
        body, encoding = found
        if name == INDEX:
            return _page(body)
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        immutable = name.startswith("assets/")
        answer = {
            "content-type": _type_of(name),
            "cache-control": "public, max-age=31536000, immutable" if immutable else "no-cache",
            "etag": etag,
            "vary": "accept-encoding",
            **_guards(POLICY.format(styles="")),
        }
        if encoding:
            answer["content-encoding"] = encoding
        if etag in (tag.strip() for tag in headers.get("if-none-match", "").split(",")):
            return Answer(304, {name: answer[name] for name in ("etag", "cache-control", "vary")}, b"")
        return Answer(200, answer, body)

    def _read(self, name: str, accepted: str) -> tuple[bytes, str | None] | None:
        """Return a file's bytes and how they are compressed."""
        file = self._root / name
        offers = _accepted(accepted)
        for encoding, suffix in _ENCODINGS if name != INDEX else ():
            if encoding in offers and (packed := _bytes(file.with_name(file.name + suffix))) is not None:
                return packed, encoding
        plain = _bytes(file)
        return None if plain is None else (plain, None)


def _page(body: bytes) -> Answer:
    """Return the page that everything starts from; never kept, so that the next version is seen at once."""
    nonce = secrets.token_urlsafe(16)
    styles = f" 'nonce-{nonce}'" if NONCE in body else ""
    headers = {
        "content-type": _TYPES[".html"],
        "cache-control": "no-store",
        **_guards(POLICY.format(styles=styles)),
    }
    return Answer(200, headers, body.replace(NONCE, nonce.encode()))


def _type_of(name: str) -> str:
    return _TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


def _accepted(header: str) -> set[str]:
    """Return the compressions that an `Accept-Encoding` takes."""
    offers = [offer.replace(" ", "").partition(";q=") for offer in header.lower().split(",")]
    return {name for name, _, weight in offers if not weight or weight.strip("0.")}


def _guards(policy: str) -> dict[str, str]:
    return {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }


def _bytes(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None
