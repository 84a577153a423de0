"""`tidenote serve`: the server."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidenote import __version__
from tidenote.cli import console
from tidenote.config import ServerConfig, load_server_config

if TYPE_CHECKING:
    from tidenote.server.serve import Running


def serve(
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Where everything is kept, on a local disk.")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on [127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on [8787]; 0 for any.")] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Let everyone in; on a loopback address only.")] = False,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="The certificate chain, in PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key, in PEM.")] = None,
    database: Annotated[
        str | None, typer.Option(metavar="URL", help="Another database than the embedded one; not supported yet.")
    ] = None,
    redis: Annotated[
        str | None, typer.Option(metavar="URL", help="What connects several server processes; not supported yet.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="A settings file.")] = None,
) -> None:
    """Run the server until Ctrl-C or SIGTERM."""
    flags = {
        "data_dir": data,
        "host": host,
        "port": port,
        "no_auth": no_auth or None,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "database_url": database,
        "redis_url": redis,
    }
    settings = load_server_config(flags, file=config)
    from tidenote.server.serve import run

    console.log_to_stderr("INFO")
    run(settings, lambda server: _announce(server, settings))


def _announce(server: Running, settings: ServerConfig) -> None:
    """Say where the server is and how a device joins."""
    console.say(f"Tidenote {__version__} serves {server.http_url}, data in {settings.data_dir}")
    if settings.no_auth:
        console.say("No tokens are asked for: everyone on this machine may read and write.")
        console.say(f"A device joins with: tidenote sync DIR --endpoint {server.endpoint} --device-id NAME")
        return
    if server.owner_link:
        console.say(f"Nobody owns it yet. Open this in your browser within 10 minutes: {server.owner_link}")
    folder = settings.data_dir.absolute()
    where = "" if folder == ServerConfig().data_dir else f" --data {shlex.quote(str(folder))}"
    console.say(f"A device joins with a link: `tidenote pair{where}` on this machine makes one.")
