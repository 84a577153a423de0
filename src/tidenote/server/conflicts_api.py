"""The REST of conflicts (docs/protocol.md 11.5): list them, look at one, settle it, have a merge looked at again.

What is written goes through the hub like every push, on behalf of who asks: core/intake.py checks inside the
transaction that nobody wrote meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Annotated, Final

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, QueryParameter

from tidenote.core.merged import Merge
from tidenote.core.register import EMPTY, Register
from tidenote.core.version import Change, Dot
from tidenote.errors import AccessError, ProtocolError, RefusedChange
from tidenote.server.api import Asked, Parts, Vault, open_for_writing, open_hub, read_body
from tidenote.server.conflicts import (
    Choice,
    Confirm,
    Keep,
    KeepBoth,
    Question,
    Text,
    is_open,
    propose,
    question,
    reopen,
    settle,
)
from tidenote.server.hub import Hub
from tidenote.server.merges import StoredPast
from tidenote.server.openapi import ERRORS, body_of
from tidenote.server.responses import json_response
from tidenote.server.store.contract import Store
from tidenote.wire.messages import (
    DEFAULT_VAULT,
    ConflictDetails,
    ConflictEntry,
    Conflicts,
    Fetched,
    ReopenRequest,
    ResolveRequest,
    WireChoice,
    WireDot,
    decode,
    from_change,
    from_dots,
    from_entries,
    from_spots,
)

MAX_LISTED: Final = 500
"""The most conflicts of one page."""


@get("/api/v1/conflicts", responses=ERRORS)
async def list_conflicts(
    service: Parts,
    request: Asked,
    vault: Vault = DEFAULT_VAULT,
    after: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_LISTED)] = 100,
) -> Response[Conflicts]:
    """Return one page of what a person should look at, ordered by key."""
    hub = open_hub(service, request, vault)
    epoch, clock = hub.epoch, hub.clock
    keys = await hub.open_conflicts(after, limit)
    entries = [
        ConflictEntry(
            asked.key,
            asked.kind,
            from_dots(asked.siblings),
            list(dict.fromkeys(source.dot.device_id for source in asked.sources)),
            asked.since,
        )
        for asked in await hub.read(_questions, keys)
    ]
    return json_response(Conflicts(epoch, clock, entries, keys[-1] if len(keys) == limit else None))


@get("/api/v1/conflicts/one", responses=ERRORS)
async def one_conflict(
    service: Parts, request: Asked, key: FromQuery[str], vault: Vault = DEFAULT_VAULT
) -> Response[ConflictDetails]:
    """Return all that is needed to settle one conflict."""
    hub = open_hub(service, request, vault)
    return json_response(await hub.read_merging(_details, key, hub.epoch))


@post("/api/v1/conflicts/resolve", status_code=200, operation_class=body_of(ResolveRequest), responses=ERRORS)
async def resolve_conflict(service: Parts, request: Asked, vault: Vault = DEFAULT_VAULT) -> Response[Fetched]:
    """Settle a conflict as a person chose; return all siblings of the keys that were written."""
    hub = open_for_writing(service, request, vault)
    asked = decode(await read_body(request, service), ResolveRequest)
    choice = _to_choice(asked.choice, service.config.max_text_bytes)
    found = await hub.read(_open_question, asked.key)
    _check_seen(found and found[0].siblings, asked.siblings)
    assert found
    seen, sources, winner = found
    now_ms = time.time_ns() // 1_000_000
    try:
        changes = await _with_registers(
            hub, lambda register_of: settle(seen, sources, winner, choice, register_of, now_ms=now_ms)
        )
    except RefusedChange as refusal:
        raise ProtocolError(refusal.message, refusal.code) from None
    return await _write(hub, changes)


@post("/api/v1/conflicts/reopen", status_code=200, operation_class=body_of(ReopenRequest), responses=ERRORS)
async def reopen_conflict(service: Parts, request: Asked, vault: Vault = DEFAULT_VAULT) -> Response[Fetched]:
    """Have somebody look again at what was merged into a note last."""
    hub = open_for_writing(service, request, vault)
    asked = decode(await read_body(request, service), ReopenRequest)
    register = await _register(hub, asked.key)
    winner = register.winner
    if winner is None or winner.deleted:
        raise AccessError(f"there is no note {asked.key}", "not_found")
    _check_seen(register.dots, asked.siblings)
    if is_open(register):
        raise ProtocolError("this conflict is open", "bad_request")
    return await _write(hub, reopen(await hub.read(_question_of, register), winner))


def _questions(store: Store, vault: str, keys: Sequence[str]) -> list[Question]:
    past = StoredPast(store, vault)
    registers = (entry.register for entry in store.entries(vault, keys))
    return [question(register, past) for register in registers if is_open(register)]


def _question_of(store: Store, vault: str, register: Register) -> Question:
    return question(register, StoredPast(store, vault))


def _open_question(store: Store, vault: str, key: str) -> tuple[Question, list[Change], Change] | None:
    """Return an open conflict, its sources and the winner; None if there is none at the key."""
    past = StoredPast(store, vault)
    for entry in store.entries(vault, [key]):
        if is_open(entry.register) and (winner := entry.register.winner):
            # Read after the register: versions are only added, so all that it names is there.
            asked = question(entry.register, past)
            return asked, [change for source in asked.sources if (change := past.change(source))], winner
    return None


def _details(store: Store, vault: str, merge: Merge, key: str, epoch: str) -> ConflictDetails:
    found = _open_question(store, vault, key)
    if not found:
        raise AccessError(f"there is no conflict at {key}", "not_found")
    asked, sources, winner = found
    proposal = propose(asked, winner, StoredPast(store, vault), merge)
    merged = proposal.merged
    return ConflictDetails(
        epoch,
        key,
        asked.kind,
        from_dots(asked.siblings),
        [from_change(change) for change in sources],
        asked.since,
        from_change(proposal.base) if proposal.base else None,
        proposal.text,
        merged.text if merged else None,
        from_spots(merged.spots if merged else ()),
    )


async def _register(hub: Hub, key: str) -> Register:
    entries = await hub.entries([key])
    return entries[0].register if entries else EMPTY


async def _with_registers(hub: Hub, decide: Callable[[Callable[[str], Register]], list[Change]]) -> list[Change]:
    """Return what is decided, reading the keys that it asks for on the way."""
    known: dict[str, Register] = {}

    class _Unknown(Exception):
        pass

    def register_of(key: str) -> Register:
        if key not in known:
            raise _Unknown(key)
        return known[key]

    while True:
        try:
            return decide(register_of)
        except _Unknown as asked:
            known[asked.args[0]] = await _register(hub, asked.args[0])


async def _write(hub: Hub, changes: Sequence[Change]) -> Response[Fetched]:
    committed = await hub.submit(changes)
    if committed.rejected:
        refusal = committed.rejected[0]
        raise ProtocolError(refusal.message, refusal.code)
    # Read afterwards: what arrived in the meantime stands beside it, and is told.
    entries = await hub.entries([change.key for change in changes])
    return json_response(Fetched(hub.epoch, from_entries(entries)))


def _check_seen(siblings: frozenset[Dot] | None, seen: Sequence[WireDot]) -> None:
    if siblings != frozenset(Dot(dot.timestamp, dot.device_id) for dot in seen):
        raise ProtocolError("others wrote meanwhile: look again", "stale")


def _to_choice(wire: WireChoice, max_text_bytes: int) -> Choice:
    choices: list[Choice] = []
    if wire.keep:
        choices.append(Keep(Dot(wire.keep.timestamp, wire.keep.device_id)))
    if wire.text is not None:
        choices.append(Text(wire.text))
        if "\0" in wire.text:
            raise ProtocolError("the text holds U+0000", "bad_value")
        if len(wire.text.encode()) > max_text_bytes:
            raise ProtocolError(f"the text is over {max_text_bytes} bytes", "value_too_large")
    if wire.keep_both:
        choices.append(KeepBoth(wire.keep_both.key))
    if wire.confirm:
        choices.append(Confirm())
    if len(choices) != 1:
        raise ProtocolError("a choice is one of keep, text, keep_both and confirm", "bad_request")
    return choices[0]


ROUTES: Final[list[HTTPRouteHandler]] = [list_conflicts, one_conflict, resolve_conflict, reopen_conflict]
