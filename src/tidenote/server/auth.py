"""Who may: origins, hosts, tokens, cookies. Everything that asks passes `Door` once, before it is upgraded or read.

Who is known, and by what, is identity.py's matter. What a caller may do with a vault is told by `Caller`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

from tidenote.config import is_loopback
from tidenote.core.keys import check_device_id, owner_of
from tidenote.errors import AccessError, ProtocolError, RefusedChange
from tidenote.server.identity import CONSOLE, Identity
from tidenote.server.store.registry import ANY, Credential
from tidenote.wire.messages import PROTOCOL_VERSION, SUBPROTOCOL, Role

COOKIE: Final = "tidenote_session"
"""The cookie with a browser's token; see `cookie_name`."""

SOCKET: Final = "SOCKET"
"""The method of a request for a WebSocket, as `Head` has it."""

ELSEWHERE: Final = frozenset(("cross-site", "same-site"))
"""What a browser's `Sec-Fetch-Site` says if the page that asks is not ours, also where it sends no `Origin`."""

SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS"))
"""What alters nothing, and may be asked with a cookie alone."""

_BEARER = "bearer."


@dataclass(frozen=True, slots=True)
class Head:
    """What of a request decides about it.

    Attributes:
        method: such as `GET`, or `SOCKET`.
        scheme: `http` or `https`, as the browser has it.
        headers: by lower-case names.
    """

    method: str
    scheme: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, after the door let them in."""

    credential: Credential
    auth: Literal["none", "session", "token"] = "token"
    """How they said who they are."""

    @property
    def device_id(self) -> str | None:
        """The device that asks, without incarnation; None if it may be any."""
        return None if self.credential.device_id == ANY else self.credential.device_id

    @property
    def is_replica(self) -> bool:
        """Whether the caller keeps a copy and comes back; a command on the server's machine is done when it ends."""
        return self.credential.id != CONSOLE

    @property
    def role(self) -> Role:
        """What the caller may do."""
        return self.credential.role

    @property
    def vault(self) -> str | None:
        """The only vault that the caller may use; None if there are others."""
        return vault_of(self.credential)

    @property
    def may_write(self) -> bool:
        """Whether the caller may push changes and blobs."""
        return self.credential.role != "reader"

    def may_open(self, vault: str) -> bool:
        """Say whether the caller may use a vault."""
        return self.credential.vaults is None or vault in self.credential.vaults

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
        if self.credential.device_id not in (ANY, owner_of(device_id)):
            raise AccessError("this token belongs to another device", "forbidden")

    def check_owner(self, vaults: tuple[str, ...] | None = ()) -> None:
        """Check that the caller may say who else may use some vaults.

        Args:
            vaults: all of these; None for every one that there is and will be.

        Raises:
            AccessError: `forbidden`.
        """
        if self.credential.role != "owner":
            raise AccessError("only an owner may do this", "forbidden")
        if self.credential.vaults is not None and (vaults is None or not set(vaults) <= set(self.credential.vaults)):
            raise AccessError("only an owner of every vault may do this", "forbidden")


def vault_of(credential: Credential) -> str | None:
    """Return the only vault that a credential opens; None if there are others."""
    return credential.vaults[0] if credential.vaults is not None and len(credential.vaults) == 1 else None


_EVERYONE = Caller(Credential("everyone", ANY, None, "owner", "", 0, 0), "none")


class Door:
    """Decides who comes in, from nothing but the head of a request.

    Args:
        identity: who is known.
        public_url: the address under which browsers reach the server, if a proxy in front of it does not tell.
        no_auth: let everyone in who sits at this machine.
    """

    def __init__(self, identity: Identity, public_url: str | None = None, *, no_auth: bool = False) -> None:
        self._identity = identity
        self._no_auth = no_auth
        self._public = None if public_url is None else _origin(public_url)

    def check_site(self, head: Head) -> None:
        """Check that a browser that asks does so for a page of ours.

        A page of another site can make a browser ask on its behalf (the `Origin` then names it), or can have its own
        name resolve to this machine (the `Host` then is that name). Clients that are no browsers send no `Origin`.

        Raises:
            AccessError: `forbidden`.
        """
        host = head.headers.get("host", "")
        if self._no_auth and not is_loopback(_name_of(host)):
            raise AccessError("without tokens, this server answers to the names of this machine only", "forbidden")
        if "origin" in head.headers:
            self.check_origin(head)

    def check_origin(self, head: Head) -> None:
        """Check that a request says that it comes from a page of ours.

        Raises:
            AccessError: `forbidden`.
        """
        origin = head.headers.get("origin", "")
        asked = None if origin.count("/") != 2 else _origin(origin)
        if asked is None or asked not in (_origin(f"{head.scheme}://{head.headers.get('host', '')}"), self._public):
            raise AccessError("this origin is not the server's own (behind a proxy, set public_url)", "forbidden")

    def admit(self, head: Head) -> Caller:
        """Return who asks.

        Raises:
            AccessError: `unauthorized`; or `forbidden`, if a browser's cookie came with what a page of another site
                could have made it send, or such a page asks for something that it could not read, but time.
        """
        if head.headers.get("sec-fetch-site") in ELSEWHERE:
            raise AccessError("a page of another site asks", "forbidden")
        token = _bearer(head.headers)
        if self._no_auth:
            console = self._identity.console(token) if token else None
            return Caller(console, "none") if console else _EVERYONE
        found = self.known(head)
        if found is None:
            raise AccessError("this device's token is unknown or was revoked" if token else "a token is needed")
        if token:
            return Caller(found)
        if head.method not in SAFE_METHODS:
            self.check_origin(head)
        return Caller(found, "session")

    def known(self, head: Head) -> Credential | None:
        """Return whose token or cookie came, None if none did that is good."""
        if self._no_auth:
            return None
        if token := _bearer(head.headers):
            return self._identity.find(token)
        cookie = self.cookie(head)
        return self._identity.find(cookie, session=True) if cookie else None

    def cookie(self, head: Head) -> str | None:
        """Return the token in a browser's cookie, good or not."""
        for pair in head.headers.get("cookie", "").split(";"):
            name, _, value = pair.strip().partition("=")
            if name == cookie_name(head.scheme) and value:
                return value
        return None


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


def cookie_name(scheme: str) -> str:
    """Return what the cookie is called: over HTTPS so that no page of a neighbour of ours can slip in another one."""
    return f"__Host-{COOKIE}" if scheme == "https" else COOKIE


def set_cookie(token: str, scheme: str, *, days: int) -> dict[str, str]:
    """Return the header that leaves a browser its token for some days; with 0 days it forgets it."""
    secure = "; Secure" if scheme == "https" else ""
    value = f"{cookie_name(scheme)}={token}; Path=/; Max-Age={days * 86_400}; HttpOnly; SameSite=Strict{secure}"
    return {"set-cookie": value}


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


def _origin(url: str) -> tuple[str, str, int] | None:
    """Return the scheme, name and port of an address; a port that goes without saying counts as said."""
    try:
        parts = urlsplit(url.lower())
        default = {"http": 80, "https": 443}.get(parts.scheme)
        if default is None or not parts.hostname or parts.username is not None:
            return None
        return parts.scheme, parts.hostname, parts.port or default
    except ValueError:
        return None
