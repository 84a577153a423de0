"""Both ends of a sync connection, sans I/O: legal order, acknowledgements, catch-up.

No socket, no clock, no event loop. Whoever drives a session hands it what arrived (`receive`, `committed`, ...) and
drains what to do (`next_step`, `outgoing`, `events`); two sessions joined by lists of messages are a whole
conversation (docs/protocol.md). What a message looks like is messages.py's matter; who may connect, the server's.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tidenote.core.clock import MAX_TIMESTAMP
from tidenote.core.crdt import CrdtEntry
from tidenote.core.intake import Taken
from tidenote.core.keys import owner_of
from tidenote.core.register import join_all
from tidenote.core.version import Change, Dot, weight_of
from tidenote.errors import ProtocolError, RefusedChange
from tidenote.wire.messages import (
    MAX_MESSAGE_BYTES,
    MAX_MESSAGE_CHANGES,
    MAX_PUSH_CHANGES,
    MAX_PUSH_DOTS,
    MAX_TEXT_BYTES,
    ErrorMessage,
    IncomingPush,
    Notice,
    Rejected,
    SyncAck,
    SyncPush,
    WireChange,
    decode_change,
    decode_from_server,
    decode_push,
    from_change,
    from_entries,
    rejection,
    to_change,
)

MAX_BUFFERED: Final = 64
"""How many publications a server session keeps."""

MAX_BAD_MESSAGES: Final = 16
"""How many malformed messages a connection may send before it is closed."""

MAX_EPOCH_LENGTH: Final = 64

NO_ROOM: Final = "no_room"
"""The code of a change that is in the log, but whose answer has no room for the state of its key."""

_EPOCH = re.compile(r"([0-9]+)-[!-~]+")
"""What epochs look like; they are logged, so nothing in them may look like a line of its own."""


def generation_of(epoch: str) -> int:
    """Return the generation of an epoch `<generation>-<random>`.

    Raises:
        ProtocolError: `bad_message`.
    """
    found = _EPOCH.fullmatch(epoch)
    if not found or len(epoch) > MAX_EPOCH_LENGTH:
        raise ProtocolError("an epoch is <generation>-<random>")
    return int(found[1])


# ---------------------------------------------------------------------------------------------- server


@dataclass(frozen=True, slots=True)
class Publication:
    """What a committed batch altered, told to every session of the vault. A hint: the log is what counts.

    Attributes:
        epoch: of the vault.
        previous_clock: the clock before the batch.
        clock: the clock after it.
        entries: the keys that altered, ordered by `changed_at`; None if they are too large to hand around.
    """

    epoch: str
    previous_clock: int
    clock: int
    entries: tuple[CrdtEntry, ...] | None


@dataclass(frozen=True, slots=True)
class Page:
    """Keys that altered after a cursor, in order, each with all its siblings.

    Attributes:
        entries: the keys.
        up_to: everything up to this receipt is in `entries` or lies behind the cursor.
        behind: how many more keys altered after `up_to`.
    """

    entries: tuple[CrdtEntry, ...]
    up_to: int
    behind: int = 0


@dataclass(frozen=True, slots=True)
class Submit:
    """Step: commit these changes, then tell `committed`."""

    number: int
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """Step: read the state of these keys, then the page after this cursor, in this order; then tell `page`."""

    after: int
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Send:
    """Step: send this message, then ask for the next step."""

    message: SyncAck | ErrorMessage | Notice


@dataclass(frozen=True, slots=True)
class Fail:
    """Step: send this error and close the connection.

    Attributes:
        message: the error.
        ahead: the client's cursor under our own epoch, if it lies ahead of the log as far as we know that: unless we
            are only late to hear, an older copy was restored. 0 otherwise.
        later_epoch: the client has synced with this later generation of the vault.
    """

    message: ErrorMessage
    ahead: int = 0
    later_epoch: str | None = None


ServerStep = Submit | Read | Send | Fail


@dataclass(slots=True)
class _Push:
    """A push that is due an answer.

    Attributes:
        push_id: its `id`.
        rejected: what is known not to be in the log.
        changes: what it writes; once it is committed, those that are in the log.
        again: keys whose state the client may have from after its change; the answer lists them again, as an
            acknowledgement alone would bring back what was replaced meanwhile.
        limit: up to where the client's cursor may go before the answer: its changes that are left out lie past it.
        clock: None until it is committed; then the answer rides on a message that shows the log as of here or later.
    """

    push_id: int | str | None
    rejected: list[Rejected]
    changes: tuple[Change, ...]
    again: frozenset[str] = frozenset()
    limit: int = MAX_TIMESTAMP
    clock: int | None = None


@dataclass(frozen=True, slots=True)
class _Own:
    """When a change of the client's was taken in, and the clock after the commit."""

    receipt: int
    clock: int


