"""The REST of identity (docs/protocol.md 11.8): who asks, who else may, and which vaults there are."""

from __future__ import annotations

from typing import Final

import segno
from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler

import tidenote
from tidenote.config import leads_here
from tidenote.core.keys import owner_of
from tidenote.errors import AccessError, ProtocolError
from tidenote.server.api import Asked, Parts, Vault, caller_of, open_hub, read_body
from tidenote.server.auth import Caller, Door, Head, set_cookie, vault_of
from tidenote.server.hub import Hub
from tidenote.server.openapi import ERRORS, body_of
from tidenote.server.responses import json_response
from tidenote.server.service import Service
from tidenote.server.store.contract import Device, Store, VaultInfo
from tidenote.server.store.registry import Credential
from tidenote.wire.messages import (
    DEFAULT_VAULT,
    PROTOCOL_VERSION,
    DeviceEntry,
    Devices,
    Me,
    Paired,
    PairRequest,
    Redeemed,
    RedeemRequest,
    RevokeRequest,
    Rotated,
    VaultEntry,
    VaultRequest,
    Vaults,
    decode,
)


@get("/api/v1/me", responses=ERRORS)
async def me(service: Parts, request: Asked) -> Response[Me]:
    """Say who asks, and what they may."""
    caller = caller_of(request)
    vaults = [name for name in service.vaults if caller.may_open(name)]
    answer = Me(
        caller.auth, caller.device_id, caller.role, caller.vault, vaults, tidenote.__version__, PROTOCOL_VERSION
    )
    head = _head_of(request)
    # A browser that comes back keeps its cookie for longer.
    token = _door_of(request).cookie(head) if caller.auth == "session" else None
    return json_response(answer, headers=_cookie(service, head, token) if token else None)


@post("/api/v1/pair", status_code=200, operation_class=body_of(PairRequest), responses=ERRORS)
async def pair(service: Parts, request: Asked) -> Response[Paired]:
    """Make a one-time link for a new device, or for one that has lost its token."""
    asked = decode(await read_body(request, service), PairRequest)
    caller = caller_of(request)
    caller.check_owner(None if asked.vault is None else (asked.vault,))
    if asked.vault is not None:
        open_hub(service, request, asked.vault)
    invitation = await service.identity.invite(asked.vault, asked.device_id, asked.role)
    link = service.link(invitation.code, _base_url(service, _head_of(request)))
    svg = segno.make(link, error="m").svg_inline(scale=4, border=2)
    return json_response(Paired(link, invitation.code, invitation.expires_at, svg))


@post("/api/v1/redeem", status_code=200, operation_class=body_of(RedeemRequest), responses=ERRORS)
async def redeem(service: Parts, request: Asked) -> Response[Redeemed]:
    """Use a one-time link up: become a device. Open to everyone who has one."""
    head, door = _head_of(request), _door_of(request)
    before = door.known(head)
    if before is None or before.role != "owner":
        service.strangers.check(request.client.host if request.client else "")
    asked = decode(await read_body(request, service), RedeemRequest)
    if asked.session:
        # Nobody else's page may log a browser in as somebody.
        door.check_origin(head)
    made, token, ended = await service.identity.redeem(
        asked.code, asked.device_id, session=asked.session, before=before
    )
    await service.see_off(ended)
    answer = Redeemed(made.device_id, vault_of(made), made.role, None if asked.session else token)
    return json_response(answer, headers=_cookie(service, head, token) if asked.session else None)


@post("/api/v1/logout", status_code=200, responses=ERRORS)
async def logout(service: Parts, request: Asked) -> Response[dict[str, str]]:
    """End the caller's own access."""
    caller = caller_of(request)
    await service.let_go(known for known in service.identity.credentials if known.id == caller.credential.id)
    return json_response({}, headers=set_cookie("", _head_of(request).scheme, days=0))


@get("/api/v1/devices", responses=ERRORS)
async def list_devices(service: Parts, request: Asked, vault: Vault = DEFAULT_VAULT) -> Response[Devices]:
    """Return the devices of a vault, and how far each has applied its log."""
    hub = open_hub(service, request, vault)
    clock = hub.clock
    seen: dict[str, Device] = {}
    for device in await hub.devices():
        # The latest incarnation speaks for the device.
        owner = owner_of(device.device_id)
        if owner not in seen or device.last_seen >= seen[owner].last_seen:
            seen[owner] = device
    connected = service.connections.devices(vault)
    entries = [
        _entry(known, seen.pop(known.device_id, None), hub, connected, caller_of(request))
        for known in service.identity.credentials
        if known.vaults is None or vault in known.vaults
    ]
    entries += [_entry(None, device, hub, connected, caller_of(request)) for device in seen.values()]
    return json_response(Devices(clock, entries))


