"""`tidenote devices`, `revoke`, `vaults`, `gc`: looking after a server, on its machine."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidenote.cli import console
from tidenote.cli.local import Data, Settings, Vault, ask

if TYPE_CHECKING:
    from tidenote.wire.messages import DeviceEntry

OnTie = Annotated[
    str | None,
    typer.Option("--on-tie", metavar="WHAT", help="What to do if none of two edits came first: review, ask or merge."),
]

vaults_app = typer.Typer(help="List the server's vaults, make one, or alter one.", rich_markup_mode=None)


def devices(
    data: Data = None,
    vault: Vault = "main",
    as_json: console.AsJson = False,
    config: Settings = None,
) -> None:
    """List who may use a vault, when each was here, and how far it is."""
    from rich.table import Table

    from tidenote.cli.texts import moment, plain, terminal
    from tidenote.wire.messages import Devices

    found = ask(Devices, "GET", "devices", data=data, config=config, vault=vault)
    if as_json:
        console.say_json(found)
        return
    if not found.devices:
        console.say("no devices yet; `tidenote pair` makes a link for one")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("device", "role", "vault", "last here", "has"):
        table.add_column(title)
    for device in found.devices:
        seen = "connected" if device.connected else moment(device.last_seen_at)
        name = f"{device.device_id} (browser)" if device.web else device.device_id
        where = plain(device.vault or "every one")
        table.add_row(plain(name), device.role or "-", where, seen, _has(device, found.clock))
    terminal().print(table)


def _has(device: DeviceEntry, clock: int) -> str:
    if device.cursor is None:
        return "not known"
    return "everything" if device.cursor >= clock else "not the latest"


def revoke(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="As `tidenote devices` calls it.")],
    data: Data = None,
    config: Settings = None,
) -> None:
    """Let a device in no longer. Its connections end at once; what it has, it keeps."""
    from tidenote.wire.messages import RevokeRequest

    with console.unless_found("`tidenote devices` lists them"):
        ask(dict[str, Any], "POST", "devices/revoke", RevokeRequest(device), data=data, config=config)
    console.say(f"{device} is let in no longer")


@vaults_app.callback(invoke_without_command=True)
def vaults(context: typer.Context, data: Data = None, config: Settings = None) -> None:
    """List the server's vaults, make one, or alter one."""
    if context.invoked_subcommand is None:
        list_(data, config=config)


@vaults_app.command("list", epilog=console.example("tidenote vaults list"))
def list_(data: Data = None, as_json: console.AsJson = False, config: Settings = None) -> None:
    """List the server's vaults."""
    from rich.table import Table

    from tidenote.cli.texts import plain, terminal
    from tidenote.wire.messages import Vaults

    found = ask(Vaults, "GET", "vaults", data=data, config=config)
    if as_json:
        console.say_json(found)
        return
    table = Table(box=None, pad_edge=False)
    for title in ("vault", "notes and files", "ties"):
        table.add_column(title)
    for vault in found.vaults:
        table.add_row(plain(vault.name), str(vault.notes), vault.on_tie)
    terminal().print(table)
    for vault in found.vaults:
        if vault.fenced_by is not None:
            console.say(
                f"vault {vault.name} takes nothing in: a device has synced with a later copy of it elsewhere. If there "
                f"is none, `tidenote vaults unfence {shlex.quote(vault.name)}` lets this one go on"
            )


@vaults_app.command(epilog=console.example("tidenote vaults create work --on-tie ask"))
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")],
    on_tie: OnTie = None,
    data: Data = None,
    config: Settings = None,
) -> None:
    """Make a vault."""
    from tidenote.wire.messages import VaultRequest, Vaults

    ask(Vaults, "POST", "vaults", VaultRequest(name, on_tie), data=data, config=config)
    console.say(f"made vault {name}; `tidenote pair --vault={shlex.quote(name)}` lets a device into it")


@vaults_app.command("set", epilog=console.example("tidenote vaults set main --on-tie merge"))
def set_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which vault.")],
    on_tie: OnTie = None,
    data: Data = None,
    config: Settings = None,
) -> None:
    """Alter a vault's settings."""
    from tidenote.wire.messages import VaultRequest, Vaults

    if on_tie is None:
        console.fail("say what to set: --on-tie review, ask or merge", console.USAGE)
    (vault,) = ask(Vaults, "POST", "vaults/set", VaultRequest(name, on_tie), data=data, config=config).vaults
    console.say(f"vault {vault.name}: --on-tie {vault.on_tie}")


@vaults_app.command(epilog=console.example("tidenote vaults unfence main"))
def unfence(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which vault.")],
    data: Data = None,
    config: Settings = None,
) -> None:
    """Let a vault go on here that gave way to a later copy elsewhere, which is lost or was made up."""
    from tidenote.wire.messages import VaultRequest, Vaults

    ask(Vaults, "POST", "vaults/unfence", VaultRequest(name), data=data, config=config)
    console.say(
        f"vault {name} takes changes in. Start `tidenote sync` again where it ended, and load the web app anew; each "
        "device compares everything once, and deletes nothing"
    )


def gc(
    data: Data = None,
    vault: Vault = "main",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be let go.")] = False,
    config: Settings = None,
) -> None:
    """Let go now of what the settings keep no longer; the server does so every day by itself."""
    from tidenote.wire.messages import Collected, GcRequest

    done = ask(Collected, "POST", "gc", GcRequest(dry_run), data=data, config=config, vault=vault)
    would = "would let go of" if dry_run else "let go of"
    console.say(
        f"vault {vault}: {would} {console.counted(done.versions, 'version', 'versions')} "
        f"({done.size / 2**20:.1f} MiB), {console.counted(done.tombstones, 'deletion', 'deletions')}, "
        f"{console.counted(done.blobs, 'attachment', 'attachments')} ({done.blob_size / 2**20:.1f} MiB)"
    )
