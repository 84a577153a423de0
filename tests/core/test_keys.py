from __future__ import annotations

import posixpath
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tidenote.core.keys import (
    MAX_KEY_BYTES,
    MAX_NAME_BYTES,
    check_device_id,
    check_key,
    key_of_path,
    marked_path,
    names_like,
    next_incarnation,
    owner_of,
    path_of_key,
    portability_problem,
)
from tidenote.errors import RefusedChange


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("a.md", "note:a.md"),
        ("a/b c/d.markdown", "note:a/b c/d.markdown"),
        ("A.MD", "note:A.MD"),
        ("board.canvas", "note:board.canvas"),
        ("a.png", "file:a.png"),
        ("a.md.png", "file:a.md.png"),
        ("README", "file:README"),
        (".md", "file:.md"),
        (".obsidian/app.json", "note:.obsidian/app.json"),
        ("notes.md/a", "file:notes.md/a"),
        ("a.", "file:a."),
        ("a.md ", "file:a.md "),
        ("日本語/メモ.txt", "note:日本語/メモ.txt"),
        ("👩‍👩‍👧.md", "note:👩‍👩‍👧.md"),
        # What only looks like a way out is a name like any other.
        ("%2e%2e/a.md", "note:%2e%2e/a.md"),
        ("~/a.md", "note:~/a.md"),
        ("$HOME/a.md", "note:$HOME/a.md"),
        ("...", "file:..."),
        ("..a/b..", "file:..a/b.."),
        ("-rf", "file:-rf"),
        ("note:a.md", "note:note:a.md"),
        ("ab:c.md", "note:ab:c.md"),
        (".tidenoteignore", "file:.tidenoteignore"),
        ("tidenote/a.md", "note:tidenote/a.md"),
        ("CON.md", "note:CON.md"),
    ],
)
def test_one_path_has_one_key(path: str, key: str) -> None:
    assert key_of_path(path) == key
    assert path_of_key(key) == path


def test_a_path_gets_its_normal_form() -> None:
    decomposed = unicodedata.normalize("NFD", "Grüße/ä.md")
    assert key_of_path(decomposed) == "note:" + unicodedata.normalize("NFC", decomposed)


BAD_PATHS = [
    "",
    "/",
    "/etc/passwd",
    "//a.md",
    "a//b.md",
    "a/",
    ".",
    "..",
    "./a.md",
    "../a.md",
    "../../x",
    "a/../../x",
    "a/..",
    "a/./b",
    "a\\b.md",
    "..\\..\\x",
    "C:/a.md",
    "c:a.md",
    "C:",
    "a\0.md",
    "a\n.md",
    "a\x7f.md",
    "a\x85.md",
    "\ud800.md",
    unicodedata.normalize("NFD", "ä.md"),
    "\u212a.md",  # the Kelvin sign, whose normal form is K
    # The daemon's own folder, in every form that some disk takes for it.
    ".tidenote",
    ".tidenote/journal.db",
    "a/.tidenote/b.md",
    ".TideNote/x",
    ".TIDENOTE",
    ".tidenote./x",
    ".tidenote /x",
    ".tidenote . ./x",
    ".tide\u200cnote/x",
    "\u200d.tidenote/x",
    ".tidenote\ufeff/x",
    ".t\u0131denote/x",
    # Sizes, in bytes.
    "a" * 256,
    "ä" * 128,
    "/".join(["a" * 200] * 6),
]


@pytest.mark.parametrize("path", BAD_PATHS)
@pytest.mark.parametrize("kind", ["note", "file"])
def test_bad_paths_have_no_key(path: str, kind: str) -> None:
    with pytest.raises(RefusedChange) as refusal:
        check_key(f"{kind}:{path}")
    assert refusal.value.code == "bad_key"


@pytest.mark.parametrize("path", [path for path in BAD_PATHS if unicodedata.is_normalized("NFC", path)])
def test_bad_paths_on_a_disk_get_no_key(path: str) -> None:
    with pytest.raises(RefusedChange) as refusal:
        key_of_path(path)
    assert refusal.value.code == "bad_key"


@pytest.mark.parametrize(
    "key",
    ["", "a.md", "note", "note:", ":a.md", "Note:a.md", "NOTE:a.md", "folder:a", "file:a.md", "note:a.png", "note:.md"],
)
def test_bad_kinds(key: str) -> None:
    with pytest.raises(RefusedChange) as refusal:
        path_of_key(key)
    assert refusal.value.code == "bad_key"


def test_the_longest_names_and_keys() -> None:
    check_key("file:" + "a" * 255)
    check_key("file:" + "ä" * 127)
    longest = "file:" + "/".join(["a" * 100] * 10) + "/" + "a" * 9
    assert len(longest) == MAX_KEY_BYTES
    check_key(longest)
    with pytest.raises(RefusedChange):
        check_key(longest + "a")


