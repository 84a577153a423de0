"""Names, contents and kinds of files that folders really have, and that tools for notes stumble over."""

from __future__ import annotations

import json
import os
import subprocess
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

from e2e.processes import World, eventually, tidenote, tree_of, world

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(280)]

CONTENTS = {
    "crlf.md": b"# One\r\n\r\ntwo\r\nno end",
    "mixed ends.md": b"a\r\nb\nc\rd\n",
    "bom.md": b"\xef\xbb\xbf# Begins with a mark\n",
    "utf-16.md": "# Wide\n".encode("utf-16"),
    "latin-1.md": b"caf\xe9 \xff\xfe\n",
    "half a character.md": "말".encode()[:2],
    "surrogate.md": b"\xed\xa0\x80\n",
    "nul.md": b"before\0after\n",
    "empty.md": b"",
    "blank.md": b"\n",
    "no end.md": b"last line without an end",
    "one line.md": b"x" * 10_000_000,
    "nothing known": b"\0\1\2",
    "picture.PNG": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100,
    "drawing.canvas": b'{"nodes": []}',
}
NAMES = (
    "한국어 노트.md",
    "日記/二千/メモ.md",
    "emoji 🪵🔥.md",
    "spaces  and (brackets) [x] #tag & 100%.md",
    "'quoted' \"twice\" `back`.md",
    "-dash first.md",
    "dots...md",
    "trailing space .md",
    "CON.md",
    "what: why?.md",
    "x" * 250 + ".md",
    "/".join(["deep"] * 30) + "/note.md",
)
NFC = unicodedata.normalize("NFC", "Café ñandú.md")
NFD = unicodedata.normalize("NFD", NFC)
SECOND = NFC.replace(".md", " (2).md")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def put(folder: Path, name: str, data: bytes = b"") -> Path:
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data or f"text of {name}\n".encode())
    return target


def push(here: World, *changes: dict[str, object]) -> None:
    """Write as a plain client does."""
    with connect(f"{here.endpoint}?device_id=plain") as socket:
        socket.send(json.dumps({"type": "sync_push", "changes": changes, "last_ack": 0, "id": 1}))
        while (answer := json.loads(socket.recv(timeout=20))).get("id") != 1:
            pass
        assert not answer.get("rejected"), answer


def test_every_name_and_content_arrives_byte_for_byte(here: World) -> None:
    a, b = here.folder("a"), here.folder("b")
    for name, data in CONTENTS.items():
        (a / name).write_bytes(data)
    for name in NAMES:
        put(a, name)
    expected = tree_of(a)
    here.serve()
    here.once("a")
    assert tree_of(a) == expected
    here.once("b")
    assert tree_of(b) == expected
    # The other way, and as edits: nothing is translated on the way back either.
    for name, data in CONTENTS.items():
        (b / name).write_bytes(data + b"\r\n\xef\xbb\xbf\xff")
    here.once("b")
    here.once("a")
    assert tree_of(a) == tree_of(b)
    assert (a / "crlf.md").read_bytes() == CONTENTS["crlf.md"] + b"\r\n\xef\xbb\xbf\xff"
    for name in ("a", "b"):
        assert "0 operations" in here.once(name)


def test_what_cannot_sync_is_told_and_holds_up_nothing(here: World) -> None:
    """Names that are no UTF-8, links, pipes: each is one line, and stays as it is."""
    a, b = here.folder("a"), here.folder("b")
    outside = here.folder("outside")
    put(outside, "secret.md", b"not for others\n")
    put(a, "good.md")
    bad = os.fsencode(a) + b"/caf\xe9.md"
    with open(bad, "wb") as file:  # noqa: PTH123 a name that is no text
        file.write(b"latin-1 name\n")
    (a / "link.md").symlink_to(outside / "secret.md")
    (a / "linked folder").symlink_to(outside, target_is_directory=True)
    (a / "nowhere.md").symlink_to(a / "missing")
    (a / "loop").symlink_to(a)
    os.mkfifo(a / "pipe.md")
    put(a, "back\\slash.md")
    here.serve()
    done = tidenote(*here.link("a"), "--once")
    told = [line for line in done.stdout.splitlines() if line.startswith("not synced: ")]
    for part in ("caf\\xe9.md", "link.md", "linked folder", "nowhere.md", "loop", "pipe.md", "back\\slash.md"):
        assert sum(part in line for line in told) >= 1, (part, told)
    here.once("b")
    assert tree_of(b) == {"good.md": b"text of good.md\n"}
    # A link at a name that others write to is not written through, and not replaced.
    put(b, "linked folder/new.md")
    put(b, "link.md", b"from b\n")
    here.once("b")
    held = tidenote("sync", a, "--once", check=False)
    assert held.returncode == 4, held.stdout
    assert tree_of(outside) == {"secret.md": b"not for others\n"}
    assert (a / "link.md").is_symlink()
    assert Path(os.fsdecode(bad)).read_bytes() == b"latin-1 name\n"
    # What is in the way goes, and the note comes.
    (a / "link.md").unlink()
    (a / "linked folder").unlink()
    here.once("a")
    assert tree_of(a)["link.md"] == b"from b\n"
    assert tree_of(a)["linked folder/new.md"] == b"text of linked folder/new.md\n"


