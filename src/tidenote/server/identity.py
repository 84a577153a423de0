"""Who may use this server: devices with their tokens, browsers with their sessions, one-time links for new ones.

Tokens and codes are random and kept as hashes; 256 bits need no slow one. All credentials are in memory, and on the
disk before anybody is told of them. How a request shows its token is auth.py's matter.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from tidenote.core.keys import check_device_id, owner_of
from tidenote.errors import AccessError, ProtocolError, RefusedChange
from tidenote.server.store.registry import ANY, Credential, Pairing, Registry
from tidenote.wire.messages import Role

PAIRING_MS: Final = 600_000
"""For how long a one-time link is good."""

OVERLAP_MS: Final = 600_000
"""For how long a token that was replaced stays good, unless the new one is used before."""

SEEN_NEWS_MS: Final = 3_600_000
"""When a device was last seen is written down at most so often."""

DAY_MS: Final = 86_400_000

CONSOLE: Final = "console"
"""The id of the credential for the commands on the server's machine."""

SOME_DEVICE: Final = "device"
"""What a device is called that nobody has named."""

MAX_DEVICE_NAME: Final = 64

Write = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs something on the thread that writes to the disk."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """A one-time link's code, which is shown once, and when it expires, ms since 1970."""

    code: str
    expires_at: int


