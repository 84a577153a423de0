"""Takes over the tokens of data folders that an earlier Tidenote made, which kept them in `tokens.toml`."""

from __future__ import annotations

import logging
import tomllib
from pathlib import Path
from typing import Final, Literal

import msgspec

from tidenote.errors import ConfigError
from tidenote.server.store.registry import ANY, Credential, Registry

logger = logging.getLogger("tidenote.server")

TOKENS_FILE: Final = "tokens.toml"
"""The file in the data folder that held who may."""

TAKEN_OVER: Final = "tokens.toml.imported"
"""What it is called when its tokens are in the database."""


class _Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of the file."""

    sha256: str
    device_id: str = ANY
    vaults: tuple[str, ...] = (ANY,)
    role: Literal["reader", "editor"] = "editor"


def take_over(data: Path, registry: Registry, now_ms: int) -> None:
    """Bring the tokens of an earlier version into the registry, once: they go on to open what they opened.

    Raises:
        ConfigError: the file is malformed.
        OSError: it cannot be read or renamed.
    """
    file = data / TOKENS_FILE
    if not file.exists():
        return
    grants = _parse(file)
    # Named by their hashes, so that it may be done again if it was interrupted.
    registry.save(
        Credential(
            grant.sha256.lower()[:16],
            grant.device_id,
            None if ANY in grant.vaults else grant.vaults,
            grant.role,
            grant.sha256.lower(),
            now_ms,
            now_ms,
        )
        for grant in grants
    )
    file.rename(data / TAKEN_OVER)
    logger.info("took %d tokens over from %s", len(grants), file)


def _parse(file: Path) -> list[_Grant]:
    try:
        entries = tomllib.loads(file.read_text(encoding="utf-8")).get("token", [])
        return msgspec.convert(entries, list[_Grant])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{file} is malformed ({error}): correct it, or delete it to let nobody in") from None
