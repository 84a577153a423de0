"""The texts of versions, wherever they are: as they came, or packed with others."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import BindParameter, Connection, bindparam, select

from tidenote.server.store.packing import BrokenPack, unpack
from tidenote.server.store.tables import versions

logger = logging.getLogger("tidenote.server")

CHUNK: Final = 500
"""How many texts are asked for at once; with what they are packed with they may be many times as many."""

_VAULT: BindParameter[Any] = bindparam("in_vault")
_WANTED = (
    select(versions.c.receipt, versions.c.packed_with)
    .where(versions.c.vault_id == _VAULT, versions.c.receipt.in_(bindparam("receipts", expanding=True)))
    .cte("wanted", recursive=True)
)
_NEEDED = _WANTED.union(
    select(versions.c.receipt, versions.c.packed_with).where(
        versions.c.vault_id == _VAULT, versions.c.receipt == _WANTED.c.packed_with
    )
)
_TEXTS = (
    select(
        versions.c.receipt,
        versions.c.packed_with,
        versions.c.text_size,
        versions.c.content_hash,
        versions.c.value,
        versions.c.packed,
    )
    .join(_NEEDED, versions.c.receipt == _NEEDED.c.receipt)
    .where(versions.c.vault_id == _VAULT)
    .order_by(versions.c.receipt)
)


def load_texts(connection: Connection, vault_id: int, receipts: Iterable[int]) -> dict[int, str]:
    """Return the texts of versions by receipt; left out are deletions, blobs, what is gone, and what is broken."""
    wanted = list(dict.fromkeys(receipts))
    found: dict[int, str] = {}
    for start in range(0, len(wanted), CHUNK):
        part = wanted[start : start + CHUNK]
        texts = _unpack_all(connection, vault_id, part)
        found.update((receipt, texts[receipt]) for receipt in part if receipt in texts)
    return found


def _unpack_all(connection: Connection, vault_id: int, receipts: list[int]) -> dict[int, str]:
    texts: dict[int, str] = {}
    # A text is always packed with an earlier one.
    for receipt, packed_with, size, content_hash, value, packed in connection.execute(
        _TEXTS, {"in_vault": vault_id, "receipts": receipts}
    ):
        if value is not None:
            texts[receipt] = value
        elif packed is not None:
            try:
                texts[receipt] = unpack(packed, None if packed_with is None else texts[packed_with], size, content_hash)
            except (BrokenPack, KeyError) as error:
                logger.error("the text of version %d cannot be read: %s", receipt, error)
    return texts
