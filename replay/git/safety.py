"""Which of a tree's entries can be recorded: those that any file system can hold and no restore is harmed by.

What is left out of a tree depends on that tree alone, so that it is the same wherever an import begins or goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import normalize

from nervous_system.contract import SYMLINK_MODE
from nervous_system.paths import PathError, check_link_target, check_links, check_resource, resource_from_bytes
from replay.git.changes import Entry, FileChange

# The content of a symlink: its target.
Target = Callable[[Entry], bytes]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A path that cannot be recorded: its text form, and what is wrong with it as the end of a sentence."""

    resource: str
    reason: str


class TreeView:
    """A tree, and which of its entries are left out.

    Args:
        target: reads a symlink's target.
        entries: the tree to begin with.
    """

    def __init__(self, target: Target, entries: Iterable[tuple[bytes, Entry]] = ()) -> None:
        self._target = target
        self._entries: dict[bytes, Entry] = {}
        # What breaks a rule by itself; what collides with another path; links that other links lead out.
        self._unsafe: dict[bytes, LeftOut] = {}
        self._colliding: dict[bytes, LeftOut] = {}
        self._leading_out: dict[bytes, LeftOut] = {}
        self._links: dict[bytes, Entry] = {}
        self._names = _Names()
        self.left_out: dict[bytes, LeftOut] = {}
        """By path; never changed in place."""
        self.update(FileChange(path, None, entry) for path, entry in entries)

    def update(self, changes: Iterable[FileChange]) -> None:
        """Makes the tree what it is after the changes."""
        links = contested = False
        for change in (half for whole in changes for half in whole.halves()):
            links = links or change.path in self._links
            contested = self._remove(change.path) or contested
            if change.after is not None:
                contested = self._add(change.path, change.after) or contested
                links = links or change.path in self._links
        if contested:
            self._colliding = dict(self._names.losers(path for path in self._entries if path not in self._unsafe))
        if links or (contested and self._links):
            self._leading_out = self._find_leading_out()
        if contested or links or self._unsafe or self.left_out:
            self.left_out = self._unsafe | self._colliding | self._leading_out

    def filter(self, changes: Iterable[FileChange]) -> list[FileChange]:
        """Makes the changes, and says what they change in the tree without what is left out."""
        changes, hidden = list(changes), self.left_out
        self.update(changes)
        if not hidden and not self.left_out:
            return changes
        touched = {half.path for change in changes for half in change.halves()}
        # A path may come into view, or go, because of what happened to another.
        turned = (hidden.keys() ^ self.left_out.keys()) & self._entries.keys() - touched
        same = (FileChange(path, self._entries[path], self._entries[path]) for path in sorted(turned))
        seen = (self._seen(change, hidden) for change in [*changes, *same])
        return [change for part in seen for change in part]

    def _seen(self, change: FileChange, hidden: dict[bytes, LeftOut]) -> Iterator[FileChange]:
        if change.renamed_from is not None:
            if change.renamed_from not in hidden and change.path not in self.left_out:
                yield change
            else:
                for half in change.halves():
                    yield from self._seen(half, hidden)
            return
        before = None if change.path in hidden else change.before
        after = None if change.path in self.left_out else change.after
        if before != after:
            yield FileChange(change.path, before, after)

    def _add(self, path: bytes, entry: Entry) -> bool:
        """Takes an entry in; says whether its name is contested."""
        self._entries[path] = entry
        if problem := _problem(path, entry, self._target):
            self._unsafe[path] = problem
            return False
        if entry.mode == SYMLINK_MODE:
            self._links[path] = entry
        return self._names.add(path)

    def _remove(self, path: bytes) -> bool:
        if self._entries.pop(path, None) is None or self._unsafe.pop(path, None) is not None:
            return False
        self._links.pop(path, None)
        return self._names.remove(path)

    def _find_leading_out(self) -> dict[bytes, LeftOut]:
        paths = {resource_from_bytes(path): path for path in self._links if path not in self._colliding}
        targets = {resource: self._target(self._links[path]) for resource, path in paths.items()}
        found: dict[bytes, LeftOut] = {}
        while targets:
            try:
                check_links(targets)
                break
            except PathError as error:
                found[paths[error.resource]] = LeftOut(error.resource, error.reason)
                del targets[error.resource]
        return found


def _problem(path: bytes, entry: Entry, target: Target) -> LeftOut | None:
    """What is wrong with an entry by itself."""
    try:
        resource = resource_from_bytes(path)
        check_resource(resource)
        if entry.mode == SYMLINK_MODE:
            check_link_target(resource, target(entry))
    except PathError as error:
        return LeftOut(error.resource, error.reason)
    return None


class _Names:
    """The names in each folder, and which of those that some file system takes for one name wins: the first in order.

    Counted by the entries that have them, so that a folder's name goes with the last of its files.
    """

    def __init__(self) -> None:
        self._spellings: dict[str, dict[str, int]] = {}

    def add(self, path: bytes) -> bool:
        """Counts a path's names; says whether one of them is contested."""
        contested = False
        for place, name in _places(path):
            spellings = self._spellings.setdefault(place, {})
            spellings[name] = spellings.get(name, 0) + 1
            contested = contested or len(spellings) > 1
        return contested

    def remove(self, path: bytes) -> bool:
        """Takes a path's names back; says whether one of them was contested."""
        contested = False
        for place, name in _places(path):
            spellings = self._spellings[place]
            contested = contested or len(spellings) > 1
            spellings[name] -= 1
            if not spellings[name]:
                del spellings[name]
            if not spellings:
                del self._spellings[place]
        return contested

    def losers(self, paths: Iterable[bytes]) -> Iterator[tuple[bytes, LeftOut]]:
        """Those of the paths that have a name which another wins."""
        for path in paths:
            for place, name in _places(path):
                winner = min(self._spellings[place])
                if name != winner:
                    reason = f"its part {name!r} cannot stand beside {winner!r} where case or form is ignored"
                    yield path, LeftOut(resource_from_bytes(path), reason)
                    break


def _places(path: bytes) -> Iterator[tuple[str, str]]:
    """For each part of a path: its folder as it is spelled with the folded part, and the part as it is spelled."""
    folder = ""
    for name in resource_from_bytes(path).split("/"):
        yield f"{folder}/{_folded(name)}", name
        folder = f"{folder}/{name}"


@lru_cache(maxsize=16_384)
def _folded(name: str) -> str:
    """What two names have in common that some file system takes for one (Unicode, D145), as in nervous_system.paths."""
    return name.lower() if name.isascii() else normalize("NFC", normalize("NFD", name).casefold())
