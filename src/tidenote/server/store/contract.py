"""What the server asks of its disk: small operations on the logs of vaults.

One acceptance suite (tests/server/store/test_contract.py) runs against every implementation. What a batch of pushes
does to the log is core/intake.py's matter: a store loads, asks it, and commits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, get_args

from tidenote.core.crdt import CrdtEntry
from tidenote.core.intake import Batch
from tidenote.core.merge import merge_text
from tidenote.core.merged import Merge
from tidenote.core.retention import Policy
from tidenote.core.sides import OnTie
from tidenote.core.version import BlobRef, Change, Dot, Head, Record, Version
from tidenote.errors import AccessError, ConfigError, StorageError
from tidenote.server.store.registry import Registry
from tidenote.wire.messages import MAX_MESSAGE_BYTES, MAX_MESSAGE_CHANGES
from tidenote.wire.session import Page, generation_of

GENERATION_GAP: Final = 2**32
"""How far the clock of a new generation starts past everything that the old one can have issued."""

MAX_NAME: Final = 100
"""The most characters of a vault's name."""

MAX_BEHIND: Final = 100_000
"""Up to here `Page.behind` is exact; a client that is further behind is told this number."""


class TooMuchAtOnce(Exception):
    """What some pushes write to is too large to be read for one transaction; nothing was taken in."""


def keys_of(pushes: Iterable[Sequence[Change]]) -> set[str]:
    """Return the keys that pushes write, and those that they move notes to."""
    return {key for changes in pushes for change in changes for key in (change.key, change.moved_to) if key}


@dataclass(frozen=True, slots=True)
class VaultInfo:
    """One vault's log, as of now.

    Attributes:
        name: of the vault.
        epoch: `<generation>-<8 hex digits>` of its log.
        clock: the last receipt; 0 while nothing was taken in.
        fenced_by: the later epoch that this server heard of and gave way to; None while it may write.
        on_tie: what to do with merges of edits that have equal timestamps (docs/merge.md, section 3).
        tombstones_gone_before: the greatest receipt of a deletion that is forgotten: whose cursor is smaller may hold
            notes that were deleted meanwhile.
        swept_at: when the history was last gone through, ms since 1970.
    """

    name: str
    epoch: str
    clock: int
    fenced_by: str | None = None
    on_tie: OnTie = "review"
    tombstones_gone_before: int = 0
    swept_at: int = 0

    @classmethod
    def new(cls, name: str, token: str) -> VaultInfo:
        """Return an empty vault.

        Args:
            name: 1 to 100 printable characters.
            token: 8 hex digits, never used before.

        Raises:
            ConfigError: `bad_request`, if the name is none.
        """
        if not name.isprintable() or not 1 <= len(name) <= MAX_NAME or name != name.strip():
            raise ConfigError(f"the name of a vault is 1 to {MAX_NAME} printable characters", "bad_request")
        return cls(name, f"1-{token}", 0)

    def next_generation(self, token: str, wall_ms: int) -> VaultInfo:
        """Return the vault under a new epoch, later than its own and the one it is fenced by."""
        generation = max(generation_of(self.epoch), generation_of(self.fenced_by or self.epoch)) + 1
        clock = max(self.clock, wall_ms) + GENERATION_GAP
        return replace(self, epoch=f"{generation}-{token}", clock=clock, fenced_by=None)

    def fence(self, by_epoch: str) -> VaultInfo:
        """Return the vault fenced by an epoch; unchanged if that is no later than what it knows."""
        known = max(generation_of(self.epoch), generation_of(self.fenced_by or self.epoch))
        return replace(self, fenced_by=by_epoch) if generation_of(by_epoch) > known else self

    def settle_ties(self, on_tie: str) -> VaultInfo:
        """Return the vault with another setting for ties.

        Raises:
            ConfigError: `bad_request`, if it is none of `OnTie`.
        """
        for known in get_args(OnTie):
            if on_tie == known:
                return replace(self, on_tie=known)
        raise ConfigError(f"on_tie is one of {', '.join(get_args(OnTie))}, not {on_tie!r}", "bad_request")

    def check_writable(self) -> None:
        """Check that this server may still write the vault.

        Raises:
            StorageError: `fenced`.
        """
        if self.fenced_by:
            raise StorageError(f"vault {self.name} goes on elsewhere, as {self.fenced_by}", "fenced")


