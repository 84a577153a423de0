"""Becomes a device of a server with a one-time link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

import httpx

from tidenote.client.rest import error_from, http_client
from tidenote.errors import ConfigError, ProtocolError, UnreachableError
from tidenote.wire.messages import Redeemed, RedeemRequest, decode, encode

TIMEOUT_S: Final = 30.0
"""How long the server may take to answer."""


@dataclass(frozen=True, slots=True)
class Link:
    """A one-time link.

    Attributes:
        url: of the server, without a trailing slash.
        code: what it is good for.
    """

    url: str
    code: str

    @property
    def sync_endpoint(self) -> str:
        """The address of the server's socket."""
        return f"ws{self.url.removeprefix('http')}/ws/sync"


def parse_link(text: str) -> Link:
    """Return the parts of a link such as `https://notes.example/#pair=CODE`.

    Raises:
        ConfigError: it is none.
    """
    try:
        parts = urlsplit(text.strip())
        (code,) = parse_qs(parts.fragment, strict_parsing=True)["pair"]
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except (ValueError, KeyError):
        good, code = False, ""
    if not good:
        raise ConfigError("this is no link; `tidenote pair` on the server prints one, http://HOST:PORT/#pair=CODE")
    return Link(f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}", code)


async def redeem(link: Link, device_id: str, token: str | None = None) -> Redeemed:
    """Use a link up, and return who the device is now.

    Args:
        link: a fresh one.
        device_id: how the device would like to be called.
        token: what it has already, if it is a device of this server that is to stay itself.

    Raises:
        ConfigError: the environment names a proxy or certificates that are of no use.
        TidenoteError: what the server said instead.
        UnreachableError: it gave no answer.
    """
    body = encode(RedeemRequest(link.code, device_id))
    try:
        async with http_client(link.url, TIMEOUT_S, token) as client:
            response = await client.post("/api/v1/redeem", content=body)
    except httpx.HTTPError as error:
        raise UnreachableError(f"{link.url} does not answer: {str(error) or type(error).__name__}") from error
    if response.status_code != 200:
        raise error_from(response.status_code, response.content)
    try:
        return decode(response.content, Redeemed)
    except ProtocolError:
        raise UnreachableError(f"{link.url} does not answer as Tidenote does") from None


async def leave(link: Link, token: str) -> None:
    """Give up what a link was used for; best effort.

    Raises:
        ConfigError: the environment names a proxy or certificates that are of no use.
        UnreachableError: the server gave no answer.
    """
    try:
        async with http_client(link.url, TIMEOUT_S, token) as client:
            await client.post("/api/v1/logout")
    except httpx.HTTPError as error:
        raise UnreachableError(f"{link.url} does not answer: {error}") from error
