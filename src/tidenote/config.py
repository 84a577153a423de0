"""Every setting of the server and of a device: its name, unit, default, and where it may come from.

Flags win over environment variables (`TIDENOTE_<NAME>`), those over a TOML file (tables `[server]` and `[sync]`),
that over the defaults. Configurations are passed in and never looked up: nothing here is global. Imports errors only.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar, get_type_hints
from urllib.parse import urlsplit

import msgspec
import platformdirs

from tidenote.errors import ConfigError

ENVIRONMENT_PREFIX: Final = "TIDENOTE_"
"""Every setting `name` is read from the variable `TIDENOTE_NAME`."""

CONFIG_VARIABLE: Final = "TIDENOTE_CONFIG"
"""The variable that names the TOML file, if no flag does."""

FEWEST_PUSH_CHANGES: Final = 501
"""What a server takes in one push at least: devices send so many at once, a rename's two together."""

_PROXY_VARIABLES: Final = frozenset(f"{name}_proxy" for name in ("all", "http", "https", "socks", "ws", "wss"))

_DEVICE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class SyncConfig:
    """The settings of a device that syncs one vault."""

    device_id: str
    """Who this device is: 1 to 64 of `A-Z a-z 0-9 . _ -`."""
    sync_endpoint: str = "ws://127.0.0.1:8787/ws/sync"
    """The server's WebSocket address, `ws://` or `wss://`."""
    sync_interval_ms: int = 5000
    """How often to ask for news while no WebSocket is open."""
    enable_websocket: bool = True
    """Whether to use a WebSocket at all; without, the device asks every `sync_interval_ms`."""
    vault: str = "main"
    """The vault to sync."""
    token: str | None = field(default=None, repr=False)
    """This device's token; None for a server that asks for none."""
    connect_timeout_ms: int = 10_000
    """How long connecting may take."""
    heartbeat_interval_ms: int = 20_000
    """How often to ping an open connection."""
    heartbeat_timeout_ms: int = 20_000
    """How long a ping may stay unanswered before the connection counts as dead."""
    backoff_initial_ms: int = 300
    """The longest pause before the first new attempt; it doubles with each."""
    backoff_max_ms: int = 30_000
    """The longest pause between two attempts."""
    stable_after_ms: int = 30_000
    """How long a connection must have lasted to count as good, so that the pauses start small again."""
    max_text_bytes: int = 2**20
    """A text over this, in bytes of UTF-8, travels as a blob."""

    def __post_init__(self) -> None:
        _check_device_id(self.device_id)
        _check_endpoint(self.sync_endpoint)
        _check_positive(self)
        if not self.vault:
            raise ConfigError("vault is empty: name one, such as main")

    @property
    def http_endpoint(self) -> str:
        """The address of the same server's REST, without a trailing slash: `http://127.0.0.1:8787`."""
        parts = urlsplit(self.sync_endpoint)
        prefix = parts.path.removesuffix("/ws/sync").rstrip("/")
        return f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}{prefix}"


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The settings of a server."""

    data_dir: Path = field(default_factory=lambda: platformdirs.user_data_path("tidenote", appauthor=False))
    """Where the log, the blobs and the tokens are kept; on a local disk."""
    host: str = "127.0.0.1"
    """The address to listen on; anything but loopback is open to the network."""
    port: int = 8787
    """The port to listen on; 0 lets the system choose one."""
    no_auth: bool = False
    """Whether to let everyone in; only on a loopback address."""
    tls_cert: Path | None = None
    """The certificate chain in PEM, together with `tls_key`."""
    tls_key: Path | None = None
    """The certificate's private key in PEM."""
    database_url: str | None = None
    """Another database than the embedded one in `data_dir`."""
    redis_url: str | None = None
    """A Redis or Valkey that connects several server processes."""
    public_url: str | None = None
    """The address at which devices and browsers reach the server, if that is not `host` and `port`: a proxy's."""
    session_days: int = 90
    """After how many days without a visit a browser has to be paired anew."""
    max_connections: int = 10_000
    """How many WebSocket connections may be open at once."""
    max_http_connections: int = 2000
    """How many connections may be open at once that are no WebSockets, or not yet."""
    max_connections_per_address: int = 1000
    """How many WebSockets may be open from one network address, and as many connections that are none; of IPv6, from
    one network of 64 bits."""
    max_connections_per_device: int = 32
    """How many WebSockets of one device may be open, its incarnations and vaults together."""
    max_changes_per_second: int = 2000
    """How many changes a second a device may send in the long run; what comes faster is read later."""
    max_changes_burst: int = 20_000
    """How many changes a device may send at once after a rest."""
    trusted_proxies: str = "127.0.0.1,::1"
    """The addresses or networks of proxies, separated by commas, whose `X-Forwarded-For` and `-Proto` are believed."""
    max_push_changes: int = 2000
    """The most changes of one push; a push of more is refused as a whole."""
    max_frame_bytes: int = 8 * 2**20
    """The largest message a client may send."""
    max_fragments: int = 4096
    """In how many frames a client may send one message."""
    max_text_bytes: int = 2**20
    """The largest text, in bytes of UTF-8, that may travel as a value."""
    max_blob_bytes: int = 4 * 2**30
    """The largest blob."""
    heartbeat_interval_ms: int = 20_000
    """How often to ping an open connection; under the 30 s after which many proxies close a silent one."""
    heartbeat_timeout_ms: int = 20_000
    """How long a ping may stay unanswered before the connection is closed."""
    write_timeout_ms: int = 20_000
    """How long a client may leave a message unread before it is closed as too slow."""
    head_poll_ms: int = 5000
    """How often a session asks for the log's head, in case that a publication was lost."""
    publish_timeout_ms: int = 1000
    """How long telling others of a commit may delay its acknowledgement."""
    max_publication_bytes: int = 2**18
    """A commit that alters more than this is not handed around; sessions read it from the log."""
    max_batch_changes: int = 2000
    """About how many changes one commit takes in."""
    max_batch_bytes: int = 8 * 2**20
    """About how many bytes of text one commit takes in."""
    history_all_days: int = 90
    """For how long every version of a note is kept."""
    history_daily_days: int = 365
    """For how long, after that, the last version of each day is kept."""
    tombstone_days: int = 365
    """For how long, at least, a deletion is remembered."""
    device_days: int = 730
    """For how long deletions are remembered for a device that does not come."""
    gc_interval_ms: int = 86_400_000
    """How often to let go of what is too old."""
    backup_dir: Path | None = None
    """Where to write backups by itself; better on another disk. None for no backups."""
    backup_interval_ms: int = 86_400_000
    """How often to write one."""
    backup_keep: int = 14
    """How many of them to keep; the oldest goes when a newer one is verified."""
    request_timeout_ms: int = 30_000
    """How long the head of a request may take to arrive, and a body may stall, or an answer not be read."""
    shutdown_timeout_ms: int = 10_000
    """How long a stopping server waits for what it has begun."""

    def __post_init__(self) -> None:
        if self.no_auth and not self.is_loopback:
            raise ConfigError(
                f"no_auth lets everyone in, and {self.host} is open to the network: "
                "leave --no-auth out, or listen on 127.0.0.1"
            )
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port {self.port} is not in 0..65535: choose another, such as 8787")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("TLS needs both files: give --tls-cert and --tls-key")
        # JSON writes a control character in six bytes; a client sends a change whole, or not at all.
        needed = 6 * self.max_text_bytes + 2**18
        if needed > self.max_frame_bytes:
            raise ConfigError(
                f"max_text_bytes {self.max_text_bytes} needs max_frame_bytes of at least {needed}: "
                "raise that, or lower max_text_bytes"
            )
        if self.max_push_changes < FEWEST_PUSH_CHANGES:
            raise ConfigError(
                f"max_push_changes {self.max_push_changes} is less than devices send at once: "
                f"make it {FEWEST_PUSH_CHANGES} or more"
            )
        if self.public_url is not None:
            _check_public_url(self.public_url)
        for name, value in (("database_url", self.database_url), ("redis_url", self.redis_url)):
            if value is not None:
                raise ConfigError(
                    f"{name} is not yet supported: leave it out; one process with its own database serves"
                )
        _check_positive(self, but=("port",))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Say whether a host name or address is this machine's own loopback."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def leads_here(url: str) -> bool:
    """Say whether an address leads to this machine itself: no proxy does, and nobody else gets there by it."""
    return is_loopback(urlsplit(url).hostname or "")


