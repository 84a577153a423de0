"""Who may use a server, on its disk: credentials of devices, and pairings that are under way.

Beside the logs, in the same database. Secrets come here as SHA-256 only. What they allow is identity.py's matter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sqlalchemy import Connection, Row, delete, insert, select

from tidenote.server.store.tables import credentials, pairings
from tidenote.wire.messages import Role

ANY: Final = "*"
"""In place of a device id: any device. Tokens of earlier versions may have it."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What one device may do, and how it is known.

    Attributes:
        id: of the credential; it stays when the token is replaced.
        device_id: without incarnation, or `ANY`.
        vaults: those that it opens; None for every one.
        role: what it may do there.
        token_hash: SHA-256 of the token, in hex.
        created_at: ms since 1970.
        last_seen_at: the same.
        session: whether it is a browser's, which keeps the token in a cookie.
        old_hash: the hash of the token before, while that one is good for a little longer.
        old_until: until when, ms since 1970.
    """

    id: str
    device_id: str
    vaults: tuple[str, ...] | None
    role: Role
    token_hash: str
    created_at: int
    last_seen_at: int
    session: bool = False
    old_hash: str | None = None
    old_until: int = 0

    @property
    def order(self) -> tuple[int, str, str]:
        """Where it stands in a list: by when it came."""
        return self.created_at, self.device_id, self.id


@dataclass(frozen=True, slots=True)
class Pairing:
    """A one-time link that nobody has used yet.

    Attributes:
        code_hash: SHA-256 of its code, in hex.
        vault: the only one that the device will open; None for every one.
        device_id: the device that it is for; None lets it choose.
        role: what the device may do.
        expires_at: ms since 1970.
    """

    code_hash: str
    vault: str | None
    device_id: str | None
    role: Role
    expires_at: int


Admit = Callable[[Pairing], tuple[Credential, Sequence[str]]]
"""Makes of a pairing a credential, and names the credentials that end with it."""


class Registry(Protocol):
    """What the server asks of its disk about who may. Synchronous; each call is one transaction.

    Raises `StorageError` if the disk fails.
    """

    def credentials(self) -> list[Credential]:
        """Return all, ordered by when they were created."""
        ...

    def save(self, put: Iterable[Credential] = (), remove: Iterable[str] = ()) -> None:
        """Add or replace credentials, and remove those with some ids."""
        ...

    def add_pairing(self, pairing: Pairing, now_ms: int) -> None:
        """Add a pairing, and drop those that have expired."""
        ...

    def redeem(self, code_hash: str, now_ms: int, admit: Admit) -> Credential | None:
        """Use a pairing up and keep what is made of it; None if there is none, or it has expired."""
        ...


class MemoryRegistry:
    """A registry that forgets everything when it is dropped."""

    def __init__(self) -> None:
        self._credentials: dict[str, Credential] = {}
        self._pairings: dict[str, Pairing] = {}

    def credentials(self) -> list[Credential]:
        """Return all, ordered by when they were created."""
        return sorted(self._credentials.values(), key=lambda credential: credential.order)

    def save(self, put: Iterable[Credential] = (), remove: Iterable[str] = ()) -> None:
        """Add or replace credentials, and remove others."""
        for name in remove:
            self._credentials.pop(name, None)
        self._credentials |= {credential.id: credential for credential in put}

    def add_pairing(self, pairing: Pairing, now_ms: int) -> None:
        """Add a pairing, and drop those that have expired."""
        kept = {name: known for name, known in self._pairings.items() if known.expires_at > now_ms}
        self._pairings = {**kept, pairing.code_hash: pairing}

    def redeem(self, code_hash: str, now_ms: int, admit: Admit) -> Credential | None:
        """Use a pairing up."""
        pairing = self._pairings.pop(code_hash, None)
        if pairing is None or pairing.expires_at <= now_ms:
            return None
        credential, ended = admit(pairing)
        self.save([credential], ended)
        return credential


class SqlRegistry:
    """A registry in an SQL database.

    Args:
        reading: opens a transaction that reads.
        writing: opens a transaction that writes.
    """

    def __init__(
        self,
        reading: Callable[[], AbstractContextManager[Connection]],
        writing: Callable[[], AbstractContextManager[Connection]],
    ) -> None:
        self._reading = reading
        self._writing = writing

    def credentials(self) -> list[Credential]:
        """Return all, ordered by when they were created."""
        with self._reading() as connection:
            rows = connection.execute(
                select(credentials).order_by(credentials.c.created_at, credentials.c.device_id, credentials.c.id)
            )
            return [_credential(row) for row in rows]

    def save(self, put: Iterable[Credential] = (), remove: Iterable[str] = ()) -> None:
        """Add or replace credentials, and remove others."""
        with self._writing() as connection:
            _save(connection, put, remove)

    def add_pairing(self, pairing: Pairing, now_ms: int) -> None:
        """Add a pairing, and drop those that have expired."""
        with self._writing() as connection:
            connection.execute(delete(pairings).where(pairings.c.expires_at <= now_ms))
            connection.execute(
                insert(pairings).values(
                    code_hash=pairing.code_hash,
                    vault=pairing.vault,
                    device_id=pairing.device_id,
                    role=pairing.role,
                    expires_at=pairing.expires_at,
                )
            )

    def redeem(self, code_hash: str, now_ms: int, admit: Admit) -> Credential | None:
        """Use a pairing up."""
        with self._writing() as connection:
            wanted = pairings.c.code_hash == code_hash
            row = connection.execute(select(pairings).where(wanted)).first()
            if row is None or not connection.execute(delete(pairings).where(wanted)).rowcount:
                return None
            if row.expires_at <= now_ms:
                return None
            credential, ended = admit(Pairing(row.code_hash, row.vault, row.device_id, row.role, row.expires_at))
            _save(connection, [credential], ended)
            return credential


def _save(connection: Connection, put: Iterable[Credential], remove: Iterable[str]) -> None:
    new = {credential.id: credential for credential in put}
    for name in {*remove, *new}:
        connection.execute(delete(credentials).where(credentials.c.id == name))
    for credential in new.values():
        connection.execute(insert(credentials).values(_values(credential)))


def _values(credential: Credential) -> dict[str, Any]:
    return {
        "id": credential.id,
        "device_id": credential.device_id,
        "vaults": None if credential.vaults is None else json.dumps(credential.vaults, ensure_ascii=False),
        "role": credential.role,
        "token_hash": credential.token_hash,
        "created_at": credential.created_at,
        "last_seen_at": credential.last_seen_at,
        "session": credential.session,
        "old_hash": credential.old_hash,
        "old_until": credential.old_until,
    }


def _credential(row: Row[Any]) -> Credential:
    vaults = None if row.vaults is None else tuple(json.loads(row.vaults))
    return Credential(
        row.id,
        row.device_id,
        vaults,
        row.role,
        row.token_hash,
        row.created_at,
        row.last_seen_at,
        row.session,
        row.old_hash,
        row.old_until,
    )
