"""A device's durable memory: what the server confirmed, what still has to be sent, and what the folder held.

One SQLite file. Every method is one commit, so that a crash leaves the state before or after it; the state that a
key shows is always join(confirmed, outbox). Synchronous and short: called on the event loop's thread.
When to send is link.py's matter; what happens to a file, the vault package's.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tidenote.client.journal_file import BrokenJournal, open_database, set_aside
from tidenote.client.journal_tables import PAGE, BaseEntry, Meta, OutboxRow, Tables
from tidenote.core.clock import MAX_TIMESTAMP, LamportClock
from tidenote.core.keys import check_device_id, check_key, key_of_path, next_incarnation, owner_of
from tidenote.core.register import Register, join_all
from tidenote.core.version import BlobRef, Change, Dot, Head
from tidenote.errors import CODES, Action, ConfigError, RefusedChange, StorageError
from tidenote.wire.messages import MAX_MESSAGE_BYTES, MAX_MESSAGE_CHANGES, Rejected
from tidenote.wire.session import Received

__all__ = ["BaseEntry", "BrokenJournal", "Journal", "Meta", "OutboxRow", "Write", "set_aside"]

MAX_NEW_DOTS: Final = 10
"""How often a refused change gets a new dot before it is parked: a server that always refuses must not keep us busy."""

REPLACED_WITHIN_MS: Final = 60_000
"""For how long a change that was never sent gives way to the next save of the same note. An editor that saves every
other second must not fill the history; what a person wrote a minute ago and then took back must be in it."""


@dataclass(frozen=True, slots=True)
class Write:
    """A change to be: what `Journal.write` gives a dot.

    Attributes:
        key: a valid key.
        value: the text; None for a blob and for a deletion.
        blob: the bytes' name; None for a text and for a deletion.
        base: the dots that the author had in front of them; None is a blind write, empty is "there was nothing".
        moved_to: for a deletion, the key that this one was renamed to; that key's creation goes before it.
        modified_at: ms since 1970.
        source: the file that holds the blob's bytes until they are uploaded; None if the server has them.
    """

    key: str
    value: str | None = None
    blob: BlobRef | None = None
    base: frozenset[Dot] | None = None
    moved_to: str | None = None
    modified_at: int | None = None
    source: str | None = None


class Journal:
    """One device's replica of one vault, and its outbox.

    Args:
        path: of the SQLite file; created, with its folder, if missing.
        wall_ms: the wall clock, ms since 1970; it orders nothing.
        open_file: opens the SQLite file.

    Raises:
        BrokenJournal: the file is damaged; see `set_aside`.
        StorageError: it cannot be opened, or a later version of Tidenote wrote it.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        open_file: Callable[[Path], sqlite3.Connection] = open_database,
    ) -> None:
        self.path = Path(path).absolute()
        self._wall_ms = wall_ms
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self.path.parent} cannot be made: {error.strerror}") from error
        self._tables = Tables(self.path, open_file(self.path))
        self._handed = dict.fromkeys(self._tables.numbers(), 1)
        """Outbox row -> how often it may have been sent without an answer; what was there before us counts as once."""
        self._since: dict[int, int] = {}
        """Outbox row of this process -> when its first text was saved, ms since 1970."""
        self._new_dots: dict[Dot, Dot] = {}
        """Own dots that were replaced in this process: a plan made before may still name the old ones."""

    def close(self) -> None:
        """Close the file; everything that a method returned from is durable without it."""
        self._tables.close()

    # -- who we are

    @property
    def meta(self) -> Meta:
        """Whose journal this is, and how far it got."""
        return self._tables.meta()

    @property
    def device_id(self) -> str:
        """The current incarnation of this device, empty before `bind`."""
        return self.meta.device_id

    def bind(self, *, device_id: str, vault: str, endpoint: str, token: str | None = None) -> None:
        """Say whose journal this is. A later call may name another endpoint or token, never another vault.

        Args:
            device_id: without incarnation; the journal keeps count of those.
            vault: the vault's name.
            endpoint: the server's.
            token: the device's.

        Raises:
            ConfigError: the journal is another device's or another vault's.
            RefusedChange: `bad_device`.
        """
        check_device_id(device_id)
        with self._commit():
            meta = self.meta
            if meta.device_id and owner_of(meta.device_id) != owner_of(device_id):
                owner = owner_of(meta.device_id)
                raise ConfigError(f"this journal belongs to the device {owner}, not {device_id}: go on as {owner}")
            if meta.vault and meta.vault != vault:
                raise ConfigError(f"this journal belongs to the vault {meta.vault}, not {vault}: go on with that")
            self._tables.put_meta(device_id=meta.device_id or device_id, vault=vault, endpoint=endpoint, token=token)

    # -- what a key holds

    def confirmed(self, key: str) -> tuple[Change, ...]:
        """Return the siblings of a key as the server last told them."""
        return self._tables.confirmed(key)

    def register(self, key: str) -> Register:
        """Return the state of a key here: what was confirmed joined with our own changes that were not."""
        own = (row.change for row in self._tables.outbox_of(key))
        return join_all((*self.confirmed(key), *own))

    def winner(self, key: str) -> Change | None:
        """Return what a key shows here; None if nobody wrote it."""
        return self.register(key).winner

    def winners(self, prefix: str = "") -> Iterator[tuple[str, Change]]:
        """Yield every key that was ever written, in order, with what it shows, deletions included.

        Args:
            prefix: of the keys.
        """
        after = ""
        for page in self._tables.confirmed_pages(prefix):
            confirmed = dict(page)
            # A full page tells nothing of what comes after its last key.
            until = page[-1][0] if len(page) == PAGE else None
            own = self._tables.outbox_keys(prefix, after, until)
            for key in sorted(confirmed.keys() | own):
                winner = self.winner(key) if key in own else join_all(self._tables.decode(confirmed[key])).winner
                if winner is not None:
                    yield key, winner
            after = page[-1][0] if page else after

    def keys(self, prefix: str = "") -> list[str]:
        """Return the keys that show something other than a deletion, in order, without reading their texts."""
        touched = self.unconfirmed_keys()
        found = {key for key in self._tables.shown_keys(prefix) if key not in touched}
        for key in touched:
            winner = self.winner(key) if key.startswith(prefix) else None
            if winner and not winner.deleted:
                found.add(key)
        return sorted(found)

    def confirmed_heads(self) -> Iterator[tuple[str, dict[Dot, Head]]]:
        """Yield every confirmed key, in order, with the dots of its siblings and what two replicas compare of them."""
        for page in self._tables.confirmed_pages():
            for key, changes in page:
                yield key, {change.dot: change.head for change in self._tables.decode(changes)}

    def conflicts(self) -> list[str]:
        """Return the keys with more than one confirmed sibling, or with a merge that a person should look at."""
        return self._tables.conflicts()

    # -- the outbox

    def write(
        self, writes: Sequence[Write], bases: Iterable[BaseEntry] = (), forget: Iterable[str] = ()
    ) -> list[Change]:
        """Put changes of this device into the state and the outbox, and what the folder now holds: one commit.

        A change of the same key that was saved within the last minute and never sent is replaced by one that saw it
        and deletes nothing. One that is parked, or whose bytes were not uploaded, is replaced by a deletion, too: no
        history will ever show it. The new one takes over its base.

        Args:
            writes: in order; the creation of a rename goes before its tombstone.
            bases: what the folder holds now; one without a dot whose key is written here gets that write's.
            forget: paths of base entries to remove.

        Returns:
            The changes, in the order of the writes.

        Raises:
            RefusedChange: `bad_key` or `bad_value`; nothing was written.
            StorageError: `storage_full` or `storage_failed`; nothing was written.
        """
        with self._commit():
            clock = LamportClock(self.meta.clock)
            changes = [self._write(write, clock) for write in writes]
            self._tables.put_meta(clock=clock.time)
            dots = {change.key: change.dot for change in changes}
            self._put_bases((self._with_dot(entry, dots) for entry in bases), forget)
        return changes

    def pending(self) -> list[OutboxRow]:
        """Return the changes that are still to be confirmed, in order; without the parked ones."""
        return self._tables.pending()

    def parked(self) -> list[OutboxRow]:
        """Return the changes that the server refused for good, in order, each with why."""
        return self._tables.parked()

    def counts(self) -> tuple[int, int, int]:
        """Return how many changes are pending, how many are parked, and how many keys are in conflict."""
        return self._tables.counts()

    def unconfirmed_keys(self) -> set[str]:
        """Return the keys of the outbox."""
        return self._tables.outbox_keys()

    def ready(self) -> list[OutboxRow]:
        """Return about one message's worth of changes that may be sent now, in order.

        At most one per key: its successor must not be taken in if it is refused. But a deletion goes along with the
        change that it deletes, lest others see that come and go. What waits for an upload, or moves to a key that
        does, is left for later and holds up nothing else.
        """
        found: list[OutboxRow] = []
        found_by_key: dict[str, Change] = {}
        passed: set[str] = set()
        waiting: set[str] = set()
        size = 0
        for raw in self._tables.raw_pending():
            key = raw.key
            if key in found_by_key and _deletes((row := self._tables.row(raw)).change, found_by_key.pop(key)):
                found.append(row)
                continue
            if key in passed or not raw.uploaded:
                passed.add(key)
                waiting.add(key)
                continue
            row = self._tables.row(raw)
            passed.add(key)
            if row.change.moved_to in waiting:
                waiting.add(key)
                continue
            found.append(row)
            found_by_key[key] = row.change
            size += len(raw.change)
            if len(found) > MAX_MESSAGE_CHANGES or size > 2 * MAX_MESSAGE_BYTES:
                break
        return found

    def handed(self, rows: Iterable[OutboxRow]) -> None:
        """Note that rows go out now: they are no longer replaced by later writes."""
        for row in rows:
            self._handed[row.seq] = self._handed.get(row.seq, 0) + 1

    def uploads(self) -> list[OutboxRow]:
        """Return the rows whose blobs are to be uploaded, in order."""
        return self._tables.uploads()

    def only_here(self) -> set[str]:
        """Return the keys with a blob whose bytes the server lacks, the parked ones too."""
        return self._tables.keys_not_uploaded()

    def unconfirmed_dots(self, key: str) -> set[Dot]:
        """Return the dots of the key's changes in the outbox."""
        return {row.change.dot for row in self._tables.outbox_of(key)}

    def uploaded(self, row: OutboxRow) -> None:
        """Note that the server has the bytes of a row's blob: the change that names it may be sent."""
        with self._commit():
            current = self._tables.at(row.seq)
            if current and current.change.blob == row.change.blob:
                self._tables.put(replace(current, uploaded=True))

    def source_of(self, sha256: str) -> str | None:
        """Return the file that holds the bytes of a blob of the outbox, None if there is none."""
        for row in self._tables.sourced():
            if row.change.blob and row.change.blob.sha256 == sha256:
                return row.source
        return None

    def sources(self) -> set[str]:
        """Return the files that the outbox still needs."""
        return {row.source for row in self._tables.sourced() if row.source is not None}

    def park(self, row: OutboxRow, code: str, message: str) -> None:
        """Keep a change but stop sending it, and remember why."""
        with self._commit():
            current = self._tables.at(row.seq)
            if current and current.change == row.change:
                self._park(current, code, message)

    def retry_parked(self, keys: Iterable[str] | None = None) -> int:
        """Send parked changes again, all or those of some keys, and return how many."""
        with self._commit():
            wanted = None if keys is None else set(keys)
            rows = [row for row in self.parked() if wanted is None or row.change.key in wanted]
            for row in rows:
                again = replace(row, parked=False, uploaded=row.change.blob is None or row.source is None, attempts=0)
                self._tables.put(again)
        return len(rows)

    # -- what the server says

    def apply(self, received: Received) -> frozenset[str]:
        """Apply one message of the server's: one commit, after which its cursor may be acknowledged.

        Accepted changes join the confirmed state and leave the outbox; the siblings told replace it; refused changes
        are treated as their code demands (`errors.CODES`).

        Returns:
            The keys whose siblings altered here.

        Raises:
            StorageError: nothing was applied.
        """
        touched = set(received.siblings) | {change.key for change, _ in received.rejected}
        with self._commit():
            before = {key: self.register(key).siblings for key in touched}
            # From the outbox to the confirmed state: that alters nothing of their join.
            touched |= {change.key for change in received.accepted if not self._accept(change)}
            self._tables.doubt(received.unlisted)
            self._replace_confirmed(received.siblings)
            self._advance(received)
            if received.rejected:
                touched |= self._refuse(received)
            altered = {key for key in touched if key not in before or self.register(key).siblings != before[key]}
        return frozenset(altered)

    def doubts(self) -> list[str]:
        """Return the keys whose confirmed state is a guess, to be asked for.

        An answer was lost, and others wrote; or it had no room.
        """
        return self._tables.doubts()

    def reconcile(
        self,
        siblings: dict[str, tuple[Change, ...]],
        *,
        lost: Iterable[tuple[Change, str, str]] = (),
        anew: Iterable[Write] = (),
    ) -> frozenset[str]:
        """Replace the confirmed siblings of some keys by what a full comparison found: one commit.

        Args:
            siblings: per key all that the server has; none removes the key from the confirmed state.
            lost: confirmed changes that the server has lost and will not take back, with code and message: they
                are parked, so that no text is lost.
            anew: what goes into the outbox as it is, beside whatever waits there.

        Returns:
            The keys whose siblings altered here.
        """
        lost, anew = list(lost), list(anew)
        touched = set(siblings) | {change.key for change, _, _ in lost} | {write.key for write in anew}
        with self._commit():
            before = {key: self.register(key).siblings for key in touched}
            self._replace_confirmed(siblings)
            for change, code, message in lost:
                self._tables.put(OutboxRow(0, change, parked=True, code=code, message=message))
            stamps = (change.dot.timestamp for found in siblings.values() for change in found)
            clock = LamportClock(max(self.meta.clock, *stamps, 0))
            for write in anew:
                self._write(write, clock, apart=True)
            self._tables.put_meta(clock=clock.time)
            altered = {key for key in touched if self.register(key).siblings != before[key]}
        return frozenset(altered)

    def reincarnate(self) -> frozenset[str]:
        """Go on as the next incarnation, because another device lives under our id; what was not sent goes with it.

        Returns:
            The keys that have a change with a new dot.
        """
        with self._commit():
            return frozenset(self._go_on_as(next_incarnation(self.device_id)))

    def resynced(self, epoch: str | None, cursor: int) -> None:
        """Note that a full comparison is complete: from now on the log of this epoch is followed from the cursor."""
        with self._commit():
            self._tables.put_meta(
                epoch=epoch, cursor=cursor, clock=max(self.meta.clock, cursor), confirmed_at=self._wall_ms()
            )

    # -- the quarantine

    def quarantine(self, keys: Iterable[str]) -> frozenset[str]:
        """Hold back keys that the server lacks, instead of those before; return those that show more than a deletion.

        They stay as they are, and are not sent, until somebody writes them or the server tells of them again.
        """
        with self._commit():
            held = [key for key in keys if (winner := self.winner(key)) and not winner.deleted]
            self._tables.quarantine(held)
        return frozenset(held)

    def quarantined(self) -> list[str]:
        """Return the keys that are held back because the server lacks them, in order."""
        return self._tables.quarantined()

    def release(self, keys: Iterable[str], find: Callable[[BlobRef], Path | None], *, keep: bool) -> list[str]:
        """Write quarantined keys anew, as a person decided, and return which: one commit.

        Args:
            keys: those of them that are not quarantined are left alone.
            find: finds the file with a blob's bytes.
            keep: whether they come back everywhere; if not, they are written and then deleted, so that they are in
                the trash.
        """
        held = set(self.quarantined())
        released = [key for key in keys if key in held]
        with self._commit():
            clock = LamportClock(self.meta.clock)
            for key in released:
                again = self._write(self._anew(key, find), clock)
                if not keep:
                    deletion = Write(key, base=frozenset((again.dot,)), modified_at=self._wall_ms())
                    self._write(deletion, clock, apart=True)
            self._tables.put_meta(clock=clock.time)
        return released

    def _anew(self, key: str, find: Callable[[BlobRef], Path | None]) -> Write:
        winner = self.winner(key)
        assert winner is not None
        source = find(winner.blob) if winner.blob else None
        return Write(
            key,
            winner.value,
            winner.blob,
            base=frozenset(change.dot for change in self.confirmed(key)),
            modified_at=winner.modified_at,
            source=None if source is None else str(source),
        )

    def withdraw(self, keys: Iterable[str]) -> None:
        """Forget changes whose bytes never got to the server, because nobody has them any more."""
        with self._commit():
            for key in keys:
                for row in self._tables.outbox_of(key):
                    if not row.uploaded:
                        self._delete(row)

    # -- the folder

    def bases(self) -> dict[str, BaseEntry]:
        """Return what the folder held at each path."""
        return self._tables.bases()

    def set_bases(self, bases: Iterable[BaseEntry], forget: Iterable[str] = ()) -> None:
        """Remember what the folder holds at some paths, and forget others: one commit."""
        with self._commit():
            self._put_bases(bases, forget)

    # -- inside a commit

    def _write(self, write: Write, clock: LamportClock, *, apart: bool = False) -> Change:
        """Put one change into the outbox; unless it is to stand apart, it may replace one that was never sent."""
        base = None if write.base is None else frozenset(self._current(dot) for dot in write.base)
        clock.observe(*(dot.timestamp for dot in base or ()), 0)
        change = Change(
            write.key,
            Dot(clock.tick(), self.device_id),
            write.value,
            write.blob,
            base,
            write.moved_to,
            write.modified_at,
        )
        _check(change)
        previous = self._tables.last_of(write.key)
        if previous and change.deleted and change.moved_to is None and previous.change.dot in (change.base or ()):
            # It goes along with what it deletes, and may be taken in without: so it has seen what that was made of.
            change = replace(change, base=(change.base or frozenset()) | (previous.change.base or frozenset()))
        row = OutboxRow(0, change, write.source, uploaded=write.blob is None or write.source is None)
        if previous and not apart and self._replaceable(previous, change):
            row = self._take_over(previous, row)
        seq = self._tables.put(row)
        if not row.seq:
            self._since[seq] = self._wall_ms()
        return row.change

    def _replaceable(self, row: OutboxRow, change: Change) -> bool:
        """Say whether a row that the server cannot have gives way to a change that has seen it."""
        if row.change.dot not in (change.base or ()):
            return False
        # Refused for good: where it stood beside its own deletion, nobody could ever be rid of it.
        if row.parked:
            return True
        # The halves of a rename keep their order: a target goes before the tombstone that names it.
        renames = row.change.moved_to is not None or change.moved_to is not None
        if not row.uploaded:
            # Never sent, and its bytes are only in a file that holds others by now, or is gone.
            return not renames
        # What was written and then deleted is to be found in the history.
        if renames or change.deleted or self._handed.get(row.seq):
            return False
        return row.seq in self._since and self._wall_ms() - self._since[row.seq] < REPLACED_WITHIN_MS

    def _take_over(self, row: OutboxRow, successor: OutboxRow) -> OutboxRow:
        """Remove a row and return its successor with its base, and at its place and age if the order allows."""
        since = self._since.get(row.seq)
        self._delete(row)
        change = successor.change
        base = None
        if change.base is not None and row.change.base is not None:
            base = (change.base - {row.change.dot}) | row.change.base
        seq = row.seq if change.moved_to is None else successor.seq
        if seq == row.seq and since is not None:
            self._since[seq] = since
        return replace(successor, seq=seq, change=replace(change, base=base))

    def _accept(self, change: Change) -> bool:
        """Move a change from the outbox to the confirmed state; return whether it was in the outbox."""
        confirmed = self.confirmed(change.key)
        # What the server has told of it already may bear a mark that we did not give it.
        is_told = any(sibling.dot == change.dot for sibling in confirmed)
        joined = confirmed if is_told else join_all((*confirmed, change)).siblings
        rows = self._tables.outbox_of(change.key)
        row = next((row for row in rows if row.change.dot == change.dot), None)
        if row and self._handed.get(row.seq, 0) > 1 and joined != confirmed:
            # It may have been taken in long ago, and replaced by versions of which we saw only the last.
            self._tables.doubt([change.key])
        self._tables.put_confirmed(change.key, joined)
        self._tables.release(change.key)
        if row:
            self._delete(row)
        return row is not None

    def _replace_confirmed(self, siblings: dict[str, tuple[Change, ...]]) -> None:
        for key, found in siblings.items():
            self._tables.put_confirmed(key, found)
            self._tables.believe(key)
            self._tables.release(key)

    def _advance(self, received: Received) -> None:
        meta = self.meta
        seen = [change.dot.timestamp for change in received.accepted]
        seen += [change.dot.timestamp for found in received.siblings.values() for change in found]
        cursor = max(meta.cursor, received.cursor)
        self._tables.put_meta(
            epoch=received.epoch if received.epoch is not None else meta.epoch,
            cursor=cursor,
            clock=max(meta.clock, cursor, *seen, 0),
            confirmed_at=self._wall_ms(),
        )

    def _refuse(self, received: Received) -> set[str]:
        """Do with each refused change what its code demands; return the keys that it touched."""
        stamped: dict[Action, list[tuple[OutboxRow, Rejected]]] = {Action.RESTAMP: [], Action.REINCARNATE: []}
        deleted: list[OutboxRow] = []
        touched: set[str] = set()
        for change, rejection in received.rejected:
            rows = self._tables.outbox_of(change.key)
            row = next((row for row in rows if row.change.dot == change.dot), None)
            if row is None:
                continue
            # The server does not have it: whatever was sent before is void.
            self._handed[row.seq] = 0
            action = self._action(row, rejection)
            # Under a new dot a note would come back whose deletion went along and was taken in. Only what was sent
            # just now tells that: others may name this dot, too, and mean the text that it was used for before.
            is_deleted = any(_deletes(each, change) for each in received.accepted if each.key == change.key)
            if is_deleted and action not in (Action.RETRY, Action.UPLOAD):
                deleted.append(row)
            if action in stamped:
                stamped[action].append((row, rejection))
            elif action is Action.PARK:
                if not is_deleted:
                    self._park(row, rejection.code, rejection.message)
            else:
                upload = action is Action.UPLOAD
                self._tables.put(
                    replace(row, uploaded=not upload and row.uploaded, code=rejection.code, message=rejection.message)
                )
        if stamped[Action.RESTAMP]:
            touched |= self._restamp(stamped[Action.RESTAMP])
        if stamped[Action.REINCARNATE]:
            touched |= self._reincarnate(stamped[Action.REINCARNATE])
        for row in deleted:
            self._delete(row)
        return touched

    def _action(self, row: OutboxRow, rejection: Rejected) -> Action:
        code = CODES.get(rejection.code)
        # A code of a later version: as docs/protocol.md 3.3 says of errors, it is worth another try.
        action = code.action if code else Action.RETRY
        if rejection.code == "move_target_missing" and self._comes(row.change.moved_to):
            return Action.RETRY
        if action in (Action.RESTAMP, Action.REINCARNATE) and row.attempts >= MAX_NEW_DOTS:
            return Action.PARK
        if action is Action.UPLOAD and row.source is None:
            return Action.PARK
        return action

    def _comes(self, target: str | None) -> bool:
        """Say whether something of a key is still to be taken in."""
        return target is not None and any(not row.parked for row in self._tables.outbox_of(target))

    def _restamp(self, refused: Sequence[tuple[OutboxRow, Rejected]]) -> set[str]:
        """Set the clock to the server's, and give new dots to all own changes that are ahead of it."""
        told = max(rejection.clock or 0 for _, rejection in refused)
        # Every receipt that we saw bounds it from below: no dot that the server has comes again.
        clock = LamportClock(min(max(told, self.meta.cursor), MAX_TIMESTAMP // 2))
        seqs = self._count_attempts(refused)
        return self._give_new_dots(
            lambda row: row.seq in seqs or row.change.dot.timestamp > clock.time, clock, self.device_id
        )

    def _reincarnate(self, refused: Sequence[tuple[OutboxRow, Rejected]]) -> set[str]:
        """Go on as the next incarnation; what was never sent goes with it, for its dots may be taken too."""
        device_id = self.device_id
        if any(row.change.dot.device_id == device_id for row, _ in refused):
            device_id = next_incarnation(device_id)
        return self._go_on_as(device_id, self._count_attempts(refused))

    def _go_on_as(self, device_id: str, refused: Collection[int] = ()) -> set[str]:
        """Take another id; refused rows, and those that were never sent, get dots of it."""
        self._tables.put_meta(device_id=device_id)
        seqs = {*refused, *(row.seq for row in self._tables.outbox() if not self._handed.get(row.seq, 0))}
        return self._give_new_dots(lambda row: row.seq in seqs, LamportClock(self.meta.clock), device_id)

    def _count_attempts(self, refused: Iterable[tuple[OutboxRow, Rejected]]) -> set[int]:
        seqs = set()
        for row, rejection in refused:
            seqs.add(row.seq)
            self._tables.put(replace(row, attempts=row.attempts + 1, code=rejection.code, message=rejection.message))
        return seqs

    def _give_new_dots(self, wanted: Callable[[OutboxRow], bool], clock: LamportClock, device_id: str) -> set[str]:
        """Give rows, and the later ones that build on them, new dots; folder bases that name them follow."""
        new_dots: dict[Dot, Dot] = {}
        touched: set[str] = set()
        chosen = [(row, wanted(row)) for row in self._tables.outbox()]
        for row, is_wanted in chosen:
            old = row.change
            named = (old.base or frozenset()) | old.merged_from
            if owner_of(old.dot.device_id) != owner_of(device_id) or not (is_wanted or named & new_dots.keys()):
                continue
            dot = Dot(clock.tick(), device_id)
            new_dots[old.dot] = dot
            base = old.base
            if base is not None:
                # What is not older than the new dot cannot be in the server's log: nothing is there to be covered.
                mapped = (new_dots.get(seen, seen) for seen in base)
                base = frozenset(seen for seen in mapped if seen.timestamp < dot.timestamp)
            merged_from = frozenset(new_dots.get(seen, seen) for seen in old.merged_from)
            self._tables.put(replace(row, change=replace(old, dot=dot, base=base, merged_from=merged_from)))
            self._tables.rename_base_dot(old.key.partition(":")[2], old.dot, dot)
            touched.add(old.key)
        self._tables.put_meta(clock=clock.time)
        self._new_dots.update(new_dots)
        return touched

    def _park(self, row: OutboxRow, code: str, message: str) -> None:
        """Keep a row without sending it; a later change that replaced it takes its place instead."""
        for successor in self._tables.outbox_of(row.change.key):
            if successor.seq > row.seq and row.change.dot in (successor.change.base or ()):
                self._delete(successor)
                self._tables.put(self._take_over(row, successor))
                return
        self._tables.put(replace(row, parked=True, code=code, message=message))

    def _put_bases(self, bases: Iterable[BaseEntry], forget: Iterable[str]) -> None:
        current = (replace(entry, dot=self._current(entry.dot)) if entry.dot else entry for entry in bases)
        self._tables.put_bases(current, forget)

    @staticmethod
    def _with_dot(entry: BaseEntry, dots: dict[str, Dot]) -> BaseEntry:
        if entry.dot is not None:
            return entry
        return replace(entry, dot=dots.get(key_of_path(entry.path)))

    def _current(self, dot: Dot) -> Dot:
        """Return the dot that a replaced own dot has now."""
        while dot in self._new_dots:
            dot = self._new_dots[dot]
        return dot

    def _delete(self, row: OutboxRow) -> None:
        self._tables.delete(row.seq)
        self._handed.pop(row.seq, None)
        self._since.pop(row.seq, None)

    @contextmanager
    def _commit(self) -> Iterator[None]:
        """Run a block as one transaction; what it noted in memory is taken back with it."""
        handed, since, new_dots = dict(self._handed), dict(self._since), dict(self._new_dots)
        try:
            with self._tables.commit():
                yield
        except BaseException:
            self._handed, self._since, self._new_dots = handed, since, new_dots
            raise


def _deletes(change: Change, other: Change) -> bool:
    """Say whether a change deletes another one, and nothing else but what that was made of."""
    seen = (change.base or frozenset()) - (other.base or frozenset())
    return change.deleted and change.moved_to is None and seen == frozenset((other.dot,))


def _check(change: Change) -> None:
    """Refuse what the server would refuse in any case, before it gets into the outbox.

    Raises:
        RefusedChange: `bad_key` or `bad_value`.
    """
    check_key(change.key)
    if change.moved_to is not None:
        check_key(change.moved_to)
    if change.moved_to is not None and (not change.deleted or change.moved_to == change.key):
        raise RefusedChange("only a deletion has moved_to, and to another key", "bad_value")
    if change.value is not None and change.blob is not None:
        raise RefusedChange("a change has a text or a blob", "bad_value")
    if change.value is not None and "\0" in change.value:
        raise RefusedChange("the text holds U+0000; send it as a blob", "bad_value")
    try:
        (change.value or "").encode()
    except UnicodeEncodeError:
        raise RefusedChange("the text is not valid Unicode", "bad_value") from None
