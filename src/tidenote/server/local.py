"""How the command line on the server's machine finds a running server, and gets in: a file beside its data.

Whoever may read the data folder may do everything anyway. The token in the file ends with the process.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

LOCAL_FILE: Final = "server.json"
"""The file in the data folder, there while the server runs."""

_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (to be replaced)
"""Addresses that a server can listen on but nobody can connect to, and what leads there on this machine."""


class LocalServer(msgspec.Struct, frozen=True):
    """A running server, as its own machine sees it."""

    url: str
    """Where REST is, without a trailing slash."""
    token: str
    """Opens everything."""
    tls_cert: str | None = None
    """The certificate to expect, in PEM."""


def url_of(scheme: str, host: str, port: int) -> str:
    """Return the address of a server, without a trailing slash."""
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def local_host(host: str) -> str:
    """Return the address under which this machine reaches what listens on an address."""
    return _WILDCARDS.get(host, host)


def reachable_host(host: str) -> str:
    """Return the address under which others reach what listens on an address, as far as this machine can tell."""
    if host not in _WILDCARDS:
        return host
    family, elsewhere = (socket.AF_INET6, "2001:db8::1") if ":" in host else (socket.AF_INET, "192.0.2.1")
    try:
        # Nothing is sent: connecting a datagram socket only chooses the interface.
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()


@contextmanager
def announced(data: Path, server: LocalServer) -> Iterator[None]:
    """Let the command line find a server while the context lasts; only the folder's owner may read how.

    Raises:
        OSError: the file cannot be written.
    """
    file = data / LOCAL_FILE
    fresh = file.with_name(f"{LOCAL_FILE}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(msgspec.json.encode(server))
    fresh.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def find(data: Path) -> LocalServer | None:
    """Return the server that runs on a data folder; None if none does, or ended without saying so."""
    try:
        return msgspec.json.decode((data / LOCAL_FILE).read_bytes(), type=LocalServer)
    except (OSError, msgspec.DecodeError):
        return None