def unfit_proxy(environment: Mapping[str, str] = os.environ) -> ConfigError:
    """Return the error that a proxy which the environment names is of no use to us, with the variable's name."""
    proxies = {name: value for name, value in environment.items() if name.lower() in _PROXY_VARIABLES and value}
    # A proxy without a scheme is one of HTTP.
    unfit = [name for name, value in proxies.items() if "://" in value and not value.lower().startswith("http")]
    return ConfigError(
        f"{' and '.join(sorted(unfit or proxies)) or 'the system'} names a proxy that is of no use here: "
        "give one of HTTP as http://HOST:PORT, or none"
    )


def load_server_config(
    flags: Mapping[str, object] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> ServerConfig:
    """Return the server's settings.

    Args:
        flags: by field name; None counts as not given.
        environment: by default the process's.
        file: a TOML file with a table `[server]`; by default what `TIDENOTE_CONFIG` names, or none.

    Raises:
        ConfigError: a setting is wrong or unknown, or the file cannot be read.
    """
    return _load(ServerConfig, "server", flags, environment, file)


def load_sync_config(
    flags: Mapping[str, object] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> SyncConfig:
    """Return a device's settings; as `load_server_config`, with the table `[sync]`.

    Raises:
        ConfigError: a setting is missing, wrong or unknown, or the file cannot be read.
    """
    return _load(SyncConfig, "sync", flags, environment, file)


_Config = TypeVar("_Config", SyncConfig, ServerConfig)


def _load(
    kind: type[_Config],
    table: str,
    flags: Mapping[str, object] | None,
    environment: Mapping[str, str] | None,
    file: Path | None,
) -> _Config:
    environment = os.environ if environment is None else environment
    if file is None and environment.get(CONFIG_VARIABLE):
        file = Path(environment[CONFIG_VARIABLE])
    types = get_type_hints(kind)
    values: dict[str, Any] = {}
    # From the weakest source to the strongest, each under the name that a message can point at.
    for name, value in (_read_table(file, table) if file else {}).items():
        if name not in types:
            raise ConfigError(f"{file}: [{table}] has no setting {name}: check its spelling")
        values[name] = _convert(value, types[name], f"{file}: [{table}] {name}", strict=True)
    for name in types:
        variable = ENVIRONMENT_PREFIX + name.upper()
        if environment.get(variable):
            values[name] = _convert(environment[variable], types[name], variable, strict=False)
    for name, value in (flags or {}).items():
        if name not in types:
            raise ConfigError(f"there is no setting {name}: check its spelling")
        if value is not None:
            values[name] = _convert(value, types[name], f"--{name.replace('_', '-')}", strict=False)
    if kind is SyncConfig and "device_id" not in values:
        raise ConfigError("device_id is missing: give --device-id, or set TIDENOTE_DEVICE_ID")
    return kind(**values)


def _read_table(file: Path, table: str) -> dict[str, object]:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror}): check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML ({error}): correct it") from None
    found = document.get(table, {})
    if not isinstance(found, dict):
        raise ConfigError(f"{file}: {table} is not a table: write [{table}] on a line of its own")
    return found


def _convert(value: object, kind: Any, where: str, *, strict: bool) -> object:
    if kind in (Path, Path | None) and isinstance(value, str | Path):
        return Path(value).expanduser()
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}; correct it or leave it out") from None


def _check_device_id(device_id: str) -> None:
    if not _DEVICE_ID.fullmatch(device_id) or device_id.startswith("server"):
        raise ConfigError(
            f"{device_id!r} cannot be a device_id: choose 1 to 64 of A-Z a-z 0-9 . _ - that do not start with server"
        )


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        good = parts.scheme in ("ws", "wss") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"{endpoint!r} is no sync_endpoint: write it like ws://127.0.0.1:8787/ws/sync")


def _check_public_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        good = good and not parts.query and not parts.fragment and parts.username is None
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"{url!r} is no public_url: write it like https://notes.example")


def _check_positive(config: SyncConfig | ServerConfig, but: tuple[str, ...] = ()) -> None:
    """Check that every number is one that makes sense: all of them are durations, sizes and counts."""
    for setting in fields(config):
        value = getattr(config, setting.name)
        if isinstance(value, int) and not isinstance(value, bool) and setting.name not in but and value <= 0:
            raise ConfigError(f"{setting.name} is {value}: it must be greater than 0")
