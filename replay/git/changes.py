"""What a commit changed, as values; and the order in which the changes can be made one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands at a path.

    Args:
        mode: 0o100644, 0o100755, 0o120000 (symlink) or 0o160000 (submodule).
        oid: Git's id of the content, hex; a submodule's commit.
    """

    mode: int
    oid: str


@dataclass(frozen=True, slots=True)
class FileChange:
    """A path's entry before and after; None where there is none.

    Args:
        path: as Git has it.
        before: what was at ``path``; for a rename, what was at ``renamed_from``.
        after: what is at ``path`` now.
        renamed_from: the path that is no more, for a rename.
    """

    path: bytes
    before: Entry | None
    after: Entry | None
    renamed_from: bytes | None = None

    def halves(self) -> tuple[FileChange, ...]:
        """A rename as the deletion and the creation that it stands for; any other change as it is."""
        if self.renamed_from is None:
            return (self,)
        return FileChange(self.renamed_from, self.before, None), FileChange(self.path, None, self.after)


def in_order(changes: Iterable[FileChange]) -> list[FileChange]:
    """The changes in an order in which each can be made on its own, no path ever being both file and folder.

    Deletions come first, then renames, then what is written. Git pairs a path that is gone with one that is new, so
    renames only get in each other's way where one's target is a folder of, or lies in, another's source: those are
    split into deletion and creation.
    """
    split = list(_split_entangled(list(changes)))
    deletions = [change for change in split if change.after is None]
    renames = [change for change in split if change.renamed_from is not None]
    writes = [change for change in split if change.after is not None and change.renamed_from is None]
    return [*_by_path(deletions), *_by_path(renames), *_by_path(writes)]


def _by_path(changes: list[FileChange]) -> list[FileChange]:
    return sorted(changes, key=lambda change: change.path)


def _split_entangled(changes: list[FileChange]) -> Iterator[FileChange]:
    sources = {change.renamed_from for change in changes if change.renamed_from is not None}
    within = Counter(folder for source in sources for folder in folders(source))
    for change in changes:
        source = change.renamed_from
        if source is None:
            yield change
            continue
        own = change.path in folders(source)
        below_another = any(folder in sources and folder != source for folder in folders(change.path))
        if change.path in sources or within[change.path] > own or below_another:
            yield from change.halves()
        else:
            yield change


def folders(path: bytes) -> list[bytes]:
    """The folders that a path lies in, outermost first."""
    parts = path.split(b"/")
    return [b"/".join(parts[:depth]) for depth in range(1, len(parts))]
