"""Which paths of a folder sync: fixed exceptions, flags, `.tidenoteignore` files, and sensible defaults.

Knows names only and touches no disk: whoever walks the folder hands the ignore files over (`IgnoreRules.load`).
Ignoring is symmetric: the planner asks the same rules about remote paths, so what is ignored is neither sent nor
written, and its absence is never a deletion.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from pathspec import GitIgnoreSpec

from tidenote.core.keys import STATE_FOLDER
from tidenote.errors import ConfigError

IGNORE_FILE: Final = ".tidenoteignore"
"""Has gitignore syntax; those in subfolders hold for their subfolder, and win over those above."""

TEMP_PREFIX: Final = ".tidenote-tmp-"
"""How the names of our own temporary files start, so that nobody mistakes one for a note."""

_FOLDER_MARK: Final = "ps_d"
"""The group of pathspec's regular expressions that matches the slash after a folder's name."""

_FIXED: Final = frozenset((".git", STATE_FOLDER))

_DEFAULT_NAMES: Final = re.compile(
    "|".join(
        (
            r"\.trash",
            r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini|\.Spotlight-V100|\.Trash(es|-\d+)|\.fseventsd|lost\+found",
            r".*\.sw[a-p]|4913|.*~|\.#.*|#.*#|~\$.*|\.~lock\..*#|\.goutputstream-.*",
            r".*\.(tmp|temp|part|crdownload|download)",
            r"\.syncthing\..*|~syncthing~.*",
        )
    )
)
"""Names of what systems, editors and other tools leave behind; `.tidenoteignore` may let one in again with `!`."""

_DEFAULT_PATHS: Final = re.compile(r"(?:.*/)?\.obsidian/workspace[^/]*")
"""Which panes are open changes with every click and differs between devices."""


class IgnoreRules:
    """What is ignored in one folder.

    In the order in which they decide: `.git`, `.tidenote` and our temporary files, always; `except_globs`;
    `only_globs`; hidden names, unless `hidden`; the ignore files, the deepest first; the defaults.

    Args:
        hidden: whether files and folders whose names start with a dot sync (`.obsidian`, ...).
        only_globs: if any, gitignore patterns that a file must match.
        except_globs: gitignore patterns of files and folders to leave out.

    Raises:
        ConfigError: a glob is malformed.
    """

    def __init__(
        self, *, hidden: bool = False, only_globs: Iterable[str] = (), except_globs: Iterable[str] = ()
    ) -> None:
        self.hidden = hidden
        self._only = _spec("--only", only_globs)
        self._except = _spec("--except", except_globs)
        self._files: dict[str, GitIgnoreSpec] = {}
        self._verdicts: dict[str, bool] = {"": False}

    def fresh(self) -> IgnoreRules:
        """Return the same rules without any ignore file, for a new walk."""
        rules = IgnoreRules(hidden=self.hidden)
        rules._only, rules._except = self._only, self._except
        return rules

    def load(self, folder: str, text: str) -> list[str]:
        """Take in the ignore file of a folder, and return the lines that are no patterns.

        Args:
            folder: relative path, `""` for the root.
            text: the file's text; one malformed line does not spoil the others.
        """
        good, bad = [], []
        for line in text.removeprefix("\ufeff").splitlines():
            try:
                GitIgnoreSpec.from_lines([line])
                good.append(line)
            except ValueError:
                bad.append(line)
        self._files[folder] = GitIgnoreSpec.from_lines(good)
        self._verdicts = {"": False}
        return bad

    def ignored(self, path: str, *, folder: bool = False) -> bool:
        """Say whether a path does not sync, by itself or because a folder above it does not.

        Args:
            path: relative, NFC, `/`-separated.
            folder: whether it is a folder.
        """
        above, _, _ = path.rpartition("/")
        if self._folder_ignored(above):
            return True
        return self._folder_ignored(path) if folder else self._verdict(path, folder=False)

    def _folder_ignored(self, folder: str) -> bool:
        known = self._verdicts.get(folder)
        if known is None:
            above, _, _ = folder.rpartition("/")
            known = self._verdicts[folder] = self._folder_ignored(above) or self._verdict(folder, folder=True)
        return known

    def _verdict(self, path: str, *, folder: bool) -> bool:
        """Judge a path by itself: nothing above it is ignored."""
        name = path.rpartition("/")[2]
        asked = path + "/" if folder else path
        if is_fixed(name):
            return True
        if self._except is not None and self._except.match_file(asked):
            return True
        # A folder may hold files that match, so the globs of --only never prune one.
        if self._only is not None and not folder and not self._only.match_file(asked):
            return True
        if name.startswith(".") and not self.hidden:
            return True
        said = self._said_by_files(path, asked)
        return is_default(path, name) if said is None else said

    def _said_by_files(self, path: str, asked: str) -> bool | None:
        if not self._files:
            return None
        folder = path
        while folder:
            folder = folder.rpartition("/")[0]
            if spec := self._files.get(folder):
                said = _last_word(spec, asked[len(folder) + 1 :] if folder else asked)
                if said is not None:
                    return said
        return None


def is_fixed(name: str) -> bool:
    """Say whether a name never syncs, whatever the rules: `.git`, `.tidenote` as any disk folds them, our own files."""
    if name.startswith(TEMP_PREFIX):
        return True
    visible = "".join(character for character in name if unicodedata.category(character) != "Cf")
    return visible.casefold().rstrip(". ") in _FIXED


def is_default(path: str, name: str) -> bool:
    """Say whether a path is ignored unless an ignore file lets it in."""
    return bool(_DEFAULT_NAMES.fullmatch(name) or _DEFAULT_PATHS.fullmatch(path))


def _last_word(spec: GitIgnoreSpec, asked: str) -> bool | None:
    """Return what the last pattern that matches this very path says; None if none does.

    `GitIgnoreSpec.check_file` judges a path together with the folders above it, which gets `*`, `!*/`, `!*.md` wrong.
    We walk from the top as git does, so a match by a folder above (its mark lies before the end) does not count.
    """
    for pattern in reversed(list(spec.patterns)):
        if pattern.include is None or pattern.regex is None:
            continue
        match = None
        for match in pattern.regex.finditer(asked):
            if match.groupdict().get(_FOLDER_MARK) is None:
                break
        if match is None:
            continue
        at_end = match.end() == len(asked)
        marked = match.groupdict().get(_FOLDER_MARK) is not None
        # A folder's slash that is matched without a mark is that of `a/**`: all that is in a, but not a.
        if at_end if marked else not (at_end and match.group().endswith("/")):
            return pattern.include
    return None


def _spec(flag: str, globs: Iterable[str]) -> GitIgnoreSpec | None:
    lines = list(globs)
    try:
        return GitIgnoreSpec.from_lines(lines) if lines else None
    except ValueError as error:
        raise ConfigError(f"{flag} {' '.join(lines)}: {error}") from None