class Identity:
    """All who may use a server.

    Args:
        registry: where they are kept; read once, here.
        write: runs something on the thread that writes.
        clock_ms: returns the time, ms since 1970.
        session_days: after how many days without a request a browser's session ends.
    """

    def __init__(self, registry: Registry, write: Write, clock_ms: Callable[[], int], session_days: int) -> None:
        self._registry = registry
        self._write = write
        self._clock_ms = clock_ms
        self._session_ms = session_days * DAY_MS
        self._saving = asyncio.Lock()
        """Held from looking at who is known until that is written: nobody who was replaced is written again."""
        self._known: dict[str, Credential] = {}
        self._by_hash: dict[str, str] = {}
        self._saved: dict[str, Credential] = {}
        """The credentials as they are on the disk."""
        for credential in registry.credentials():
            self._keep(credential)
            self._saved[credential.id] = credential
        now_ms = clock_ms()
        self.console_token = new_secret()
        """Opens everything, for the command line on the server's machine; it ends with the process."""
        self._console = Credential(
            CONSOLE, ANY, None, "owner", hash_of(self.console_token), created_at=now_ms, last_seen_at=now_ms
        )

    @property
    def credentials(self) -> list[Credential]:
        """Everyone who may, in the order in which they came."""
        return sorted(self._known.values(), key=lambda credential: credential.order)

    @property
    def has_owner(self) -> bool:
        """Whether anybody may say who else may, of all vaults."""
        return any(known.role == "owner" and known.vaults is None for known in self._known.values())

    def find(self, token: str, *, session: bool = False) -> Credential | None:
        """Return who has a token, None if nobody has; and note that they were here.

        Args:
            token: as it was shown.
            session: whether it came as a browser's cookie; such tokens are good for nothing else.
        """
        digest, now_ms = hash_of(token), self._clock_ms()
        if not session and (console := self.console(token)):
            return console
        found = self._known.get(self._by_hash.get(digest, ""))
        if found is None or found.session != session:
            return None
        if found.old_hash == digest and found.old_until <= now_ms:
            return None
        if self._is_over(found, now_ms):
            return None
        if found.old_hash and digest == found.token_hash:
            found = replace(found, old_hash=None, old_until=0)
        found = replace(found, last_seen_at=max(now_ms, found.last_seen_at))
        self._keep(found)
        return found

    def console(self, token: str) -> Credential | None:
        """Return the credential of the commands on this machine if this is their token, else None."""
        return self._console if hash_of(token) == self._console.token_hash else None

    def knows(self, credential: Credential) -> bool:
        """Say whether a credential that was found is still good."""
        return credential.id in self._known or credential is self._console

    async def invite(self, vault: str | None, device_id: str | None, role: Role) -> Invitation:
        """Make a one-time link.

        Args:
            vault: the only one that the device will open; None for every one.
            device_id: the device that it is for; one that opens just this already gets a new token for its old one.
            role: what the device may do.

        Raises:
            ProtocolError: `bad_request`, if the device id is none.
        """
        if device_id is not None:
            check_name(device_id)
        now_ms = self._clock_ms()
        code = secrets.token_urlsafe(20)
        pairing = Pairing(hash_of(code), vault, device_id, role, now_ms + PAIRING_MS)
        await self._write(lambda: self._registry.add_pairing(pairing, now_ms))
        return Invitation(code, pairing.expires_at)

    async def redeem(
        self, code: str, wanted: str | None, *, session: bool = False, before: Credential | None = None
    ) -> tuple[Credential, str, list[Credential]]:
        """Use a one-time link up; return the new credential, its token, and the credentials that ended with it.

        Args:
            code: of the link.
            wanted: how the device would like to be called, if the link does not say.
            session: whether a browser will keep the token in a cookie.
            before: what the caller had already. It ends if it is a browser's, which has one cookie; or if it allows the
                same and is of the wanted name, for then this is the same device with a new token.

        Raises:
            AccessError: `bad_link`, whether the link never was, was used, or has expired.
            ProtocolError: `bad_request`, if the device id is none.
        """
        if wanted is not None:
            check_name(wanted)
        token, now_ms = new_secret(), self._clock_ms()
        ended: list[Credential] = []

        def admit(pairing: Pairing) -> tuple[Credential, list[str]]:
            vaults = None if pairing.vault is None else (pairing.vault,)
            name = pairing.device_id or wanted or SOME_DEVICE
            for other in known:
                is_before = before is not None and other.id == before.id
                is_same = other.device_id == name and other.vaults == vaults
                if (is_same and (is_before or pairing.device_id)) or (is_before and session and other.session):
                    ended.append(other)
            name = _free_name(name, {other.device_id for other in known if other not in ended})
            made = Credential(secrets.token_hex(8), name, vaults, pairing.role, hash_of(token), now_ms, now_ms, session)
            return made, [other.id for other in ended]

        async with self._saving:
            known = self.credentials
            made = await self._write(lambda: self._registry.redeem(hash_of(code), now_ms, admit))
            if made is None:
                raise AccessError("this link was used, has expired, or never was one", "bad_link")
            self._forget(ended)
            self._keep(made)
            self._saved[made.id] = made
        return made, token, ended

    async def end(self, ended: Iterable[Credential]) -> None:
        """Let some in no longer.

        Raises:
            StorageError: the disk failed; they are let in as before, and it may be tried again.
        """
        ended = list(ended)
        if not ended:
            return
        async with self._saving:
            await self._write(lambda: self._registry.save(remove=[credential.id for credential in ended]))
            self._forget(ended)

    async def rotate(self, credential: Credential) -> str:
        """Return a new token for a device. The old one is good until the new one is used, or for ten minutes.

        Args:
            credential: as `find` returned it.

        Raises:
            ProtocolError: `bad_request`, if it is no device's own.
        """
        token = new_secret()
        async with self._saving:
            known = self._known.get(credential.id)
            if known is None:
                raise ProtocolError("only a device's own token can be replaced", "bad_request")
            # Asked with the old token once more: the answer was lost, and the token in it is nobody's.
            old_hash, old_until = credential.old_hash, credential.old_until
            if old_hash is None:
                old_hash, old_until = known.token_hash, self._clock_ms() + OVERLAP_MS
            fresh = replace(known, token_hash=hash_of(token), old_hash=old_hash, old_until=old_until)
            await self._write(lambda: self._registry.save([fresh]))
            if credential.id in self._known:
                self._keep(fresh)
                self._saved[fresh.id] = fresh
        return token

    def saw(self, ids: Iterable[str]) -> None:
        """Note that the devices with some credentials are here."""
        now_ms = self._clock_ms()
        for name in ids:
            if known := self._known.get(name):
                self._keep(replace(known, last_seen_at=max(now_ms, known.last_seen_at)))

    async def note_seen(self, *, everything: bool = False) -> None:
        """Write down who was here, and let go of sessions that have ended by themselves.

        Args:
            everything: whether to write it down although it was an hour ago or less.
        """
        await self.end([known for known in self._known.values() if self._is_over(known, self._clock_ms())])
        async with self._saving:
            news = [known for known in self._known.values() if self._is_news(known, everything=everything)]
            if news:
                await self._write(lambda: self._registry.save(news))
                self._saved |= {credential.id: credential for credential in news}

    def _is_news(self, known: Credential, *, everything: bool) -> bool:
        saved = self._saved.get(known.id)
        if saved is None or known.old_hash != saved.old_hash:
            return True
        return known != saved and (everything or known.last_seen_at - saved.last_seen_at >= SEEN_NEWS_MS)

    def _is_over(self, known: Credential, now_ms: int) -> bool:
        return known.session and known.last_seen_at + self._session_ms <= now_ms

    def _keep(self, credential: Credential) -> None:
        self._forget([self._known[credential.id]] if credential.id in self._known else [])
        self._known[credential.id] = credential
        for digest in (credential.token_hash, credential.old_hash):
            if digest:
                self._by_hash[digest] = credential.id

    def _forget(self, ended: Iterable[Credential]) -> None:
        for credential in ended:
            known = self._known.pop(credential.id, credential)
            for digest in (known.token_hash, known.old_hash):
                self._by_hash.pop(digest or "", None)


def check_name(device_id: str) -> None:
    """Check that a device can be called so: an id without an incarnation.

    Raises:
        ProtocolError: `bad_request`.
    """
    try:
        check_device_id(device_id)
    except RefusedChange as refusal:
        raise ProtocolError(refusal.message, "bad_request") from None
    if owner_of(device_id) != device_id:
        raise ProtocolError("a device is named without ~", "bad_request")


def _free_name(wanted: str, taken: set[str]) -> str:
    """Return a device id like the wanted one that nobody has."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        ending = f"-{number}"
        name = wanted[: MAX_DEVICE_NAME - len(ending)] + ending
    return name


def new_secret() -> str:
    """Return 256 random bits of the base64url alphabet."""
    return secrets.token_urlsafe(32)


def hash_of(secret: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()