@dataclass(slots=True)
class _Reading:
    """A `Read` that was asked for, and its outcome.

    Attributes:
        answers: the push that was due an answer by then, which rides on what is read.
        page: None until it is read.
        again: the state of the keys, or of the first of them.
    """

    answers: _Push | None
    page: Page | None = None
    again: tuple[CrdtEntry, ...] = ()


class ServerSession:
    """The server's end of one connection.

    The driver calls `next_step` whenever something arrived or a step was done, and does what it says. Messages are
    built only then, so that a slow client costs the memory of a few publications.

    Args:
        device_id: who is connected, as authenticated.
        epoch: of the vault.
        clock: the vault's clock, read after the session began to listen for publications.
        may_write: whether the device may push changes.
        max_text_bytes: the largest value, in bytes of UTF-8.
        max_push_changes: the most changes of one push.
        tombstones_gone_before: whoever was here last before this receipt may have missed deletions for ever.
        max_buffered: how many publications are kept until the socket is free; past that it reads by cursor.
    """

    def __init__(
        self,
        device_id: str,
        epoch: str,
        clock: int,
        *,
        may_write: bool = True,
        max_text_bytes: int = MAX_TEXT_BYTES,
        max_push_changes: int = MAX_PUSH_CHANGES,
        tombstones_gone_before: int = 0,
        max_buffered: int = MAX_BUFFERED,
    ) -> None:
        self.device_id = device_id
        self.epoch = epoch
        self.head = clock
        self.position: int | None = None
        """Everything up to here was sent or lies behind the client's cursor; None before the first push."""
        self._told = 0
        """The position that the client was last told."""
        self.acknowledged = 0
        """The greatest receipt that the client says it has applied."""
        self._may_write = may_write
        self._max_text_bytes = max_text_bytes
        self._max_push_changes = max_push_changes
        self._tombstones_gone_before = tombstones_gone_before
        self._max_buffered = max_buffered
        self._submits: deque[Submit] = deque()
        self._pushes: dict[int, _Push] = {}
        """Those that are due an answer, by number and so in order."""
        self._numbers = 0
        self._publications: deque[Publication] = deque()
        self._own: dict[str, dict[Change, _Own]] = {}
        """Per key the changes that this connection got acknowledged, each since it alone altered what was told."""
        self._bad: deque[ErrorMessage] = deque()
        self._bad_messages = 0
        self._notices: deque[str] = deque()
        """Topics that the client is still to be told of."""
        self._failure: Fail | None = None
        self._reading: _Reading | None = None

    # -- what arrives

    def receive(self, data: bytes | str) -> int:
        """Take a message of the client's; what is wrong with it becomes a step.

        A malformed message is told and otherwise ignored: it may come from a part of a client that others work beside.

        Returns:
            How much work that was already, in changes: each that was refused at once, and one for a message that
            submits nothing. What it submits is still to be counted.
        """
        if self._failure:
            return 1
        try:
            push = decode_push(data)
            if push is not None:
                return self._receive_push(push)
        except ProtocolError as error:
            self._bad_messages += 1
            if self._bad_messages < MAX_BAD_MESSAGES:
                self._bad.append(ErrorMessage(error.code, error.message))
            else:
                self.fail(error.code, f"{error.message} (and {MAX_BAD_MESSAGES - 1} bad messages before)")
        return 1

    def committed(self, number: int, accepted: Iterable[Taken], rejected: Iterable[Rejected], clock: int) -> None:
        """Take the outcome of a `Submit`.

        Args:
            number: the step's.
            accepted: the changes that are durable, duplicates included.
            rejected: the others.
            clock: the vault's clock after the commit.
        """
        assert self.position is not None
        push = self._pushes[number]
        again: set[str] = set()
        accepted = tuple(accepted)
        for taken in accepted:
            key = taken.change.key
            if self._has_seen(key, taken.changed_before):
                self._own.setdefault(key, {})[taken.change] = _Own(taken.receipt, clock)
            else:
                self._must_list([key])
            push.limit = min(push.limit, taken.receipt - 1)
            # What was told of the key before came from before the commit, unless the position says otherwise.
            if taken.duplicate or taken.lost or (key in push.again and taken.receipt <= self.position):
                again.add(key)
        self._must_list(again)
        push.again = frozenset(again)
        push.changes = tuple(taken.change for taken in accepted)
        push.rejected.extend(rejected)
        push.clock = clock
        self.head = max(self.head, clock)

    def published(self, publication: Publication) -> None:
        """Take what a commit altered, our own included; lost, late and doubled ones are harmless."""
        self.head_is(publication.epoch, publication.clock)
        end = self._publications[-1].clock if self._publications else self.position
        # Anything but the direct continuation: what is buffered stays right, the rest will be read by cursor.
        direct = publication.entries is not None and publication.previous_clock == end
        if direct and len(self._publications) < self._max_buffered:
            self._publications.append(publication)

    def head_is(self, epoch: str, clock: int) -> None:
        """Take the vault's epoch and clock, looked at now and then in case that publications were lost."""
        if epoch != self.epoch:
            self.fail("resync_required", "the vault's log was restored or replaced", epoch=epoch)
        self.head = max(self.head, clock)

    def page(self, page: Page, again: Iterable[CrdtEntry] = ()) -> None:
        """Take what a `Read` asked for: the page, and the state of the keys, from the first, as far as it fits."""
        assert self._reading
        self._reading.page = page
        self._reading.again = tuple(again)

    def fail(self, code: str, message: str, *, epoch: str | None = None, nonce: str | None = None) -> None:
        """End the session with an error; the first one counts."""
        self._failure = self._failure or Fail(ErrorMessage(code, message, epoch, nonce=nonce))

    def notice(self, topic: str) -> None:
        """Tell the client to look again at something that is no change; several times before it is sent are once."""
        if topic not in self._notices:
            self._notices.append(topic)

    # -- what to do

    @property
    def failed(self) -> bool:
        """Whether the session has ended: nothing of what arrives counts any more."""
        return self._failure is not None

    @property
    def waiting(self) -> int:
        """How many pushes wait for their commit or answer; a driver stops reading while they are many."""
        return len(self._pushes) + len(self._bad)

    @property
    def waiting_changes(self) -> int:
        """How many changes these pushes have together."""
        return sum(len(push.changes) for push in self._pushes.values())

    def next_step(self) -> ServerStep | None:
        """Return what to do next; None if there is nothing until something arrives."""
        if self._failure:
            return self._failure
        if self._bad:
            return Send(self._bad.popleft())
        if self._submits:
            return self._submits.popleft()
        if self._notices and self.position is not None:
            return Send(Notice(self._notices.popleft()))
        if self._reading and self._reading.page and (message := self._tell_page(self._reading, self._reading.page)):
            return message
        if self._reading or self.position is None:
            return None
        while True:
            answer = self._answer()
            # While a commit is under way its answer will bring the news; it need not overtake it.
            if not answer and (self._pushes or self.position >= self.head):
                return self._tell_position()
            if (answer and answer.again) or not self._can_tell():
                self._reading = _Reading(answer)
                return Read(self.position, tuple(sorted(answer.again)) if answer else ())
            if message := self._tell():
                return message

    def _receive_push(self, push: IncomingPush) -> int:
        """Take a push; return how much work that was already."""
        if len(push.changes) > self._max_push_changes:
            why = f"a push has at most {self._max_push_changes} changes: send them in several"
            self.fail("message_too_large", why)
            return 1
        first = self.position is None
        missed_deletions = first and 0 < push.last_ack < self._tombstones_gone_before
        if self._is_foreign(push, missed_deletions=missed_deletions):
            return 1
        if push.last_ack > self.head:
            self._failure = Fail(
                ErrorMessage("resync_required", f"the cursor {push.last_ack} is ahead of the log", self.epoch),
                ahead=push.last_ack if push.epoch == self.epoch else 0,
            )
            return 1
        if missed_deletions:
            message = "this device was away for so long that deletions are forgotten which it has not heard of"
            self._failure = Fail(ErrorMessage("resync_required", message, self.epoch, quarantine=True))
            return 1
        self.acknowledged = max(self.acknowledged, push.last_ack)
        if first:
            self.position = self._told = push.last_ack
        changes, rejected = self._at_the_door(push)
        if sum(len(change.base or ()) + len(change.merged_from) for change in changes) > MAX_PUSH_DOTS:
            self.fail("message_too_large", f"a push names at most {MAX_PUSH_DOTS} versions: send it in several")
            return len(push.changes)
        if first or push.changes or push.id is not None:
            self._numbers += 1
            self._pushes[self._numbers] = _Push(push.id, rejected, changes)
            if changes:
                self._submits.append(Submit(self._numbers, changes))
            else:
                self.committed(self._numbers, (), (), 0)
        return len(rejected) if changes else max(1, len(rejected))

    def _is_foreign(self, push: IncomingPush, *, missed_deletions: bool) -> bool:
        """Check the epochs that a client synced under; a foreign one ends the session, unless it only offers."""
        for epoch in (push.epoch, push.offer):
            if epoch is None:
                continue
            later = generation_of(epoch) > generation_of(self.epoch)
            if later or (epoch != self.epoch and push.offer is None):
                why = f"this vault's log is {self.epoch}, not {epoch}"
                # Receipts go on rising from epoch to epoch.
                message = ErrorMessage("resync_required", why, self.epoch, quarantine=missed_deletions)
                self._failure = Fail(message, later_epoch=epoch if later else None)
                return True
        return False

    def _at_the_door(self, push: IncomingPush) -> tuple[tuple[Change, ...], list[Rejected]]:
        """Part the changes of a push into those that are well-formed and allowed, and the others."""
        changes: list[Change] = []
        rejected: list[Rejected] = []
        refused_keys: set[object] = set()
        for raw in push.changes:
            try:
                change = decode_change(raw, max_text_bytes=self._max_text_bytes, allow_server=self._is_offer(push))
                self._check_author(change, offered=self._is_offer(push))
                if change.moved_to and change.moved_to in refused_keys:
                    raise RefusedChange(f"{change.moved_to}, where this moved to, was refused", "move_target_missing")
                changes.append(change)
            except RefusedChange as refusal:
                rejected.append(rejection(raw, refusal))
                refused_keys.add(rejected[-1].key)
        return tuple(changes), rejected

    def _is_offer(self, push: IncomingPush) -> bool:
        """Say whether the push offers what a restored log lost: other authors' changes, under their own dots."""
        return push.offer is not None and push.offer != self.epoch

    def _check_author(self, change: Change, *, offered: bool) -> None:
        if not self._may_write:
            raise RefusedChange("this device may only read", "read_only")
        if not offered and owner_of(change.dot.device_id) != owner_of(self.device_id):
            raise RefusedChange(f"{change.dot.device_id} is not {self.device_id}, who is connected", "bad_author")

    # -- building messages

    def _can_tell(self) -> bool:
        """Say whether the next message needs no reading: the news were published, or there are none."""
        assert self.position is not None
        if self.position >= self.head:
            return True
        answer = self._answer()
        needed = answer.clock or 0 if answer else 0
        return bool(self._publications) and needed <= self._publications[-1].clock

    def _tell_position(self) -> Send | None:
        """Build a message without news, if the last ones were left out: the client's cursor must not stay behind."""
        assert self.position is not None
        if self._pushes or self._told >= self.position:
            return None
        self._told = self.position
        return Send(SyncAck(ack_timestamp=self.position, changes=[], epoch=self.epoch))

    def _tell(self) -> Send | None:
        """Build the next message from what was published."""
        entries: list[CrdtEntry] = []
        changes = 0
        size = 0
        while self._publications:
            news = self._publications[0].entries or ()
            changes += sum(len(entry.register.siblings) for entry in news)
            size += sum(size_of(entry) for entry in news)
            if entries and (changes > MAX_MESSAGE_CHANGES or size > MAX_MESSAGE_BYTES):
                break
            entries.extend(news)
            self.position = self._publications.popleft().clock
        # A key that altered twice is listed once, as it is now.
        return self._message({entry.key: entry for entry in entries})

    def _tell_page(self, reading: _Reading, page: Page) -> Send | None:
        """Build the next message from what was read."""
        self._reading = None
        assert self.position is not None
        # The page was read last: where both have a key, it is as new or newer.
        latest = {entry.key: entry for entry in (*reading.again, *page.entries)}
        if len(latest) > len(reading.again) > 0 and sum(map(size_of, latest.values())) > MAX_MESSAGE_BYTES:
            # It is read anew for the next message.
            latest = {entry.key: entry for entry in reading.again}
            page = Page((), self.position, page.behind + len(page.entries))
        self.position = max(self.position, page.up_to)
        self.head = max(self.head, page.up_to)
        while self._publications and self._publications[0].clock <= self.position:
            self._publications.popleft()
        # The next page may hold newer states than what is buffered, and no key goes back.
        if page.behind or (self._publications and self._publications[0].previous_clock != self.position):
            self._publications.clear()
        return self._message(latest, answers=reading.answers, behind=page.behind)

    def _message(
        self,
        entries: Mapping[str, CrdtEntry],
        *,
        answers: _Push | None = None,
        behind: int = 0,
    ) -> Send | None:
        """Return the message that brings these keys, and an answer with them; None if it says nothing.

        Args:
            entries: the keys.
            answers: what is answered even if the position has not reached it. The keys that it lists again are listed
                even if the client should have their state; for those that are not among `entries` there was no room.
            behind: how many more keys are to come.
        """
        assert self.position is not None
        again = answers.again if answers else frozenset()
        news = [entry for entry in entries.values() if entry.key in again or not self._is_own(entry)]
        self._forget_own(self.position)
        answer = self._answer()
        if answer and (answers or (not answer.again and (answer.clock or 0) <= self.position)):
            del self._pushes[next(iter(self._pushes))]
            unlisted = again.difference(entries)
            self._must_list(unlisted)
            answer.rejected += [_without_room(change) for change in answer.changes if change.key in unlisted]
        else:
            answer = None
        self._note_told({entry.key: entry.register.dots for entry in news})
        if not news and not answer and not behind:
            return None
        self._told = self._reached()
        return Send(
            SyncAck(
                ack_timestamp=self._told,
                changes=from_entries(news),
                epoch=self.epoch,
                id=answer.push_id if answer else None,
                behind=behind or None,
                rejected=(answer.rejected or None) if answer else None,
            )
        )

    def _reached(self) -> int:
        """Return up to where the client has everything with the next message: a page may overtake answers."""
        assert self.position is not None
        limits = (push.limit for push in self._pushes.values())
        return max(self._told, min((self.position, *limits)))

    def _answer(self) -> _Push | None:
        """Return the push that is answered next; None if none is committed. Answers keep the order of pushes."""
        first = next(iter(self._pushes.values()), None)
        return first if first and first.clock is not None else None

    def _note_told(self, told: Mapping[str, frozenset[Dot]]) -> None:
        """Note which pushes that are still to be answered may have been replaced by what is told now."""
        for push in self._pushes.values():
            lost = (change.key for change in push.changes if change.dot not in told.get(change.key, (change.dot,)))
            push.again = push.again.union(lost)

    def _must_list(self, keys: Iterable[str]) -> None:
        """Note that the client does not have the state of keys by an acknowledgement alone."""
        for key in keys:
            self._own.pop(key, None)

    def _has_seen(self, key: str, changed_at: int) -> bool:
        """Say whether the client knows the state that a key came to have then: it was told, or is of its own making.

        What somebody else altered unseen may have replaced siblings which the client still has beside its own change.
        """
        assert self.position is not None
        # The latest first: of many changes of one key each follows the one before it.
        own_latest_first = reversed(self._own.get(key, {}).values())
        return changed_at <= self.position or any(own.receipt == changed_at for own in own_latest_first)

    def _is_own(self, entry: CrdtEntry) -> bool:
        """Say whether the client already has this state: it is what its own acknowledged changes make together."""
        own = self._own.get(entry.key)
        return own is not None and join_all(own).siblings == entry.register.siblings

    def _forget_own(self, position: int) -> None:
        for key, own in list(self._own.items()):
            self._own[key] = {change: taken for change, taken in own.items() if taken.clock > position}
            if not self._own[key]:
                del self._own[key]


