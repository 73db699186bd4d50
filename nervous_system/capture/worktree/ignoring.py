"""Which files of a work tree are left out: ``.gitignore``, ``.git/info/exclude`` and ``.enchantedignore``.

The patterns are gitignore(5)'s. As there, a deeper file wins over a higher one, nothing below an ignored folder is
taken back in, and what is recorded already stays recorded: whoever asks must know what that is. ``.enchantedignore``
has the last word in its folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

GIT_RULES = b".gitignore"
OWN_RULES = b".enchantedignore"
GIT_EXCLUDES = b".git/info/exclude"
# Git matches bytes, not characters: "?" is one of them.
_BYTES = "latin-1"
# pathspec's patterns match what lies in a folder that they match as well, and name the slash where that begins.
_FOLDER_MARK = "ps_d"
_ANY_FOLDER = f"(?P<{_FOLDER_MARK}>/)"

Read = Callable[[bytes], bytes | None]
"""Reads a file of the work tree; None where there is none."""


def is_rules(path: bytes) -> bool:
    """Whether a path holds rules, so that its change changes what is ignored."""
    return path.rpartition(b"/")[2] in (GIT_RULES, OWN_RULES) or path == GIT_EXCLUDES


class IgnoreRules:
    """The rules of one work tree, each folder's read once.

    Args:
        read: reads a file of the tree.
        also_ignored: whether what git ignores is taken nevertheless; ``.enchantedignore`` holds in either case.
        own: folders that are never recorded, whatever the rules say, such as where the records themselves go.
    """

    def __init__(self, read: Read, *, also_ignored: bool = False, own: Iterable[bytes] = ()) -> None:
        self._read = read
        self._also_ignored = also_ignored
        self._own = frozenset(own)
        # By folder: the rules that lie in it, if any; and whether it is ignored itself.
        self._rules: dict[bytes, tuple[_Rule, ...]] = {}
        self._folders: dict[bytes, bool] = {b"": False}

    def forget(self) -> None:
        """Reads all rules again when they are next asked for."""
        self._rules.clear()
        self._folders = {b"": False}

    def is_own(self, path: bytes) -> bool:
        """Whether a path is one of those that are never recorded."""
        return path in self._own

    def ignores_folder(self, path: bytes) -> bool:
        """Whether a folder is ignored, by itself or with one that it lies in."""
        known = self._folders.get(path)
        if known is None:
            parent = path.rpartition(b"/")[0]
            known = path in self._own or self.ignores_folder(parent) or self._verdict(path, b"/")
            self._folders[path] = known
        return known

    def ignores_file(self, path: bytes) -> bool:
        """Whether a file, or a symlink, is ignored."""
        return self.ignores_folder(path.rpartition(b"/")[0]) or self._verdict(path, b"")

    def _verdict(self, path: bytes, suffix: bytes) -> bool:
        """What the rules of the nearest folder that has any for this path say."""
        folder, _, name = path.rpartition(b"/")
        relative = (name + suffix).decode(_BYTES)
        while True:
            rules = self._rules_of(folder)
            found = next(filter(None, (rule.says(relative) for rule in rules)), None)
            if found is not None:
                return found is Verdict.IGNORED
            if not folder:
                return False
            folder, _, part = folder.rpartition(b"/")
            relative = f"{part.decode(_BYTES)}/{relative}"

    def _rules_of(self, folder: bytes) -> tuple[_Rule, ...]:
        if folder not in self._rules:
            self._rules[folder] = self._load(folder)
        return self._rules[folder]

    def _load(self, folder: bytes) -> tuple[_Rule, ...]:
        prefix = folder + b"/" if folder else b""
        names = [] if self._also_ignored else [prefix + GIT_RULES]
        if not folder and not self._also_ignored:
            names.insert(0, GIT_EXCLUDES)
        contents = [self._read(name) for name in [*names, prefix + OWN_RULES]]
        lines = [line.decode(_BYTES) for content in contents if content for line in content.split(b"\n")]
        return tuple(rule for line in reversed(lines) if (rule := _rule(line)) is not None)


class Verdict(Enum):
    """What a pattern says of a path that it matches."""

    IGNORED = 1
    TAKEN = 2


@dataclass(frozen=True, slots=True)
class _Rule:
    """One pattern, asked about a path alone: what it says of the folders above, those are asked themselves."""

    regex: re.Pattern[str]
    verdict: Verdict

    def says(self, relative: str) -> Verdict | None:
        """The verdict on a path relative to the pattern's folder, a folder's with a slash at its end."""
        if self.regex.pattern == _ANY_FOLDER:
            return self.verdict if relative.endswith("/") else None
        match = self.regex.search(relative)
        if match is None:
            return None
        if _FOLDER_MARK in self.regex.groupindex:
            mark = match.end(_FOLDER_MARK)
            return self.verdict if mark in (-1, len(relative)) else None
        # "a/**" is about what lies in a folder and not about the folder.
        is_inside = self.regex.pattern.endswith("/")
        return None if is_inside and match.end() == len(relative) else self.verdict


def _rule(line: str) -> _Rule | None:
    """A line's pattern; None where it has none, or one that git passes over, such as a lone exclamation mark."""
    if line.strip() in ("/", "!/"):
        return None
    if line.endswith("/**/"):
        # The folders in a folder, which pathspec takes for that folder.
        line = f"{line}*/"
    try:
        pattern = GitIgnoreSpecPattern(line)
    except ValueError:
        return None
    if pattern.regex is None or pattern.include is None:
        return None
    return _Rule(pattern.regex, Verdict.IGNORED if pattern.include else Verdict.TAKEN)
