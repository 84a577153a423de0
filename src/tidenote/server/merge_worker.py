"""The process that merges texts for the server: three of them in, one merge out, until there are no more.

Run by merger.py. It reads and writes frames: a length of 4 bytes, and that many bytes of msgpack.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import BinaryIO

import msgspec

from tidenote.core.bounded import Texts
from tidenote.core.merge import merge_text

LOWER_PRIORITY = 5
"""By how much others go before us; nobody waits for a merge."""


def work(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until the server ends, which closes them."""
    while len(head := requests.read(4)) == 4:
        texts = msgspec.msgpack.decode(requests.read(int.from_bytes(head, "big")), type=Texts)
        answer = msgspec.msgpack.encode(merge_text(*texts))
        answers.write(len(answer).to_bytes(4, "big") + answer)
        answers.flush()


if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(LOWER_PRIORITY)
    with suppress(BrokenPipeError, KeyboardInterrupt):
        work(sys.stdin.buffer, sys.stdout.buffer)