def _without_room(change: Change) -> Rejected:
    return Rejected(change.key, *change.dot, NO_ROOM, "the answer has no room for the state of this key")


def size_of(entry: CrdtEntry) -> int:
    """Return about how many bytes an entry takes in a message."""
    return weight_of(entry.register.siblings)


# ---------------------------------------------------------------------------------------------- client


@dataclass(frozen=True, slots=True)
class Received:
    """Event: one message of the server's. Apply all of it in one commit, then tell `applied`.

    First those of `accepted` that were not told before join the confirmed state, then `siblings` replace it.

    Attributes:
        epoch: the log's; None if the server does not tell.
        cursor: everything up to here was sent or lies behind the cursor.
        siblings: per key all its current siblings; they replace what was confirmed.
        behind: how many keys are still to come.
        accepted: changes of the push in flight that are durable on the server.
        unlisted: those of their keys whose state the answer had no room for: it is to be asked for.
        rejected: changes of the push in flight that are not, with the refusal.
        answered: whether the push in flight was answered.
        skipped: keys that the server must not send, with the reason; nothing is applied for them.
    """

    epoch: str | None
    cursor: int
    siblings: dict[str, tuple[Change, ...]]
    behind: int = 0
    accepted: tuple[Change, ...] = ()
    unlisted: frozenset[str] = frozenset()
    rejected: tuple[tuple[Change, Rejected], ...] = ()
    answered: bool = False
    skipped: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """Event: the connection cannot go on; `errors.CODES[code].action` says what to do.

    Attributes:
        code: a code, possibly one that this version does not know.
        message: for people.
        epoch: the server's, with `resync_required`.
        quarantine: with `resync_required`: deletions are forgotten that we may not have heard of.
        nonce: with `replaced`: of the connection that came in this one's place, if it gave one.
    """

    code: str
    message: str
    epoch: str | None = None
    quarantine: bool = False
    nonce: str | None = None


