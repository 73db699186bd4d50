"""A project's tree as it grows, event by event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from nervous_system.contract import SwarmEvent
from nervous_system.events import occurred_us
from nervous_system.ledger.append import path_changes
from nervous_system.ledger.history import StoredEvent
from replay.state import Fold, Merge, tree_of
from replay.tree import Entry, Tree


@dataclass(frozen=True, slots=True)
class Touched:
    """A path that was changed since the tree was last settled: its entry then and now; None: there is none."""

    resource: str
    before: Entry | None
    after: Entry | None


class GrowingTree:
    """The tree, and what was changed since it was last settled.

    Args:
        merge: asked where a change was made to another content than the one that stands there.
    """

    def __init__(self, merge: Merge) -> None:
        self._fold = Fold(merge)
        self._before: dict[str, Entry | None] = {}

    @property
    def tree(self) -> Tree:
        """What stands now; changed by ``take``."""
        return self._fold.tree

    def take(self, stored: StoredEvent, event: SwarmEvent) -> None:
        """Makes the next change."""
        for resource, row in path_changes(event.state_change, occurred_us(event), stored.recorded_us):
            self._before.setdefault(resource, self.tree.get(resource))
            self._fold.apply(resource, stored.version, row)

    def check(self) -> None:
        """Raises ConflictError where changes do not fit together, so that nobody can say what the tree is."""
        tree_of(self._fold.state)

    def touched(self) -> list[Touched]:
        """By path; those too that are what they were."""
        return [Touched(resource, before, self.tree.get(resource)) for resource, before in sorted(self._before.items())]

    def settle(self) -> None:
        """From here on changes are counted anew."""
        self._before.clear()


class Clashes:
    """Paths that are both a file and a folder, which no tree of Git can hold."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: Counter[str] = Counter()
        self._both: set[str] = set()

    @property
    def first(self) -> str | None:
        """The first of them in order; None where there are none."""
        return min(self._both, default=None)

    def put(self, resource: str, *, is_there: bool) -> None:
        """Says whether there is a file."""
        if (resource in self._files) == is_there:
            return
        (self._files.add if is_there else self._files.discard)(resource)
        self._check(resource)
        for folder in _folders(resource):
            self._folders[folder] += 1 if is_there else -1
            if not self._folders[folder]:
                del self._folders[folder]
            self._check(folder)

    def _check(self, path: str) -> None:
        clashes = path in self._files and path in self._folders
        (self._both.add if clashes else self._both.discard)(path)


def _folders(resource: str) -> Iterator[str]:
    end = resource.find("/")
    while end >= 0:
        yield resource[:end]
        end = resource.find("/", end + 1)
