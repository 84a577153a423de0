"""The one validator of keys, and the mapping between keys and paths.

The server runs it at the door and the folder daemon runs it again before it touches a disk. Which names a certain
disk can hold is the vault package's matter; here they are only reported.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from tidenote.core.version import is_server
from tidenote.errors import RefusedChange

MAX_KEY_BYTES: Final = 1024
"""The longest key, in bytes of UTF-8."""

MAX_NAME_BYTES: Final = 255
"""The longest name between two slashes, in bytes of UTF-8: what common file systems hold."""

STATE_FOLDER: Final = ".tidenote"
"""The folder marker that holds the daemon's own state; never a part of a key."""

TEXT_EXTENSIONS: Final = frozenset(
    ".md .markdown .mdown .mkd .mdx .txt .text .org .canvas .base .rst .adoc .asciidoc .tex .bib .csv .tsv "
    ".json .yaml .yml .toml .css .html .htm .xml .svg .js .ts .py .sh .ini .cfg .conf .log .opml .fountain".split()
)
"""Extensions whose files are `note:` keys; every other file is a `file:` key."""

_CACHED: Final = 4096
"""How many answers are kept: the same few notes are asked about again and again."""

_DEVICE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}(?:~[1-9][0-9]{0,5})?")
_DRIVE = re.compile(r"[A-Za-z]:")
_RESERVED_NAMES = re.compile(r"(?:CON|PRN|AUX|NUL|COM[1-9¹²³]|LPT[1-9¹²³]) *(?:\.|$)", re.IGNORECASE)
_RESERVED_CHARACTERS = re.compile(r'[<>:"|?*]')


@lru_cache(_CACHED)
def key_of_path(path: str) -> str:
    """Return the key of a relative path: one path, one key.

    Args:
        path: relative, `/`-separated, in any Unicode normal form.

    Raises:
        RefusedChange: `bad_key`, if the path is none that a key can have.
    """
    path = unicodedata.normalize("NFC", path)
    check_path(path)
    name = path.rsplit("/", 1)[-1]
    extension = name[name.rfind(".") :].lower() if name.rfind(".") > 0 else ""
    return ("note:" if extension in TEXT_EXTENSIONS else "file:") + path


def path_of_key(key: str) -> str:
    """Return the path of a valid key.

    Raises:
        RefusedChange: `bad_key`.
    """
    check_key(key)
    return key.partition(":")[2]


def check_key(key: str) -> None:
    """Check that a key is `note:` or `file:`, as its extension demands, with a safe relative path.

    Raises:
        RefusedChange: `bad_key`, and why.
    """
    kind, colon, path = key.partition(":")
    if not colon or kind not in ("note", "file"):
        raise _bad("a key starts with note: or file:")
    check_path(path)
    if key_of_path(path) != key:
        raise _bad(f"by its extension this is a {key_of_path(path).partition(':')[0]}: key")


@lru_cache(_CACHED)
def check_path(path: str) -> None:
    """Check that a path is relative, NFC, `/`-separated, and cannot leave its folder.

    Raises:
        RefusedChange: `bad_key`, and why.
    """
    if not path:
        raise _bad("the path is empty")
    if "\\" in path:
        raise _bad("a backslash in the path")
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in path):
        raise _bad("a control character in the path")
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise _bad("the path is not valid Unicode") from None
    if size + len("note:") > MAX_KEY_BYTES:
        raise _bad(f"the key is over {MAX_KEY_BYTES} bytes")
    if not unicodedata.is_normalized("NFC", path):
        raise _bad("the path is not in normal form NFC")
    if path.startswith("/") or _DRIVE.match(path):
        raise _bad("the path is absolute, or begins like a Windows drive")
    for name in path.split("/"):
        _check_name(name)


def _check_name(name: str) -> None:
    if name in ("", ".", ".."):
        raise _bad("an empty, . or .. name in the path")
    if _as_folded_by_disks(name) == STATE_FOLDER:
        raise _bad(f"{STATE_FOLDER} is the daemon's own")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise _bad(f"a name is over {MAX_NAME_BYTES} bytes")


def _as_folded_by_disks(name: str) -> str:
    """Fold what some file systems ignore: case, invisible characters (HFS+), trailing dots and spaces (NTFS)."""
    visible = "".join(character for character in name if unicodedata.category(character) != "Cf")
    return visible.upper().casefold().rstrip(". ")


def portability_problem(path: str) -> str | None:
    """Say why some systems cannot hold a valid path under its own name; None if all can."""
    for name in path.split("/"):
        if _RESERVED_NAMES.match(name):
            return f"{name} is a reserved name on Windows"
        if _RESERVED_CHARACTERS.search(name):
            return f"{name} has a character that Windows does not allow"
        if name[-1] in ". ":
            return f"{name!r} ends in a dot or a space, which Windows drops"
    return None


def marked_path(path: str, mark: str) -> str:
    """Return a path like a valid one, of the same kind, in its folder: `todo (2).md`.

    A name that would be too long by that loses the end of its stem, or of the whole if its extension leaves no room.

    Args:
        path: relative, `/`-separated.
        mark: what tells the two apart: up to 100 bytes of UTF-8.
    """
    folder, slash, name = path.rpartition("/")
    stem, dot, extension = name.rpartition(".")
    tail = f" ({mark}){dot}{extension}"
    if not stem or len(tail.encode()) > MAX_NAME_BYTES:
        stem, tail = name, f" ({mark})"
    room = MAX_NAME_BYTES - len(tail.encode())
    return f"{folder}{slash}{stem.encode()[:room].decode(errors='ignore')}{tail}"


def names_like(path: str) -> Iterator[str]:
    """Yield the names that a file may get: its own, then ` (2)` and so on before the extension."""
    yield path
    yield from (marked_path(path, str(number)) for number in itertools.count(2))


def check_device_id(device_id: str, *, allow_server: bool = False) -> None:
    """Check a device id: 1..64 of `A-Za-z0-9._-`, or with `~n` a later incarnation; `server*` is reserved.

    Raises:
        RefusedChange: `bad_device`.
    """
    if not _DEVICE_ID.fullmatch(device_id):
        raise RefusedChange("a device id is 1 to 64 of A-Z a-z 0-9 . _ - (and ~n)", "bad_device")
    if is_server(device_id) and not allow_server:
        raise RefusedChange("device ids that start with server are reserved", "bad_device")


def owner_of(device_id: str) -> str:
    """Return the device whose incarnation an id is: `phone` for `phone~2`."""
    return device_id.partition("~")[0]


def next_incarnation(device_id: str) -> str:
    """Return the id under which a cloned or restored device goes on: `phone` -> `phone~2` -> `phone~3`."""
    name, _, number = device_id.partition("~")
    return f"{name}~{int(number or 1) + 1}"


def _bad(why: str) -> RefusedChange:
    return RefusedChange(why, "bad_key")