@dataclass(frozen=True, slots=True)
class Noticed:
    """Event: something else than the notes is new; whom the topic concerns asks by REST what.

    Attributes:
        topic: `holds`, `conflicts` or `devices`, or one that this version does not know.
    """

    topic: str


ClientEvent = Received | Failed | Noticed


class ClientSession:
    """The client's end of one connection: one push in flight, acknowledgements after they are durable.

    Args:
        cursor: the receipt up to which the journal has applied the log.
        epoch: of the log that the journal follows; None before the first contact.
        offer: for a resync, the epoch that the pushes come from; other authors' changes are then accepted, and the
            first message may name another epoch.
    """

    def __init__(self, cursor: int, epoch: str | None, *, offer: str | None = None) -> None:
        self.cursor = cursor
        """What was applied durably."""
        self.epoch = epoch
        self._offer = offer
        self._told = cursor
        self._next_id = 1
        self._in_flight: tuple[int, tuple[Change, ...]] | None = None
        self._outgoing: list[SyncPush] = []
        self._events: list[ClientEvent] = []
        self._opened = False
        self._failed = False

    # -- intentions

    @property
    def can_push(self) -> bool:
        """Whether no push waits for its answer."""
        return self._in_flight is None and not self._failed

    def push(self, pending: Sequence[Change]) -> int:
        """Send as many changes as one message holds, in order, and return how many; the first push may be empty.

        A rename's creation and tombstone stay in one push.
        """
        assert self.can_push
        changes = tuple(pending[: _fitting(pending)])
        push_id, self._next_id = self._next_id, self._next_id + 1
        self._in_flight = (push_id, changes)
        self._opened = True
        self._told = self.cursor
        self._outgoing.append(
            SyncPush(
                [from_change(change) for change in changes],
                self.cursor,
                id=push_id,
                epoch=self.epoch,
                offer=self._offer,
            )
        )
        return len(changes)

    def applied(self, cursor: int) -> None:
        """Note that everything up to a received cursor is durable here; acknowledge it if it rose."""
        self.cursor = max(self.cursor, cursor)
        if self.cursor > self._told and self._opened and not self._failed:
            self._told = self.cursor
            self._outgoing.append(SyncPush([], self.cursor, epoch=self.epoch))

    # -- what arrives

    def receive(self, data: bytes | str) -> None:
        """Take a message of the server's; it becomes an event.

        Raises:
            ProtocolError: `bad_message`; the connection is of no use any more.
        """
        message = decode_from_server(data)
        if message is None or self._failed:
            return
        if isinstance(message, ErrorMessage):
            self._fail(message)
        elif isinstance(message, Notice):
            self._events.append(Noticed(message.topic))
        elif not 0 <= message.ack_timestamp <= MAX_TIMESTAMP:
            raise ProtocolError("ack_timestamp is not an integer in 0..2^53-1")
        elif message.epoch is not None and message.epoch != self.epoch and self.epoch not in (None, self._offer):
            why = f"the server's log is {message.epoch}, not {self.epoch}"
            self._fail(ErrorMessage("resync_required", why, message.epoch))
        else:
            self._receive_ack(message)

    # -- drains

    def outgoing(self) -> list[SyncPush]:
        """Return the messages to send, and forget them."""
        messages, self._outgoing = self._outgoing, []
        return messages

    def events(self) -> list[ClientEvent]:
        """Return what happened, and forget it."""
        events, self._events = self._events, []
        return events

    def _receive_ack(self, message: SyncAck) -> None:
        self.epoch = message.epoch if message.epoch is not None else self.epoch
        siblings, skipped = _siblings(message.changes)
        accepted: tuple[Change, ...] = ()
        unlisted: frozenset[str] = frozenset()
        rejected: tuple[tuple[Change, Rejected], ...] = ()
        in_flight = self._in_flight
        answered = in_flight is not None and message.id == in_flight[0]
        if in_flight is not None and answered:
            accepted, unlisted, rejected = _outcome(in_flight[1], message.rejected or [])
            self._in_flight = None
        self._events.append(
            Received(
                self.epoch,
                message.ack_timestamp,
                siblings,
                message.behind or 0,
                accepted,
                unlisted,
                rejected,
                answered,
                skipped,
            )
        )

    def _fail(self, error: ErrorMessage) -> None:
        self._failed = True
        self._events.append(Failed(error.code, error.message, error.epoch, error.quarantine, error.nonce))


