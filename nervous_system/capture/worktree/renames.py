"""Which of the files that are gone stand elsewhere now, and in which order a burst's changes can be recorded. Pure."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from nervous_system.capture.worktree.files import Entry
from nervous_system.paths import folded

# Of the lines of two texts, how many must be the same for one to be the other moved and edited (as git's -M50%).
SIMILAR = 0.5


@dataclass(frozen=True, slots=True)
class Sides:
    """What is gone, and what is new, in one look at the tree."""

    gone: Mapping[bytes, Entry]
    new: Mapping[bytes, Entry]


def pair(sides: Sides, is_similar: Callable[[bytes, bytes], bool]) -> dict[bytes, bytes]:
    """New paths, each with the one that it had before.

    The same inode whose content is the same or similar comes first (an inode that is free again is given to the next
    file that is made), then the same content under the same name, then the same content.

    Args:
        sides: what is gone and what is new.
        is_similar: whether the content at a new path (second) may come from the one at a path that is gone (first).
    """
    inodes = {entry.signature.inode: path for path, entry in sides.gone.items()}
    contents: defaultdict[tuple[str, int], list[bytes]] = defaultdict(list)
    for path in sorted(sides.gone):
        if sides.gone[path].signature.size_bytes:
            contents[_kind(sides.gone[path])].append(path)

    def same_inode(path: bytes, entry: Entry) -> Iterator[bytes]:
        source = inodes.get(entry.signature.inode)
        if source is not None and _kind(sides.gone[source])[1] == _kind(entry)[1]:
            same = sides.gone[source].digest == entry.digest
            yield from [source] if same or is_similar(source, path) else []

    def same_name(path: bytes, entry: Entry) -> Iterator[bytes]:
        yield from (source for source in contents[_kind(entry)] if _name(source) == _name(path))

    def same_content(_: bytes, entry: Entry) -> Iterator[bytes]:
        yield from contents[_kind(entry)]

    pairs: dict[bytes, bytes] = {}
    free = set(sides.gone)
    for candidates in (same_inode, same_name, same_content):
        for path in sorted(sides.new.keys() - pairs.keys()):
            source = next((each for each in candidates(path, sides.new[path]) if each in free), None)
            if source is not None:
                pairs[path] = source
                free.discard(source)
    return pairs


def in_order(gone: Iterable[bytes], pairs: Mapping[bytes, bytes]) -> tuple[list[bytes], dict[bytes, bytes]]:
    """What must be recorded as deleted first, and the renames that can be recorded one after the other then.

    A rename gets in another's way where the one's target is, or has for a folder, or is a folder of, the other's
    source, on any file system: it is split into a deletion and a creation.
    """
    names = Counter(name for source in pairs.values() for name in _names(source))
    places: Counter[bytes] = Counter()
    for name, count in names.items():
        places[name.place] += count
    kept: dict[bytes, bytes] = {}
    for target, source in sorted(pairs.items()):
        own = Counter(_names(source))
        own_places = Counter(name.place for name in own)
        is_free = all(
            # Sources may only share the target's folders, as it spells them.
            (others := places[name.place] - own_places[name.place]) == 0
            or (not name.is_last and others == names[name] - own[name])
            for name in _names(target)
        )
        if is_free and not _entangled(target, source):
            kept[target] = source
    deleted = sorted(set(gone) - set(kept.values()))
    return deleted, kept


def line_similarity(before: bytes, after: bytes) -> float:
    """Which share of two texts' lines is the same, whatever their order: 0 to 1."""
    old, new = Counter(before.split(b"\n")), Counter(after.split(b"\n"))
    return 2 * (old & new).total() / (old.total() + new.total())


def _name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


def _kind(entry: Entry) -> tuple[str, int]:
    """Content and type: a file never becomes a link by being moved."""
    return entry.digest, entry.mode & 0o170000


def _entangled(target: bytes, source: bytes) -> bool:
    """Whether one is a folder of the other."""
    above = [{name.place for name in _names(path) if not name.is_last} for path in (target, source)]
    return _folded(target) in above[1] or _folded(source) in above[0]


class _Name(NamedTuple):
    """One of a path's folders, or itself: as a file system that ignores case has it, and as it is spelled."""

    place: bytes
    spelling: bytes
    is_last: bool


def _names(path: bytes) -> Iterator[_Name]:
    """A path's folders, outermost first, and itself."""
    parts, spelled = _folded(path).split(b"/"), path.split(b"/")
    for depth in range(1, len(parts) + 1):
        yield _Name(b"/".join(parts[:depth]), b"/".join(spelled[:depth]), depth == len(parts))


def _folded(path: bytes) -> bytes:
    return folded(os.fsdecode(path)).encode("utf-8", "surrogateescape")
