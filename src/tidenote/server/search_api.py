"""The REST of search (docs/protocol.md 11.10)."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from tidenote.server.api import Asked, Parts, Vault, open_hub
from tidenote.server.openapi import ERRORS
from tidenote.server.responses import json_response
from tidenote.server.search import MAX_QUERY, title_of
from tidenote.wire.messages import DEFAULT_VAULT, HitPart, Hits, SearchHit

MAX_HITS: Final = 100
"""The most hits of one page."""

MAX_OFFSET: Final = 10_000
"""How far anybody may turn the pages."""


@get("/api/v1/search", responses=ERRORS)
async def search(
    service: Parts,
    request: Asked,
    q: Annotated[str, QueryParameter(description=f"what to search for, at most {MAX_QUERY} characters")],
    vault: Vault = DEFAULT_VAULT,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_HITS)] = 20,
    offset: Annotated[int, QueryParameter(ge=0, le=MAX_OFFSET)] = 0,
) -> Response[Hits]:
    """Return the notes in which all words stand, in their texts or paths, the best first."""
    hub = open_hub(service, request, vault)
    found = await service.search.find(hub, q, limit + 1, offset)
    hits = [
        SearchHit(hit.key, title_of(hit.key), [HitPart(part.text, part.hit) for part in hit.parts])
        for hit in found[:limit]
    ]
    return json_response(Hits(hits, len(found) > limit))


ROUTES: Final[list[HTTPRouteHandler]] = [search]