@post("/api/v1/devices/revoke", status_code=200, operation_class=body_of(RevokeRequest), responses=ERRORS)
async def revoke_device(service: Parts, request: Asked) -> Response[dict[str, str]]:
    """Let a device in no longer: its connections end at once."""
    asked = decode(await read_body(request, service), RevokeRequest)
    caller = caller_of(request)
    caller.check_owner()
    ended = [known for known in service.identity.credentials if known.device_id == asked.device_id]
    # What an owner of other vaults may not see looks like nothing.
    if not ended or not any(known.vaults is None or any(map(caller.may_open, known.vaults)) for known in ended):
        raise AccessError(f"there is no device {asked.device_id}", "not_found")
    for known in ended:
        caller.check_owner(known.vaults)
    await service.let_go(ended)
    return json_response({})


@post("/api/v1/devices/rotate", status_code=200, responses=ERRORS)
async def rotate_token(service: Parts, request: Asked) -> Response[Rotated]:
    """Give the caller a new token in place of its own."""
    caller = caller_of(request)
    token = await service.identity.rotate(caller.credential)
    if caller.auth == "session":
        return json_response(Rotated(), headers=_cookie(service, _head_of(request), token))
    return json_response(Rotated(token))


@get("/api/v1/vaults", responses=ERRORS)
async def list_vaults(service: Parts, request: Asked) -> Response[Vaults]:
    """Return the vaults that the caller may use."""
    caller = caller_of(request)
    return json_response(
        Vaults([await _vault_entry(service.hub(name)) for name in service.vaults if caller.may_open(name)])
    )


@post("/api/v1/vaults", status_code=200, operation_class=body_of(VaultRequest), responses=ERRORS)
async def create_vault(service: Parts, request: Asked) -> Response[Vaults]:
    """Create a vault; return it."""
    asked = decode(await read_body(request, service), VaultRequest)
    caller_of(request).check_owner(None)
    if asked.name in service.vaults:
        raise ProtocolError(f"there is a vault {asked.name} already: choose another name", "bad_request")
    if asked.on_tie is not None:
        # Before it is made: a setting that is none makes no vault.
        VaultInfo.new(asked.name, "").settle_ties(asked.on_tie)
    return await _set(await service.create_vault(asked.name), asked)


@post("/api/v1/vaults/set", status_code=200, operation_class=body_of(VaultRequest), responses=ERRORS)
async def set_vault(service: Parts, request: Asked) -> Response[Vaults]:
    """Alter a vault's settings; return it."""
    return await _set(*await _owned(service, request))


@post("/api/v1/vaults/unfence", status_code=200, operation_class=body_of(VaultRequest), responses=ERRORS)
async def unfence_vault(service: Parts, request: Asked) -> Response[Vaults]:
    """Let a vault that gave way to a later copy of itself go on here; return it."""
    hub, _ = await _owned(service, request)
    await hub.unfence()
    return json_response(Vaults([await _vault_entry(hub)]))


async def _owned(service: Service, request: Asked) -> tuple[Hub, VaultRequest]:
    """Return the vault that a request names, whose owner the caller has to be, and what it asks."""
    asked = decode(await read_body(request, service), VaultRequest)
    hub = open_hub(service, request, asked.name)
    caller_of(request).check_owner((asked.name,))
    return hub, asked


async def _set(hub: Hub, asked: VaultRequest) -> Response[Vaults]:
    if asked.on_tie is not None:
        await hub.set_on_tie(asked.on_tie)
    return json_response(Vaults([await _vault_entry(hub)]))


async def _vault_entry(hub: Hub) -> VaultEntry:
    return VaultEntry(hub.name, hub.info.on_tie, await hub.read(_count_notes), hub.clock, hub.info.fenced_by)


def _count_notes(store: Store, vault: str) -> int:
    return store.count_notes(vault)


def _entry(
    known: Credential | None, device: Device | None, hub: Hub, connected: set[str], caller: Caller
) -> DeviceEntry:
    """Return what is told of a device: of its credential, of how far it is, or of both."""
    device_id = known.device_id if known else owner_of(device.device_id) if device else ""
    seen = max(known.last_seen_at if known else 0, device.last_seen if device else 0)
    return DeviceEntry(
        device_id,
        vault_of(known) if known else hub.name,
        known.role if known else None,
        known.created_at if known else None,
        seen,
        device.cursor if device and device.epoch == hub.epoch else None,
        device_id in connected,
        bool(known and known.session),
        bool(known and known.id == caller.credential.id),
    )


def _base_url(service: Service, head: Head) -> str:
    """Return the address to put into a link: the one that the caller uses, if others can use it, too."""
    asked = f"{head.scheme}://{head.headers.get('host', '')}"
    return service.base_url if service.config.public_url or leads_here(asked) else asked


def _cookie(service: Service, head: Head, token: str) -> dict[str, str]:
    return set_cookie(token, head.scheme, days=service.config.session_days)


def _head_of(request: Asked) -> Head:
    head: Head = request.scope["state"]["head"]
    return head


def _door_of(request: Asked) -> Door:
    door: Door = request.scope["state"]["door"]
    return door


ROUTES: Final[list[HTTPRouteHandler]] = [
    me,
    pair,
    redeem,
    logout,
    list_devices,
    revoke_device,
    rotate_token,
    list_vaults,
    create_vault,
    set_vault,
    unfence_vault,
]
