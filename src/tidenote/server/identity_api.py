"""The REST of identity (docs/protocol.md 11.8): who asks, and who else may."""

from __future__ import annotations

from typing import Final

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

import tidenote
from tidenote.server.api import ERRORS, Asked, Parts, caller_of
from tidenote.server.responses import json_response
from tidenote.wire.messages import PROTOCOL_VERSION, Me


@get("/api/v1/me", responses=ERRORS)
async def me(service: Parts, request: Asked) -> Response[Me]:
    """Say who asks, and what they may."""
    caller = caller_of(request)
    vaults = [name for name in service.vaults if caller.may_open(name)]
    return json_response(
        Me(caller.auth, caller.device_id, caller.role, caller.vault, vaults, tidenote.__version__, PROTOCOL_VERSION)
    )


ROUTES: Final[list[HTTPRouteHandler]] = [me]