def test_a_folder_that_becomes_a_link_under_way_is_not_left(here: World) -> None:
    a, b = here.folder("a"), here.folder("b")
    outside = here.folder("outside")
    put(a, "notes/one.md")
    here.serve()
    here.sync("a")
    here.sync("b")
    here.settle("a", "b")
    eventually(lambda: here.told("b").get("state") == "synced", "b is done")
    (b / "notes").rename(here.root / "moved away")
    (b / "notes").symlink_to(outside, target_is_directory=True)
    put(a, "notes/one.md", b"edited\n")
    put(a, "notes/two.md")
    put(a, "sign of life.md")
    eventually((b / "sign of life.md").exists, "the rest goes on")
    eventually(lambda: here.told("b").get("state") == "attention", "b says so")
    assert tree_of(outside) == {}
    assert (a / "notes" / "one.md").read_bytes() == b"edited\n", "and nothing is deleted"
    (b / "notes").unlink()
    (here.root / "moved away").rename(b / "notes")
    here.settle("a", "b")
    assert (b / "notes" / "one.md").read_bytes() == b"edited\n"


def test_names_that_differ_only_in_case_or_normal_form(here: World) -> None:
    here.serve()
    a, b = here.folder("a"), here.folder("b")
    twins = ("Note.md", "note.md", "NOTE.md", "Dir/x.md", "dir/x.md")
    for name in twins:
        put(a, name)
    # Written by others, in a form that no key has: taken as the composed one.
    put(a, NFD, b"decomposed\n")
    here.sync("a")
    here.sync("b")
    expected = {**{name: f"text of {name}\n".encode() for name in twins}, NFC: b"decomposed\n"}
    eventually(lambda: tree_of(b) == expected, "all come, the accent composed")
    assert tree_of(a).keys() == {*twins, NFD}, "a keeps the name as it was"
    # Edits go both ways under both names.
    put(b, NFC, b"edited on b\n")
    eventually(lambda: (a / NFD).read_bytes() == b"edited on b\n", "the edit arrives under a's name")
    put(a, NFD, b"edited on a\n")
    eventually(lambda: (b / NFC).read_bytes() == b"edited on a\n", "and back")
    # Renames that change only the case: one note, whatever the disk.
    (a / "note.md").unlink()
    (a / "NOTE.md").unlink()
    eventually(lambda: not (b / "note.md").exists() and not (b / "NOTE.md").exists(), "two twins go")
    (a / "Note.md").rename(a / "nOTE.md")
    (a / "dir").rename(a / "DIR")
    eventually(lambda: tree_of(b).keys() == {"nOTE.md", "Dir/x.md", "DIR/x.md", NFC}, "renamed on b")
    assert (b / "nOTE.md").read_bytes() == b"text of Note.md\n"
    assert (b / "DIR" / "x.md").read_bytes() == b"text of dir/x.md\n"
    assert (b / "Dir" / "x.md").read_bytes() == b"text of Dir/x.md\n"
    here.once("c")
    assert tree_of(here.folder("c")) == tree_of(b)


def test_two_files_whose_names_differ_in_form_only_both_reach_everyone(here: World) -> None:
    """As an unpacked archive leaves them beside what was there: nobody has to rename anything."""
    here.serve()
    a, b = here.folder("a"), here.folder("b")
    put(a, NFC, b"composed\n")
    here.sync("a")
    here.sync("b")
    eventually(lambda: tree_of(b) == {NFC: b"composed\n"}, "the first one")
    put(a, NFD, b"decomposed\n")
    eventually(lambda: tree_of(b) == {NFC: b"composed\n", SECOND: b"decomposed\n"}, "the second one, too")
    assert tree_of(a) == {NFC: b"composed\n", NFD: b"decomposed\n"}, "under the names that they have"
    # Each is edited on either side.
    put(b, SECOND, b"second, edited on b\n")
    put(a, NFC, b"first, edited on a\n")
    eventually(lambda: (a / NFD).read_bytes() == b"second, edited on b\n", "an edit comes to the second")
    put(a, NFD, b"second, edited on a\n")
    eventually(lambda: (b / SECOND).read_bytes() == b"second, edited on a\n", "and goes out")
    eventually(lambda: (b / NFC).read_bytes() == b"first, edited on a\n", "so it does of the first")
    for process in here.started[1:]:
        process.kill()
    # A journal that is lost finds the same again, and nothing is doubled.
    for path in (a / ".tidenote").glob("journal.db*"):
        path.unlink()
    assert "0 operations" in here.once("a")
    assert "0 operations" in here.once("a")
    assert "0 operations" in here.once("b")
    # The first goes, the second is renamed: both are what they are elsewhere.
    (a / NFC).unlink()
    here.once("a")
    (a / NFD).rename(a / "renamed.md")
    here.once("a")
    here.once("b")
    assert tree_of(b) == {"renamed.md": b"second, edited on a\n"} == tree_of(a)


