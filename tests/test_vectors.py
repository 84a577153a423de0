"""Runs the golden vectors (vectors/README.md): the same files that an implementation in another language runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice, permutations
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from core.log import Log
from tidenote.core.keys import key_of_path
from tidenote.core.register import join_all
from tidenote.core.version import Change, Dot
from tidenote.errors import ProtocolError, RefusedChange
from tidenote.wire.messages import (
    ErrorMessage,
    Notice,
    decode_change,
    decode_from_server,
    decode_push,
    encode,
    from_change,
    from_dots,
)
from tidenote.wire.session import ClientEvent, ClientSession, Failed, Noticed
from wire.ends import ServerEnd

Json = dict[str, Any]

FOLDER = Path(__file__).parent / "vectors"


def load(name: str) -> Json:
    found: Json = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return found


def cases(name: str, section: str) -> list[Any]:
    return [pytest.param(case, id=case["about"]) for case in load(name)[section]]


def as_json(value: object) -> Any:
    return json.loads(encode(value))


def without_prose(value: Any) -> Any:
    """Leave out what is written for people: the wording is every implementation's own."""
    if isinstance(value, dict):
        return {name: without_prose(inner) for name, inner in value.items() if name != "message"}
    return [without_prose(inner) for inner in value] if isinstance(value, list) else value


def change_of(wire: Mapping[str, Any]) -> Change:
    return decode_change(Raw(encode(wire)), allow_server=True)


def changes_of(wire: list[Json]) -> list[Change]:
    return [change_of(change) for change in wire]


def dot_of(change: Change | None) -> Any:
    return change and as_json(from_dots(frozenset([change.dot]))[0])


# -- messages.json


def result_of_path(path: str) -> str | None:
    try:
        return key_of_path(path)
    except RefusedChange:
        return None


def result_of_change(wire: Raw) -> Json:
    try:
        return {"change": as_json(from_change(decode_change(wire)))}
    except RefusedChange as refusal:
        return {"refused": refusal.code}


def result_of_push(text: str) -> Json:
    try:
        push = decode_push(text)
    except ProtocolError as error:
        return {"error": error.code}
    if push is None:
        return {"ignored": True}
    fields = {"last_ack": push.last_ack, "id": push.id, "epoch": push.epoch, "offer": push.offer}
    read: Json = {name: value for name, value in fields.items() if value is not None}
    return read | {"changes": [result_of_change(change) for change in push.changes]}


def result_of_server_message(text: str) -> Json:
    try:
        message = decode_from_server(text)
    except ProtocolError as error:
        return {"error": error.code}
    if message is None:
        return {"ignored": True}
    name = {ErrorMessage: "failure", Notice: "notice"}.get(type(message), "ack")
    return {name: without_prose(as_json(message))}


@pytest.mark.parametrize("case", cases("messages.json", "paths"))
def test_paths(case: Json) -> None:
    assert result_of_path(case["path"]) == case["key"]


@pytest.mark.parametrize("case", cases("messages.json", "changes"))
def test_changes(case: Json) -> None:
    assert result_of_change(Raw(case["text"].encode())) == case["result"]


@pytest.mark.parametrize("case", cases("messages.json", "pushes"))
def test_pushes(case: Json) -> None:
    assert result_of_push(case["text"]) == case["result"]


@pytest.mark.parametrize("case", cases("messages.json", "server_messages"))
def test_server_messages(case: Json) -> None:
    assert result_of_server_message(case["text"]) == case["result"]


# -- registers.json


def result_of_register(wire: list[Json]) -> Json:
    register = join_all(changes_of(wire))
    return {"siblings": [dot_of(change) for change in register.siblings], "winner": dot_of(register.winner)}


@pytest.mark.parametrize("case", cases("registers.json", "registers"))
def test_registers(case: Json) -> None:
    for order in islice(permutations(case["changes"]), 24):
        assert result_of_register([*order, *order[:1]]) == case["result"]


# -- sessions.json


def result_of_event(event: ClientEvent) -> Json:
    if isinstance(event, Failed):
        return {"failed": {"code": event.code, "epoch": event.epoch}}
    if isinstance(event, Noticed):
        return {"noticed": {"topic": event.topic}}
    unlisted = {"unlisted": sorted(event.unlisted)} if event.unlisted else {}
    return {
        "received": {
            "epoch": event.epoch,
            "cursor": event.cursor,
            "siblings": {key: [dot_of(change) for change in found] for key, found in event.siblings.items()},
            "behind": event.behind,
            "accepted": [dot_of(change) for change in event.accepted],
            **unlisted,
            "rejected": [[dot_of(change), rejected.code, rejected.clock] for change, rejected in event.rejected],
            "answered": event.answered,
            "skipped": [key for key, _ in event.skipped],
        }
    }


class ClientScript:
    """A client's session that is told what to do, step by step."""

    def __init__(self, case: Json) -> None:
        self.session = ClientSession(case["cursor"], case["epoch"], offer=case.get("offer"))

    def do(self, step: Json) -> Json:
        result: Json = {}
        if "push" in step:
            result["takes"] = self.session.push(changes_of(step["push"]))
        elif "applied" in step:
            self.session.applied(step["applied"])
        else:
            try:
                self.session.receive(json.dumps(step["receive"]))
            except ProtocolError as error:
                result["breaks"] = error.code
            result["events"] = [result_of_event(event) for event in self.session.events()]
        return result | {"sends": [as_json(message) for message in self.session.outgoing()]}


class ServerScript:
    """A server's session over a log in memory, with a driver that does every step at once."""

    def __init__(self, case: Json) -> None:
        self.log = Log(author=f"server.{case['epoch']}")
        for push in case["log"]:
            self.log.take_in(changes_of(push))
        self.end = ServerEnd(
            self.log,
            case["device_id"],
            epoch=case["epoch"],
            max_keys=case.get("page_keys", 500),
            may_write=case.get("may_write", True),
        )

    def do(self, step: Json) -> Json:
        if "others_commit" in step:
            self.end.others_commit(*changes_of(step["others_commit"]), heard=step.get("heard", True))
        elif "look_at_head" in step:
            self.end.session.head_is(self.end.session.epoch, self.log.clock)
        else:
            self.end.session.receive(json.dumps(step["receive"]))
        result: Json = {"sends": without_prose(self.end.drain())}
        if self.end.failure:
            result["closes"] = True
        return result


INPUTS = ("push", "applied", "receive", "others_commit", "heard", "look_at_head")


def replay(script: ClientScript | ServerScript, case: Json) -> None:
    for number, step in enumerate(case["steps"]):
        expected = {name: value for name, value in step.items() if name not in INPUTS}
        assert script.do(step) == expected, f"step {number}"


@pytest.mark.parametrize("case", cases("sessions.json", "client"))
def test_client_sessions(case: Json) -> None:
    replay(ClientScript(case), case)


@pytest.mark.parametrize("case", cases("sessions.json", "server"))
def test_server_sessions(case: Json) -> None:
    replay(ServerScript(case), case)


def test_dots_are_shown_as_objects() -> None:
    assert dot_of(Change("note:a.md", Dot(5, "a"), "x")) == {"timestamp": 5, "device_id": "a"}
