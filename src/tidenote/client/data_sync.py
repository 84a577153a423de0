"""The difference of two replicas, and a two-way sync that needs no cursor: the full reconcile.

For a log of a new epoch (restored from a backup, taken over by a standby) and for a cursor that the server does not
know: what the server has and we lack is fetched, what it lost is offered to it, and nothing is ever taken for deleted
because it is missing. A reconcile that is cut starts over; every step of it may be done twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from tidenote.client.journal import Journal, Write
from tidenote.client.rest import Rest, error_of_code
from tidenote.core.version import BlobRef, Change, Dot, Head
from tidenote.errors import CODES, Action, RefusedChange, StorageError, UnreachableError
from tidenote.wire.messages import Rejected, WireHead, encode, to_change
from tidenote.wire.session import ClientSession, Failed, Received, generation_of

logger = logging.getLogger("tidenote.client")

FETCH_KEYS: Final = 200
"""How many keys are asked for at once; the protocol allows 500."""

Heads = Mapping[str, Mapping[Dot, Head]]
"""Per key the dots of its siblings, each with what else is compared of it."""

FindBlob = Callable[[BlobRef], Path | None]
"""Returns a file with the bytes of a blob, if there is one on this device."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What two replicas do not share.

    Attributes:
        pull: the keys that the other holds in another state than we, in order.
        offer: the keys of which we hold versions that are no siblings of the other's, in order.
    """

    pull: tuple[str, ...]
    offer: tuple[str, ...]


def difference(ours: Heads, theirs: Heads) -> Difference:
    """Return what two replicas do not share, by the dots of their siblings; a missing key says nothing.

    What a head says counts, too, but a mark alone is not offered: the log's counts.
    """
    return Difference(
        tuple(sorted(key for key, heads in theirs.items() if heads != ours.get(key))),
        tuple(sorted(key for key, heads in ours.items() if _versions(heads) - _versions(theirs.get(key, {})))),
    )


class DataSync:
    """One full reconcile of a journal with the server.

    Args:
        journal: this device's replica.
        rest: the server.
        find_blob: finds the bytes of blobs that the server has lost.
    """

    def __init__(self, journal: Journal, rest: Rest, *, find_blob: FindBlob = lambda _: None) -> None:
        self._journal = journal
        self._rest = rest
        self._find_blob = find_blob

    async def run(self, *, quarantine: bool = False) -> frozenset[str]:
        """Reconcile, and return the keys that altered here; afterwards the cursor is the server's.

        Args:
            quarantine: whether the server has forgotten deletions of which we may not have heard: what it lacks is
                then not offered. So it is in the epoch that we followed: such a log has lost nothing.

        Raises:
            StorageError: `fenced`, if the server's log is of an earlier generation than ours.
            TidenoteError: what the server said.
            UnreachableError: it gave no answer.
        """
        meta = self._journal.meta
        epoch, clock, theirs = await self._manifest()
        check_generation(meta.epoch, epoch)
        found = difference(dict(self._journal.confirmed_heads()), theirs)
        altered: set[str] = set()
        # First what the server lost: it is replaced here only once it is safe there.
        if quarantine or meta.epoch == epoch:
            altered |= self._quarantine(theirs)
        elif meta.epoch is not None:
            undecided = set(self._journal.quarantined())
            offered = [key for key in found.offer if key not in undecided]
            altered |= await self._offer(offered, theirs, ClientSession(clock, epoch, offer=meta.epoch))
        for start in range(0, len(found.pull), FETCH_KEYS):
            altered |= self._journal.reconcile(await fetch(self._rest, found.pull[start : start + FETCH_KEYS], epoch))
        # What changed since the manifest's first page lies behind its clock, and is delivered from there.
        self._journal.resynced(epoch, clock)
        logger.info("reconciled with epoch %s: %d keys pulled, %d offered", epoch, len(found.pull), len(found.offer))
        return frozenset(altered)

    def _quarantine(self, theirs: Heads) -> frozenset[str]:
        """Hold back what the server lacks until a person decides, and return it: it may have been deleted elsewhere."""
        held = self._journal.quarantine(key for key in dict(self._journal.confirmed_heads()) if key not in theirs)
        if held:
            logger.warning("the server lacks %d notes that this device has: they wait for you", len(held))
        return held

    async def _manifest(self) -> tuple[str, int, Heads]:
        page = await self._rest.manifest()
        epoch, clock = page.epoch, page.clock
        theirs = {entry.key: _heads(entry.dots) for entry in page.entries}
        while page.next is not None:
            page = await self._rest.manifest(page.next)
            if page.epoch != epoch:
                raise UnreachableError("the server's log was replaced while it was read")
            theirs |= {entry.key: _heads(entry.dots) for entry in page.entries}
        return epoch, clock, theirs

    async def _offer(self, keys: Sequence[str], theirs: Heads, session: ClientSession) -> frozenset[str]:
        """Offer versions that the server has lost; keep parked what it will not take."""
        left = [
            change
            for key in keys
            for change in self._journal.confirmed(key)
            if (change.dot, change.content_hash) not in _versions(theirs.get(key, {}))
        ]
        # Tombstones of renames last: their targets have to be there.
        left.sort(key=lambda change: change.moved_to is not None)
        kept: list[tuple[Change, Rejected]] = []
        tried: dict[str, RefusedChange | None] = {}
        while left:
            refused = await self._offer_all(left, session)
            uploaded = await self._upload_missing(refused, tried)
            # A refused rename may find its target now, if anything was taken in that was not there before.
            hopeful = {"move_target_missing"} if uploaded or len(refused) < len(left) else set()
            left = []
            for change, rejection in refused:
                if rejection.code in hopeful or (rejection.code == "blob_missing" and change.blob in uploaded):
                    left.append(change)
                else:
                    kept.append((change, _why(change, rejection, tried)))
        return self._keep(kept)

    async def _offer_all(self, changes: Sequence[Change], session: ClientSession) -> list[tuple[Change, Rejected]]:
        refused: list[tuple[Change, Rejected]] = []
        while changes:
            sent = session.push(changes)
            for push in session.outgoing():
                session.receive(await self._rest.sync(encode(push)))
            for event in session.events():
                if isinstance(event, Failed):
                    raise error_of_code(event.code, event.message)
                if isinstance(event, Received):
                    refused += event.rejected
            if not session.can_push:
                raise UnreachableError("the server did not answer the offer")
            changes = changes[sent:]
        for _, rejection in refused:
            if rejection.code in CODES and CODES[rejection.code].action in (Action.RETRY, Action.STOP):
                raise error_of_code(rejection.code, rejection.message)
        return refused

    async def _upload_missing(
        self, refused: Sequence[tuple[Change, Rejected]], tried: dict[str, RefusedChange | None]
    ) -> set[BlobRef]:
        """Upload the blobs that the server lacks and this device has, each once; return those that are there now.

        Args:
            refused: the changes, with what the server said of them.
            tried: by its hash what is not tried again, with why it is not taken; it grows.
        """
        uploaded: set[BlobRef] = set()
        for change, rejection in refused:
            blob = change.blob
            if rejection.code != "blob_missing" or blob is None or blob.sha256 in tried:
                continue
            tried[blob.sha256] = None
            if source := self._find_blob(blob):
                try:
                    await self._rest.upload(blob, source)
                    uploaded.add(blob)
                except RefusedChange as refusal:
                    tried[blob.sha256] = refusal
        return uploaded

    def _keep(self, refused: Sequence[tuple[Change, Rejected]]) -> frozenset[str]:
        """Park what the server lost and will not take back, so that no text is lost; a lost deletion is let go.

        What is refused for its dot alone is sent anew, beside what took the dot.
        """
        gone: dict[str, set[Dot]] = {}
        for change, rejection in refused:
            logger.warning("the server does not take back %s: %s", change.key, rejection.code)
            gone.setdefault(change.key, set()).add(change.dot)
        rest = {
            key: tuple(change for change in self._journal.confirmed(key) if change.dot not in dots)
            for key, dots in gone.items()
        }
        texts = [(change, rejection) for change, rejection in refused if not change.deleted]
        lost = [(change, told.code, told.message) for change, told in texts if told.code != "dot_reused"]
        anew = [self._anew(change) for change, told in texts if told.code == "dot_reused"]
        return self._journal.reconcile(rest, lost=lost, anew=anew)

    def _anew(self, change: Change) -> Write:
        """Return a write of ours that says what a change said whose dot the log has for something else."""
        source = self._find_blob(change.blob) if change.blob else None
        return Write(
            change.key,
            change.value,
            change.blob,
            # What a blind write did not see it does not replace: that came after it, by another's hand.
            base=change.base or frozenset(),
            modified_at=change.modified_at,
            source=None if source is None else str(source),
        )


async def fetch(rest: Rest, keys: Sequence[str], epoch: str | None = None) -> dict[str, tuple[Change, ...]]:
    """Return all siblings of those of the keys that have any; a key with a change that must not be is left out.

    Args:
        rest: the server.
        keys: at most 500.
        epoch: the log that is asked; None for any.

    Raises:
        TidenoteError: what the server said.
        UnreachableError: it gave no answer, or another log than was asked.
    """
    siblings: dict[str, list[Change]] = {}
    left = list(keys)
    while left:
        answer = await rest.fetch(left)
        if epoch is not None and answer.epoch != epoch:
            raise UnreachableError("the server's log was replaced while it was read")
        told = {wire.key for wire in answer.changes}.intersection(left)
        if not told:
            break
        bad: set[str] = set()
        for wire in answer.changes:
            if wire.key not in told:
                continue
            try:
                siblings.setdefault(wire.key, []).append(to_change(wire, allow_server=True))
            except RefusedChange as refusal:
                logger.warning("the server sent a change of %s that must not be: %s", wire.key, refusal.message)
                bad.add(wire.key)
        for key in bad:
            siblings.pop(key, None)
        left = [key for key in left if key not in told]
    return {key: tuple(sorted(found, key=lambda change: change.dot)) for key, found in siblings.items()}


def check_generation(ours: str | None, theirs: str) -> None:
    """Check that a log is not of an earlier generation than the one that we follow.

    Raises:
        StorageError: `fenced`.
        ProtocolError: an epoch is malformed.
    """
    if ours is not None and generation_of(theirs) < generation_of(ours):
        raise StorageError(
            f"this server has an earlier copy of the vault ({theirs}) than this device has synced with ({ours}): "
            "connect to the server that holds the later one",
            "fenced",
        )


def _why(change: Change, rejection: Rejected, tried: Mapping[str, RefusedChange | None]) -> Rejected:
    """Return why a change is not taken: that of its bytes, if they are what is lacking."""
    refusal = tried.get(change.blob.sha256) if change.blob and rejection.code == "blob_missing" else None
    return msgspec.structs.replace(rejection, code=refusal.code, message=refusal.message) if refusal else rejection


def _heads(wire: Sequence[WireHead]) -> dict[Dot, Head]:
    return {Dot(head.timestamp, head.device_id): Head(head.sha256, head.conflict) for head in wire}


def _versions(heads: Mapping[Dot, Head]) -> set[tuple[Dot, str | None]]:
    """Return what the siblings are, whether marked or not."""
    return {(dot, head.content_hash) for dot, head in heads.items()}
