"""The two ends of a connection without a socket: what a driver does with a session, one step after the other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from core.log import Log
from tidenote.core.intake import Batch, Refused, Taken
from tidenote.core.version import Change
from tidenote.wire.messages import Rejected, encode, from_change
from tidenote.wire.session import Fail, Publication, Read, Send, ServerSession, ServerStep, Submit

EPOCH = "1-x"

Json = dict[str, Any]


def as_json(message: object) -> Json:
    """Return a message as a client of another make reads it."""
    found: Json = json.loads(encode(message))
    return found


def push(*changes: Change | Mapping[str, Any], last_ack: int = 0, **fields: object) -> Json:
    """Return a `sync_push`."""
    wire = [as_json(from_change(change)) if isinstance(change, Change) else dict(change) for change in changes]
    return {"type": "sync_push", "changes": wire, "last_ack": last_ack, **fields}


def ack(ack_timestamp: int, *changes: Change, **fields: object) -> Json:
    """Return a `sync_ack`, as a server of epoch `1-x` says it."""
    wire = [as_json(from_change(change)) for change in changes]
    return {"type": "sync_ack", "ack_timestamp": ack_timestamp, "changes": wire, "epoch": EPOCH, **fields}


def error(code: str, message: str, **fields: object) -> Json:
    return {"type": "error", "code": code, "message": message, **fields}


def publication_of(batch: Batch, epoch: str = EPOCH) -> Publication:
    return Publication(epoch, batch.previous_clock, batch.clock, tuple(batch.entries))


def outcome_of(batch: Batch) -> tuple[list[Taken], list[Rejected]]:
    """Return what a batch of one push did with it."""
    taken = [result for result in batch.results if isinstance(result, Taken)]
    refused = [result for result in batch.results if isinstance(result, Refused)]
    return taken, [
        Rejected(
            result.change.key,
            *result.change.dot,
            result.code,
            result.message,
            result.clock if result.code == "clock_too_far" else None,
        )
        for result in refused
    ]


class ServerEnd:
    """A server's end whose driver does each step as soon as it is asked to, unless it is told otherwise.

    Args:
        log: of the vault; what others commit is written to it directly.
        device_id: who is connected.
        max_keys: how many keys a page holds.
        max_again: how many keys are read again for an answer.
    """

    def __init__(
        self,
        log: Log,
        device_id: str = "a",
        *,
        epoch: str = EPOCH,
        max_keys: int = 1000,
        max_again: int = 1000,
        **settings: Any,
    ) -> None:
        self.log = log
        self.max_keys = max_keys
        self.max_again = max_again
        self.session = ServerSession(device_id, epoch, log.clock, **settings)
        self.failure: Fail | None = None
        self.steps: list[ServerStep] = []
        """All steps so far."""

    def receive(self, message: Json | str | bytes) -> list[Json]:
        """Take a client's message and return what is sent in turn."""
        self.session.receive(json.dumps(message) if isinstance(message, dict) else message)
        return self.drain()

    def others_commit(self, *changes: Change, heard: bool = True) -> Batch:
        """Commit another device's changes, and publish them unless they are not to be heard."""
        batch = self.log.take_in(changes)
        if heard:
            self.session.published(publication_of(batch, self.session.epoch))
        return batch

    def drain(self) -> list[Json]:
        """Do all steps and return what was sent."""
        sent: list[Json] = []
        while self.failure is None and (step := self.session.next_step()) is not None:
            self.do(step, sent)
        return sent

    def do(self, step: ServerStep, sent: list[Json]) -> None:
        self.steps.append(step)
        match step:
            case Send(message):
                sent.append(as_json(message))
            case Fail(message):
                self.failure = step
                sent.append(as_json(message))
            case Submit():
                self.commit(step)
            case Read(after, keys):
                again = self.log.entries_of(keys)[: self.max_again]
                self.session.page(self.log.page(after, self.max_keys), again)

    def commit(self, step: Submit) -> None:
        """Commit a push, publish, then acknowledge: the order of the hub."""
        batch = self.log.take_in(step.changes)
        if batch.versions:
            self.session.published(publication_of(batch, self.session.epoch))
        self.session.committed(step.number, *outcome_of(batch), self.log.clock)

    def next(self) -> ServerStep | None:
        """Return the next step without doing it."""
        return self.session.next_step()

    @property
    def reads(self) -> list[Read]:
        return [step for step in self.steps if isinstance(step, Read)]


def keys_of(messages: Iterable[Json]) -> list[list[str]]:
    """Return the keys that each message lists."""
    return [list(dict.fromkeys(change["key"] for change in message["changes"])) for message in messages]