@pytest.mark.parametrize(
    ("path", "like"),
    [
        ("a/b.md", "a/b (2).md"),
        ("a.b/c", "a.b/c (2)"),
        (".hidden", ".hidden (2)"),
        ("a.tar.gz", "a.tar (2).gz"),
        ("a.", "a (2)."),
        ("a/" + "漢" * 84 + ".md", "a/" + "漢" * 82 + " (2).md"),
        ("漢" * 85, "漢" * 83 + " (2)"),
        # No room for anything before such an extension.
        ("a." + "x" * 253, "a." + "x" * 249 + " (2)"),
    ],
)
def test_names_like_a_name_are_no_longer_than_names_can_be(path: str, like: str) -> None:
    names = names_like(path)
    assert [next(names), next(names)] == [path, like]
    assert next(names) == like.replace("(2)", "(3)")


@given(st.text(st.sampled_from("ab .漢é👩"), min_size=1, max_size=255), st.sampled_from(["2", "imported 12", "d" * 70]))
@example("a.md." + "漢" * 83, "2")
def test_a_name_like_a_name_is_of_the_same_kind(name: str, mark: str) -> None:
    try:
        key = key_of_path(name)
    except RefusedChange:
        return
    like = marked_path(path_of_key(key), mark)
    assert like.endswith(f" ({mark})") or f" ({mark})." in like
    assert key_of_path(like) == f"{key.partition(':')[0]}:{like}"
    assert len(like.encode()) <= MAX_NAME_BYTES


ALPHABET = "./\\:~%aA.\0\n\u200c Tidenotem25eEcC*ä\u0308\ud800-$"


def refusal_of(key: str) -> str | None:
    try:
        check_key(key)
    except RefusedChange as refusal:
        return refusal.code
    return None


def assert_stays_inside(key: str) -> None:
    root = "/srv/vault"
    path = path_of_key(key)
    resolved = posixpath.normpath(posixpath.join(root, path))
    assert resolved.startswith(root + "/")
    assert resolved == f"{root}/{path}"
    names = path.split("/")
    assert not {"", ".", ".."} & set(names)
    assert all(name.casefold().rstrip(". ") != ".tidenote" for name in names)
    assert key_of_path(path) == key
    assert key.encode().decode() == key


@given(st.text() | st.text(ALPHABET), st.sampled_from(["note:", "file:", ""]))
@example("../x.md", "note:")
def test_a_key_is_refused_or_stays_inside(path: str, kind: str) -> None:
    if refusal_of(kind + path) is None:
        assert_stays_inside(kind + path)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_an_accepted_path_round_trips_in_its_normal_form(path: str) -> None:
    try:
        key = key_of_path(path)
    except RefusedChange:
        return
    assert path_of_key(key) == unicodedata.normalize("NFC", path)
    assert key_of_path(unicodedata.normalize("NFD", path)) == key


@pytest.mark.parametrize(
    "path",
    [
        "CON",
        "con.md",
        "a/NUL.txt",
        "COM1",
        "com¹.md",
        "LPT9.tar.gz",
        "aux",
        "PRN .md",
        "ab:c.md",
        "what?.md",
        "a*b",
        'a"b',
        "a<b",
        "a|b",
        "a./b",
        "a ",
        "a/b.",
    ],
)
def test_names_that_windows_cannot_hold_are_valid_and_reported(path: str) -> None:
    check_key(key_of_path(path))
    assert portability_problem(path)


@pytest.mark.parametrize("path", ["a.md", "CONTENT.md", "COM.md", "COM10", "lpt", "a/.hidden", "日本/语.md", "a b.md"])
def test_names_that_all_systems_can_hold(path: str) -> None:
    assert portability_problem(path) is None


@pytest.mark.parametrize("device_id", ["a", "phone", "A-Z_0.9", "x" * 64, "phone~2", "phone~999999", "x" * 64 + "~2"])
def test_device_ids(device_id: str) -> None:
    check_device_id(device_id)


@pytest.mark.parametrize(
    "device_id",
    [
        "",
        "x" * 65,
        "a b",
        "ä",
        "a/b",
        "~2",
        "a~",
        "a~0",
        "a~x",
        "a~2~3",
        "a~1000000",
        "a\n",
        "server",
        "server.1-x",
        "servers",
    ],
)
def test_bad_device_ids(device_id: str) -> None:
    with pytest.raises(RefusedChange) as refusal:
        check_device_id(device_id)
    assert refusal.value.code == "bad_device"


def test_only_a_server_may_be_called_server() -> None:
    check_device_id("server.1-9f2c", allow_server=True)
    with pytest.raises(RefusedChange):
        check_device_id("server 1", allow_server=True)


def test_incarnations() -> None:
    assert [next_incarnation("phone"), next_incarnation("phone~2")] == ["phone~2", "phone~3"]
    assert [owner_of("phone"), owner_of("phone~3")] == ["phone", "phone"]
