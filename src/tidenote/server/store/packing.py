"""How old texts are made small: zstandard, with an earlier text of the same note as its dictionary.

An edit changes little, so what is stored of a version is about as large as the edit. Pure; which text is packed with
which is past.py's matter.
"""

from __future__ import annotations

import hashlib
from typing import Final

from zstandard import (
    DICT_TYPE_RAWCONTENT,
    ZstdCompressionDict,
    ZstdCompressionParameters,
    ZstdCompressor,
    ZstdDecompressor,
    ZstdError,
)

LEVEL: Final = 9
"""Higher ones hardly save any bytes with a dictionary, and take much longer."""

MAX_LINKS: Final = 31
"""How many texts in a row are packed each with the one before; then comes one that stands alone."""

MAX_CHAIN_BYTES: Final = 4 * 2**20
"""About how many bytes are unpacked to read one text: long texts stand alone more often."""

MIN_BYTES: Final = 128
"""A shorter text is left as it is."""


class BrokenPack(Exception):
    """What was packed does not unpack to what it was."""


def pack(text: str, dictionary: str | None) -> bytes:
    """Return a text packed, alone or with a dictionary that `unpack` will need again."""
    data = text.encode()
    if dictionary is None:
        return ZstdCompressor(level=LEVEL, write_checksum=False).compress(data)
    raw = ZstdCompressionDict(dictionary.encode(), dict_type=DICT_TYPE_RAWCONTENT)
    # The window has to reach over the whole dictionary.
    parameters = ZstdCompressionParameters.from_level(
        LEVEL, source_size=len(data), dict_size=len(raw), write_checksum=False, write_dict_id=False
    )
    return ZstdCompressor(dict_data=raw, compression_params=parameters).compress(data)


def unpack(packed: bytes, dictionary: str | None, size: int, content_hash: str) -> str:
    """Return the text that was packed.

    Args:
        packed: from `pack`.
        dictionary: as it was then.
        size: the text's bytes in UTF-8; more are not unpacked.
        content_hash: the text's SHA-256 in hex.

    Raises:
        BrokenPack: it is not what was packed, or was packed with another dictionary.
    """
    raw = None if dictionary is None else ZstdCompressionDict(dictionary.encode(), dict_type=DICT_TYPE_RAWCONTENT)
    try:
        data = ZstdDecompressor(dict_data=raw).decompress(packed, max_output_size=size)
    except ZstdError as error:
        raise BrokenPack(str(error)) from error
    if hashlib.sha256(data).hexdigest() != content_hash:
        raise BrokenPack("it has another hash")
    return data.decode()


def may_link(links: int, size: int) -> bool:
    """Say whether a text of this size may be packed with one that stands at the end of so many links."""
    return links < MAX_LINKS and (links + 2) * size <= MAX_CHAIN_BYTES
