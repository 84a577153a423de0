"""`tidenote pair`: let one more device in."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from tidenote.cli import console
from tidenote.cli.local import Data, Settings, ask
from tidenote.cli.texts import moment
from tidenote.config import leads_here

Role = Literal["reader", "editor", "owner"]


def pair(
    data: Data = None,
    vault: Annotated[
        str | None, typer.Option(metavar="NAME", help="The only vault that it opens [main; an owner: every one].")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="What it is called [it says so itself]; a known one moves here.")
    ] = None,
    role: Annotated[Role, typer.Option(help="What it may do.")] = "editor",
    token: Annotated[
        bool, typer.Option("--token", help="Print a token instead of a link, for scripts; it is shown this once.")
    ] = False,
    config: Settings = None,
) -> None:
    """Make a one-time link for a new device, good for 10 minutes: a folder, or a browser. Run it beside the server."""
    from tidenote.wire.messages import DEFAULT_VAULT, Paired, PairRequest, Redeemed, RedeemRequest

    if token and device is None:
        console.fail("a token needs a device that it is for; name it with --device", console.USAGE)
    if vault is None and role != "owner":
        vault = DEFAULT_VAULT
    request = PairRequest(vault, device, role)
    made = ask(Paired, "POST", "pair", request, data=data, config=config)
    if token:
        redeemed = ask(Redeemed, "POST", "redeem", RedeemRequest(made.code), data=data, config=config)
        console.say(redeemed.token or "")
        return
    console.say(f"A one-time link, good until {moment(made.expires_at)[-5:]}:")
    console.say(f"\n  {made.link}\n")
    is_local = leads_here(made.link)
    if not is_local:
        _show_code(made.link)
    console.say(f"A folder joins with: tidenote sync DIR --link '{made.link}'")
    console.say("A browser: open the link." if is_local else "A browser: open the link, or photograph the code.")
    if is_local:
        console.say("It leads nowhere but on this machine: for others start the server with --host, or set public_url.")


def _show_code(link: str) -> None:
    """Print the link for a phone's camera, where the terminal has the characters for it."""
    import segno

    try:
        "▀▄█".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return
    segno.make(link, error="m").terminal(border=2, compact=True)
    console.say()
