"""Who may: origins, hosts, tokens. Everything that asks passes `Door` once, before it is upgraded or read.

Tokens are kept as SHA-256 in `tokens.toml` in the data folder; a token has 256 random bits, so that a slow hash would
add nothing. What a caller may do with a vault is told by `Caller`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from tidenote.config import is_loopback
from tidenote.core.keys import check_device_id, owner_of
from tidenote.errors import AccessError, ConfigError, ProtocolError, RefusedChange
from tidenote.wire.messages import PROTOCOL_VERSION, SUBPROTOCOL, Role

TOKENS_FILE: Final = "tokens.toml"
"""The file in the data folder that holds who may."""

ANY: Final = "*"
"""Any device, or any vault."""

_BEARER = "bearer."


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one token allows: an entry of the tokens file."""

    sha256: str
    """Of the token, in hex."""
    device_id: str = ANY
    """The device that it belongs to, or `*`."""
    vaults: tuple[str, ...] = (ANY,)
    """The vaults that it opens, or `*`."""
    role: Role = "editor"
    """What the device may do."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, after the door let them in."""

    grant: Grant
    auth: Literal["none", "session", "token"] = "token"
    """How they said who they are."""

    @property
    def device_id(self) -> str | None:
        """The device that asks, without incarnation; None if it may be any."""
        return None if self.grant.device_id == ANY else self.grant.device_id

    @property
    def role(self) -> Role:
        """What the caller may do."""
        return self.grant.role

    @property
    def vault(self) -> str | None:
        """The only vault that the caller may use; None if there are others."""
        return self.grant.vaults[0] if self.grant.vaults != (ANY,) and len(self.grant.vaults) == 1 else None

    def may_open(self, vault: str) -> bool:
        """Say whether the caller may use a vault."""
        return ANY in self.grant.vaults or vault in self.grant.vaults

    def check_vault(self, vault: str) -> None:
        """Check that the caller may use a vault; one that is closed to them looks like one that is not there.

        Raises:
            AccessError: `unknown_vault`.
        """
        if not self.may_open(vault):
            raise AccessError(f"there is no vault {vault}", "unknown_vault")

    def check_device(self, device_id: str) -> None:
        """Check that a device id is one, and the caller's own or an incarnation of it.

        Raises:
            AccessError: `forbidden`.
            ProtocolError: `bad_request`.
        """
        try:
            check_device_id(device_id)
        except RefusedChange as refusal:
            raise ProtocolError(refusal.message, "bad_request") from None
        if self.grant.device_id not in (ANY, owner_of(device_id)):
            raise AccessError("this token belongs to another device", "forbidden")

    @property
    def may_write(self) -> bool:
        """Whether the caller may push changes and blobs."""
        return self.grant.role != "reader"


_EVERYONE = Caller(Grant("", role="owner"), "none")