def _fitting(pending: Sequence[Change]) -> int:
    """Return how many of the changes, from the first, one push holds; at least one if there is one."""
    size = 0
    for number, change in enumerate(pending):
        size += change.weight
        ends_rename = number > 0 and change.moved_to is not None and change.moved_to == pending[number - 1].key
        if number and not ends_rename and (number >= MAX_MESSAGE_CHANGES or size > MAX_MESSAGE_BYTES):
            return number
    return len(pending)


def _siblings(changes: Iterable[WireChange]) -> tuple[dict[str, tuple[Change, ...]], tuple[tuple[str, str], ...]]:
    """Group changes by key; a key with a change that must not be is left out whole, and named."""
    siblings: dict[str, list[Change]] = {}
    skipped: dict[str, str] = {}
    for wire in changes:
        try:
            siblings.setdefault(wire.key, []).append(to_change(wire, allow_server=True))
        except RefusedChange as refusal:
            skipped[wire.key] = refusal.message
    good = {key: tuple(sorted(found, key=_dot)) for key, found in siblings.items() if key not in skipped}
    return good, tuple(skipped.items())


def _outcome(
    sent: Sequence[Change], rejections: Iterable[Rejected]
) -> tuple[tuple[Change, ...], frozenset[str], tuple[tuple[Change, Rejected], ...]]:
    """Part the changes of a push into accepted and rejected ones; between them, the keys that are to be asked for.

    Raises:
        ProtocolError: `bad_message`, if a rejection names no change of the push: then none counts as accepted.
    """
    refused: dict[int, tuple[Change, Rejected]] = {}
    for rejected in rejections:
        name = (rejected.key, rejected.timestamp, rejected.device_id)
        number = next((number for number, change in enumerate(sent) if (change.key, *change.dot) == name), None)
        if number is None:
            raise ProtocolError("a rejection names a change that was not sent")
        refused[number] = (sent[number], rejected)
    unlisted = frozenset(change.key for change, rejected in refused.values() if rejected.code == NO_ROOM)
    refused = {number: found for number, found in refused.items() if found[1].code != NO_ROOM}
    accepted = tuple(change for number, change in enumerate(sent) if number not in refused)
    return accepted, unlisted, tuple(refused.values())


def _dot(change: Change) -> Dot:
    return change.dot