def test_twins_from_the_server_and_a_rename_by_case_are_never_a_deletion(here: World) -> None:
    """`A.md` and `a.md` written by a client that knows no disks; then a rename by case while nobody runs."""
    here.serve()
    push(
        here,
        {"key": "note:A.md", "value": "upper\n", "timestamp": 1, "device_id": "plain"},
        {"key": "note:a.md", "value": "lower\n", "timestamp": 2, "device_id": "plain"},
        {"key": "note:Folder/x.md", "value": "x\n", "timestamp": 3, "device_id": "plain"},
    )
    here.once("a")
    here.once("b")
    a, b = here.folder("a"), here.folder("b")
    assert tree_of(a) == {"A.md": b"upper\n", "a.md": b"lower\n", "Folder/x.md": b"x\n"} == tree_of(b)
    (a / "Folder").rename(a / "folder")
    assert "1 operation: 1 sent" in here.once("a")
    here.once("b")
    assert tree_of(b) == {"A.md": b"upper\n", "a.md": b"lower\n", "folder/x.md": b"x\n"}


def test_a_file_replaced_or_turned_into_a_folder_while_nobody_watches(here: World) -> None:
    here.serve()
    a, b = here.folder("a"), here.folder("b")
    for name in ("same stat.md", "to folder", "older.md", "swap 1.md", "swap 2.md"):
        put(a, name)
    put(a, "from folder/x.md")
    here.once("a")
    here.once("b")
    known = (a / "same stat.md").stat()
    # Same size and time, as a restored backup or a version control system leaves them.
    put(a, "new", b"TEXT OF same stat.md\n").replace(a / "same stat.md")
    os.utime(a / "same stat.md", ns=(known.st_atime_ns, known.st_mtime_ns))
    put(a, "older.md", b"from an older backup\n")
    os.utime(a / "older.md", (1_000_000_000, 1_000_000_000))
    (a / "to folder").unlink()
    put(a, "to folder/inside.md")
    (a / "from folder" / "x.md").unlink()
    (a / "from folder").rmdir()
    put(a, "from folder", b"now a file\n")
    (a / "swap 1.md").rename(a / "x")
    (a / "swap 2.md").rename(a / "swap 1.md")
    (a / "x").rename(a / "swap 2.md")
    here.once("a")
    here.once("b")
    tree = tree_of(b)
    assert tree == tree_of(a)
    assert tree["same stat.md"] == b"TEXT OF same stat.md\n"
    assert tree["older.md"] == b"from an older backup\n"
    assert tree["swap 1.md"] == b"text of swap 2.md\n"
    assert tree["to folder/inside.md"]
    assert tree["from folder"] == b"now a file\n"
    for name in ("a", "b"):
        assert "0 operations" in here.once(name)


def test_files_that_change_and_vanish_while_they_are_read(here: World) -> None:
    """Another program writes without a pause: what arrives was in the file at some moment, whole, and the last does."""
    here.serve()
    a, b = here.folder("a"), here.folder("b")
    daemon = here.sync("a")
    here.sync("b")
    put(a, "sign of life.md")
    eventually((b / "sign of life.md").exists, "both run")
    script = """
import os, sys
folder = sys.argv[1]
for number in range(400):
    with open(f"{folder}/churn {number % 7}.bin", "wb") as file:
        for part in range(20):
            file.write(f"{number:06d}".encode() * 2000)
    if number % 3 == 0:
        os.unlink(f"{folder}/churn {number % 7}.bin")
    with open(f"{folder}/log.md", "a") as file:
        file.write(f"line {number}\\n")
"""
    subprocess.run(["python3", "-c", script, str(a)], check=True, timeout=100)
    put(a, "end.md")
    eventually((b / "end.md").exists, "the last file arrives")
    tree = here.settle("a", "b")
    assert tree["log.md"].decode().splitlines() == [f"line {number}" for number in range(400)]
    for name, data in tree.items():
        if name.startswith("churn"):
            assert data == data[:6] * 40_000
    assert daemon.running
    assert "Traceback" not in here.log_of("a") + here.log_of("b") + here.log_of("server")
