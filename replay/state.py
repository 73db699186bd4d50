"""The fold: from what happened to each path, to the tree at a moment. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nervous_system.errors import EnchantedError
from nervous_system.ledger.records import PathChange
from nervous_system.ledger.versions import Version
from replay.moments import Moment
from replay.tree import Entry, Tree

Life = tuple[str, Version, PathChange]

NOTHING = ""
"""The hash that stands for no content: the path is deleted."""


class ConflictError(EnchantedError):
    """Changes that do not fit together: which content is right is not for a machine to guess."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A change made to another content than the one that was there.

    Args:
        resource: the path.
        version: the event.
        claimed: the hash that the event says was there before.
        found: the hash that was there; empty where there was nothing.
    """

    resource: str
    version: Version
    claimed: str
    found: str


@dataclass(frozen=True, slots=True)
class Meeting:
    """Two contents of one path that go back to a third.

    Args:
        resource: the path.
        base: the hash that the change was made to.
        ours: the hash that stands there; NOTHING where the path was deleted.
        theirs: the hash that the change leaves; NOTHING where it deletes the path.
        mode: of the change; of what stands there, where the change deletes.
    """

    resource: str
    base: str
    ours: str
    theirs: str
    mode: int


Merge = Callable[[Meeting], str | None]
"""Gives the hash of what shall stand there (NOTHING: nothing); None where that is for a person to say."""


@dataclass(frozen=True, slots=True)
class State:
    """A project at a moment: its tree, and the changes that did not fit."""

    tree: dict[str, Entry]
    conflicts: list[Conflict]


class Fold:
    """The fold, a change at a time.

    Args:
        merge: asked where a change was made to another content than the one that stands there.
        tree: where it starts; taken over.
    """

    def __init__(self, merge: Merge = lambda _: None, tree: dict[str, Entry] | None = None) -> None:
        self.tree = {} if tree is None else tree
        self._merge = merge
        self._conflicts: dict[str, list[Conflict]] = {}

    def apply(self, resource: str, version: Version, change: PathChange) -> Conflict | None:
        """Takes a change in.

        Returns:
            Where it was made to another content than the one that stood there, what met, merged or not.
        """
        standing = self.tree.get(resource)
        found = standing.content_hash if standing else NOTHING
        mode, left = change.mode or (standing.mode if standing else 0), change.digest.hex()
        met = None
        if not change.previous:
            # What claims nothing of the content before says what shall stand, whatever was in conflict there.
            self._conflicts.pop(resource, None)
        elif change.previous.hex() != found:
            met = Conflict(resource, version, change.previous.hex(), found)
            merged = self._merge(Meeting(resource, change.previous.hex(), found, left, mode))
            if merged is None:
                self._conflicts.setdefault(resource, []).append(met)
            else:
                left = merged
        if left:
            self.tree[resource] = Entry(mode, left)
        else:
            self.tree.pop(resource, None)
        return met

    @property
    def state(self) -> State:
        """What has come of it so far."""
        return State(self.tree, [conflict for each in self._conflicts.values() for conflict in each])


def fold(changes: Iterable[Life], moment: Moment, merge: Merge = lambda _: None) -> State:
    """The state at ``moment``.

    Args:
        changes: of each path in commit order, up to the moment's version at least.
        moment: which of them count.
        merge: asked where a change was made to another content than the one that stands there.
    """
    folding = Fold(merge)
    for resource, version, change in changes:
        if version <= moment.through and moment.takes(change.occurred_us, change.recorded_us):
            folding.apply(resource, version, change)
    return folding.state


def tree_of(state: State) -> Tree:
    """The tree of a state; raises ConflictError where changes do not fit together."""
    if state.conflicts:
        first = min(state.conflicts, key=lambda conflict: conflict.version)
        raise ConflictError(
            f"By this moment {len(state.conflicts)} change(s) were made to another content than the one that was "
            f"there. The first: {first.resource!r} at version {first.version} starts from {first.claimed[:12]}, but "
            f"{first.found[:12] or 'nothing'} was there. Say what shall stand with --on-conflict "
            f"ours|theirs|mark, or take an earlier moment: before:{first.version}."
        )
    return state.tree
