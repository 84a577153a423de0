"""The REST of holds (docs/protocol.md 11.9): devices report them, people decide about them."""

from __future__ import annotations

import time
from typing import Final

from litestar import Response, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from tidenote.core.keys import check_key
from tidenote.errors import AccessError, ProtocolError, RefusedChange
from tidenote.server.api import Asked, Parts, Vault, caller_of, open_hub, read_body
from tidenote.server.holds import HOLDS
from tidenote.server.openapi import ERRORS, body_of
from tidenote.server.responses import json_response
from tidenote.server.service import Service
from tidenote.wire.messages import (
    DEFAULT_VAULT,
    MAX_HOLD_KEYS,
    DecidedHolds,
    DecideRequest,
    Holds,
    HoldsReport,
    WireHold,
    decode,
)


@put("/api/v1/holds", operation_class=body_of(HoldsReport), responses=ERRORS)
async def report_holds(
    service: Parts, request: Asked, device_id: FromQuery[str], vault: Vault = DEFAULT_VAULT
) -> Response[DecidedHolds]:
    """Take in all that a device holds back, and return what was decided about that."""
    caller_of(request).check_device(device_id)
    hub = open_hub(service, request, vault)
    holds = decode(await read_body(request, service), HoldsReport).holds
    for hold in holds:
        _check(hold)
    before = service.holdings.of(hub.name, _now_ms())
    decisions = service.holdings.report(hub.name, device_id, holds, _now_ms())
    _tell_if_new(service, hub.name, before)
    return json_response(DecidedHolds(decisions))


@get("/api/v1/holds", responses=ERRORS)
async def list_holds(service: Parts, request: Asked, vault: Vault = DEFAULT_VAULT) -> Response[Holds]:
    """Return what all devices of a vault hold back."""
    hub = open_hub(service, request, vault)
    return json_response(Holds(service.holdings.of(hub.name, _now_ms())))


@post("/api/v1/holds/decide", status_code=200, operation_class=body_of(DecideRequest), responses=ERRORS)
async def decide_hold(service: Parts, request: Asked, vault: Vault = DEFAULT_VAULT) -> Response[Holds]:
    """Note what a person decided; the device hears of it and does it. Returns what is held."""
    hub = open_hub(service, request, vault)
    decided = decode(await read_body(request, service), DecideRequest)
    caller = caller_of(request)
    if caller.role != "owner":
        caller.check_device(decided.device_id)
    if not caller.may_write:
        raise AccessError("this device may only read", "read_only")
    before = service.holdings.of(hub.name, _now_ms())
    service.holdings.decide(hub.name, decided.device_id, decided.kind, decided.decision)
    _tell_if_new(service, hub.name, before)
    return json_response(Holds(service.holdings.of(hub.name, _now_ms())))


def _check(hold: WireHold) -> None:
    """Check that a hold is well-formed.

    Raises:
        ProtocolError: `bad_request`.
    """
    if len(hold.keys) > min(MAX_HOLD_KEYS, hold.count) or hold.since < 0:
        raise ProtocolError(f"a hold names at most {MAX_HOLD_KEYS} keys, and no more than it counts", "bad_request")
    try:
        for key in hold.keys:
            check_key(key)
    except RefusedChange as refusal:
        raise ProtocolError(refusal.message, "bad_request") from None


def _tell_if_new(service: Service, vault: str, before: object) -> None:
    if service.holdings.of(vault, _now_ms()) != before:
        service.connections.notice(vault, HOLDS)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


ROUTES: Final[list[HTTPRouteHandler]] = [report_holds, list_holds, decide_hold]
