"""Asks the server that runs on this machine, with the token that it keeps beside its data for us."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn, TypeVar

import typer

from tidenote.cli import console
from tidenote.config import load_server_config

if TYPE_CHECKING:
    from tidenote.server.local import LocalServer

Data = Annotated[Path | None, typer.Option(metavar="DIR", help="The data folder of the server that runs here.")]
Settings = Annotated[Path | None, typer.Option(metavar="FILE", help="A settings file.")]
Vault = Annotated[str, typer.Option(metavar="NAME", help="The vault.")]

TIMEOUT_S: Final = 300.0
"""How long an answer may take; letting go of what is too old goes through all notes."""

T = TypeVar("T")


def ask(
    kind: type[T],
    method: str,
    path: str,
    body: object = None,
    *,
    data: Path | None,
    config: Path | None,
    **params: str,
) -> T:
    """Return the local server's answer to a request.

    Args:
        kind: what the answer is.
        method: of HTTP.
        path: below `/api/v1/`.
        body: a message; None for none.
        data: the server's data folder; None for the usual one.
        config: a settings file.
        params: of the query.

    Raises:
        TidenoteError: what the server said instead.
        typer.Exit: no server runs, after saying so.
    """
    import httpx

    from tidenote.client.rest import error_from
    from tidenote.wire.messages import decode, encode

    server = local_server(data, config)
    headers = {"Authorization": f"Bearer {server.token}"}
    try:
        with httpx.Client(
            base_url=server.url,
            headers=headers,
            verify=trust_of(server) or False,
            timeout=TIMEOUT_S,
            trust_env=False,  # A proxy never leads to this machine itself, and would learn the token.
        ) as client:
            content = None if body is None else encode(body)
            response = client.request(method, f"/api/v1/{path}", content=content, params=params)
    except httpx.ConnectError:
        _not_running(_data_folder(data, config))
    if response.status_code != 200:
        raise error_from(response.status_code, response.content)
    return decode(response.content, kind)


def local_server(data: Path | None, config: Path | None) -> LocalServer:
    """Return the server that runs on this machine.

    Args:
        data: its data folder; None for the usual one.
        config: a settings file.

    Raises:
        typer.Exit: none runs, after saying so.
    """
    from tidenote.server.local import find

    folder = _data_folder(data, config)
    return find(folder) or _not_running(folder)


def _data_folder(data: Path | None, config: Path | None) -> Path:
    return load_server_config({"data_dir": data}, file=config).data_dir


def _not_running(folder: Path) -> NoReturn:
    console.fail(
        f"no server runs on {folder}; start it with `tidenote serve`, or name its data folder with --data",
        console.USAGE,
    )


def trust_of(server: LocalServer) -> ssl.SSLContext | None:
    """Return what shows that it is our server: its own certificate, whatever name stands in it; None without TLS."""
    if server.tls_cert is None:
        return None
    trust = ssl.create_default_context(cafile=server.tls_cert)
    trust.check_hostname = False
    trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return trust