class Tokens:
    """The tokens file. It is read again when it was altered, so that a revoked token ends without a restart."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._grants: tuple[Grant, ...] = ()
        self._read_at: tuple[int, int, int] | None = None

    def find(self, token: str) -> Grant | None:
        """Return what a token allows, None if it is unknown; in a time that does not tell how near it came.

        Raises:
            ConfigError: the file is malformed.
        """
        digest = hashlib.sha256(token.encode()).hexdigest()
        found: Grant | None = None
        for grant in self._current():
            if hmac.compare_digest(grant.sha256.lower().encode(), digest.encode()):
                found = grant
        return found

    def create(
        self,
        device_id: str = ANY,
        vaults: Iterable[str] = (ANY,),
        role: Role = "editor",
    ) -> str:
        """Add a token to the file and return it; it cannot be read from the file later."""
        token = secrets.token_urlsafe(32)
        grant = Grant(hashlib.sha256(token.encode()).hexdigest(), device_id, tuple(vaults), role)
        self._write((*self._current(), grant))
        return token

    def _current(self) -> tuple[Grant, ...]:
        try:
            status = self.file.stat()
        except FileNotFoundError:
            return ()
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp != self._read_at:
            self._grants = _parse(self.file)
            self._read_at = stamp
        return self._grants

    def _write(self, grants: Iterable[Grant]) -> None:
        """Replace the file in one step; nobody but its owner may ever read it."""
        text = "# Who may use this server. Take an entry out to revoke a token.\n"
        for grant in grants:
            text += f"\n[[token]]\nsha256 = {json.dumps(grant.sha256)}\ndevice_id = {json.dumps(grant.device_id)}\n"
            text += f"vaults = {json.dumps(grant.vaults, ensure_ascii=False)}\nrole = {json.dumps(grant.role)}\n"
        fresh = self.file.with_name(f"{self.file.name}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(self.file)


def _parse(file: Path) -> tuple[Grant, ...]:
    try:
        entries = tomllib.loads(file.read_text(encoding="utf-8")).get("token", [])
        return tuple(msgspec.convert(entries, list[Grant]))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{file} is malformed ({error}): correct it, or delete it to let nobody in") from None


class Door:
    """Decides who comes in, from nothing but the head of a request.

    Args:
        tokens: who may; None lets everyone in who sits at this machine.
    """

    def __init__(self, tokens: Tokens | None) -> None:
        self._tokens = tokens

    def check_site(self, headers: Mapping[str, str]) -> None:
        """Check that a browser that asks does so for a page of ours.

        A page of another site can make a browser ask on its behalf (the `Origin` then names it), or can have its own
        name resolve to this machine (the `Host` then is that name). Clients that are no browsers send no `Origin`.

        Raises:
            AccessError: `forbidden`.
        """
        host = headers.get("host", "").lower()
        if self._tokens is None and not is_loopback(_name_of(host)):
            raise AccessError("without tokens, this server answers to the names of this machine only", "forbidden")
        origin = headers.get("origin")
        if origin is not None and not _is_same_site(origin.lower(), host):
            raise AccessError("this origin is not the server's own", "forbidden")

    def admit(self, headers: Mapping[str, str]) -> Caller:
        """Return who asks.

        Raises:
            AccessError: `unauthorized`.
        """
        if self._tokens is None:
            return _EVERYONE
        token = _bearer(headers)
        grant = self._tokens.find(token) if token else None
        if grant is None:
            raise AccessError("a token is needed, and this is none that is known" if token else "a token is needed")
        return Caller(grant)


def check_version(version: str | None) -> None:
    """Check the protocol version that a client asks for; none means the first.

    Raises:
        ProtocolError: `unsupported_version`.
    """
    if version not in (None, str(PROTOCOL_VERSION)):
        raise ProtocolError(f"this server speaks version {PROTOCOL_VERSION}", "unsupported_version")


def subprotocols(headers: Mapping[str, str]) -> list[str]:
    """Return the WebSocket subprotocols that a client offers; one may carry a token."""
    return [offer.strip() for offer in headers.get("sec-websocket-protocol", "").split(",") if offer.strip()]


def _bearer(headers: Mapping[str, str]) -> str | None:
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    offers = subprotocols(headers)
    if SUBPROTOCOL in offers:
        for offer in offers:
            if offer.startswith(_BEARER):
                return offer.removeprefix(_BEARER)
    return None


def _name_of(host: str) -> str:
    """Return a `Host` header's name, without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_same_site(origin: str, host: str) -> bool:
    """Compare an `Origin` with a `Host`, both in lower case; a port that goes without saying counts as said."""
    try:
        asked, ours = urlsplit(origin), urlsplit(f"//{host}")
        default = {"http": 80, "https": 443}.get(asked.scheme)
        return (
            default is not None
            and asked.hostname is not None
            and asked.hostname == ours.hostname
            and (asked.port or default) == (ours.port or default)
        )
    except ValueError:
        return False