@dataclass(frozen=True, slots=True)
class Device:
    """How far a device is behind, roughly.

    Attributes:
        device_id: an incarnation.
        cursor: up to here it has applied the log; 0 if it never said so.
        epoch: of the log then.
        last_seen: ms since 1970.
    """

    device_id: str
    cursor: int
    epoch: str
    last_seen: int


@dataclass(frozen=True, slots=True)
class Swept:
    """What one step through the history did, or would do.

    Attributes:
        after: the key to go on after; None at the end.
        versions: how many versions lost their content.
        size: the bytes of that content.
        tombstones: how many deletions were forgotten.
    """

    after: str | None
    versions: int = 0
    size: int = 0
    tombstones: int = 0


def unknown_vault(name: str) -> AccessError:
    """Return the error for a vault that does not exist."""
    return AccessError(f"there is no vault {name!r}", "unknown_vault")


class Store(Protocol):
    """The logs of all vaults.

    Synchronous. Any number of threads may read; writes come from one thread at a time or wait for each other. Every
    read is a consistent view. Each method that takes a vault raises `AccessError` `unknown_vault` if there is none of
    that name, and `StorageError` if the disk fails.
    """

    @property
    def registry(self) -> Registry:
        """Who may use the vaults; it is kept beside their logs."""
        ...

    def vault(self, name: str) -> VaultInfo:
        """Return a vault."""
        ...

    def vaults(self) -> list[VaultInfo]:
        """Return all vaults, ordered by name."""
        ...

    def create_vault(self, name: str) -> VaultInfo:
        """Create an empty vault with a new epoch of generation 1; return it as it is if it exists."""
        ...

    def take_in(
        self,
        vault: str,
        pushes: Sequence[Sequence[Change]],
        *,
        wall_ms: int,
        check_blob: Callable[[BlobRef], object],
        settle: Iterable[str] = (),
        merge: Merge = merge_text,
        max_read: int | None = None,
    ) -> Batch:
        """Take pushes in, in one transaction: load, `core.intake.take_in`, append, commit.

        When it returns, every change that was not refused is on the disk. When it raises, nothing was taken in (or, if
        the disk failed during the commit, nobody knows; sending the same again is safe then as always).

        Args:
            vault: its name.
            pushes: the changes of each push, in the order of their arrival.
            wall_ms: ms since 1970; bounds timestamps, and is kept as the time of arrival.
            check_blob: raises `RefusedChange` unless the bytes of a blob are on the server's disk.
            settle: keys to settle besides, that were `late` in an earlier batch.
            merge: merges two texts; where it raises `TooMuchWork` the key is `late`.
            max_read: how many characters the siblings of the keys that matter may have together; None for any number.

        Raises:
            TooMuchAtOnce: they have more.
            StorageError: `storage_full` (goes on when there is room again), `storage_failed` (no more writes until the
                store is opened anew, if a commit failed), or `fenced`.
        """
        ...

    def changes_since(
        self,
        vault: str,
        cursor: int,
        *,
        max_changes: int = MAX_MESSAGE_CHANGES,
        max_bytes: int = MAX_MESSAGE_BYTES,
    ) -> Page:
        """Return the next page of keys that altered after a cursor, in that order, each with all its siblings.

        A page has at least one key, if one is left. It keeps within the limits otherwise, and does not separate the two
        keys of a rename where that can be avoided. `up_to` is the vault's clock when nothing is left.

        Args:
            vault: its name.
            cursor: a receipt; 0 for everything.
            max_changes: the most siblings that a page of several keys holds.
            max_bytes: about the most bytes of a page of several keys.
        """
        ...

    def entries(self, vault: str, keys: Iterable[str]) -> list[CrdtEntry]:
        """Return the state of some keys, in that order; those that nobody wrote are left out."""
        ...

    def manifest(self, vault: str, after: str | None, limit: int) -> list[tuple[str, dict[Dot, Head]]]:
        """Return keys with the dots of their siblings and what is compared of them, in the order of their code points.

        Args:
            vault: its name.
            after: the key to go on after; None to start.
            limit: the most keys to return.
        """
        ...

    def listed(self, vault: str, prefix: str, after: str | None, limit: int) -> list[tuple[str, list[Record]]]:
        """Return keys with the records of their siblings, in the order of their code points.

        Args:
            vault: its name.
            prefix: what the keys begin with.
            after: the key to go on after; None to start.
            limit: the most keys to return.
        """
        ...

    def count_notes(self, vault: str) -> int:
        """Return how many keys have a sibling that is not a deletion."""
        ...

    def history(self, vault: str, key: str) -> list[Version]:
        """Return the versions of a key whose content is kept, by receipt; empty if nobody wrote it."""
        ...

    def records(self, vault: str, key: str, *, before: int | None = None, limit: int | None = None) -> list[Record]:
        """Return the latest records of all versions that a key ever had, by receipt; empty if nobody wrote it.

        Args:
            vault: its name.
            key: the key.
            before: leave out what has this receipt or a greater one.
            limit: the most records to return.
        """
        ...

    def records_of(self, vault: str, key: str, dots: Collection[Dot]) -> list[Record]:
        """Return the records of some versions of a key, by receipt; those that never arrived are left out."""
        ...

    def version(self, vault: str, key: str, dot: Dot) -> Version | None:
        """Return one version; None if it never arrived or its content is no longer kept."""
        ...

    def renames_to(self, vault: str, key: str, before: int) -> list[Record]:
        """Return the tombstones of keys that were renamed to a key, by receipt, those before a receipt only."""
        ...

    def receipt_at(self, vault: str, time_ms: int) -> int:
        """Return the last receipt that was given at a time or before it; 0 if none was.

        Args:
            vault: its name.
            time_ms: ms since 1970. The server's clock may have been set back since; then this is one of the answers.
        """
        ...

    def altered_since(self, vault: str, receipt: int) -> list[str]:
        """Return the keys that altered after a receipt, ordered; those that are forgotten are among them."""
        ...

    def written_by(self, vault: str, owner: str, after: int) -> list[str]:
        """Return the keys that a device or an incarnation of it wrote after a receipt, ordered."""
        ...

    def deleted(self, vault: str, after: str | None, limit: int) -> list[str]:
        """Return keys that are deleted and were not renamed, in the order of their code points.

        Args:
            vault: its name.
            after: the key to go on after; None to start.
            limit: the most keys to return.
        """
        ...

    def pack(self, vault: str, *, max_versions: int = 64, max_bytes: int = 2**20) -> int:
        """Make texts small that nobody shows any more, in one short transaction; return how many, 0 at the end."""
        ...

    def sweep(
        self,
        vault: str,
        after: str | None,
        *,
        now_ms: int,
        policy: Policy,
        max_keys: int = 50,
        dry_run: bool = False,
    ) -> Swept:
        """Let go what the policy keeps no longer, of some keys and in one transaction; the last step notes the time.

        Records stay, so that no dot is ever taken for new; the tombstones of `core.retention` are forgotten.

        Args:
            vault: its name.
            after: the key to go on after; None to start.
            now_ms: ms since 1970.
            policy: what to keep.
            max_keys: the most keys to look at closely.
            dry_run: only tell.
        """
        ...

    def note_devices(self, vault: str, seen: Mapping[str, tuple[int, int]]) -> None:
        """Note how far devices are; of one with very many incarnations, forget those that were not here for longest.

        Args:
            vault: its name.
            seen: device id -> cursor, and ms since 1970.
        """
        ...

    def devices(self, vault: str) -> list[Device]:
        """Return the devices that were ever noted, ordered by their ids."""
        ...

    def forget_device(self, vault: str, owner: str) -> None:
        """Forget how far a device and its incarnations are: they do not come back."""
        ...

    def blobs_in_use(self, hashes: Iterable[str]) -> set[str]:
        """Return those of some blobs that a version of any vault names whose content is kept."""
        ...

    def open_conflicts(self, vault: str, after: str | None, limit: int) -> list[str]:
        """Return keys with several siblings, or with one that is marked for a person to look at, in order.

        Args:
            vault: its name.
            after: the key to go on after; None to start.
            limit: the most keys to return.
        """
        ...

    def new_generation(self, vault: str, *, wall_ms: int) -> VaultInfo:
        """Begin a new epoch of a log that was restored or promoted, and take writes again if it was fenced.

        The generation is greater than every one heard of; the clock starts `GENERATION_GAP` after the greater of the
        clock and `wall_ms`, past all that the lost part of the log can have issued.
        """
        ...

    def fence(self, vault: str, by_epoch: str) -> None:
        """Give way to a later generation, for good: `take_in` is `fenced` from now on. An earlier one is ignored."""
        ...

    def set_on_tie(self, vault: str, on_tie: str) -> VaultInfo:
        """Set what later batches do with merges of edits that have equal timestamps: `review`, `ask` or `merge`.

        Raises:
            ConfigError: `bad_request`, if it is none of these.
        """
        ...

    def close(self) -> None:
        """Release everything; what is committed stays. Closing twice is harmless."""
        ...
