"""The fold: from what happened to each path, to the tree at a moment. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nervous_system.errors import EnchantedError
from nervous_system.ledger.records import PathChange
from nervous_system.ledger.versions import Version
from replay.moments import Moment
from replay.tree import Entry, Tree

Life = tuple[str, Version, PathChange]


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
class State:
    """A project at a moment: its tree, and the changes that did not fit."""

    tree: dict[str, Entry]
    conflicts: list[Conflict]


def fold(changes: Iterable[Life], moment: Moment) -> State:
    """The state at ``moment``.

    Args:
        changes: every path's life, by path and, within a path, in commit order, up to the moment's version at least.
        moment: which of them count.
    """
    tree: dict[str, Entry] = {}
    conflicts: list[Conflict] = []
    for resource, version, change in changes:
        if version > moment.through or not moment.takes(change.occurred_us, change.recorded_us):
            continue
        standing = tree.get(resource)
        found = standing.content_hash if standing else ""
        if change.previous and change.previous.hex() != found:
            conflicts.append(Conflict(resource, version, change.previous.hex(), found))
        if change.digest:
            tree[resource] = Entry(change.mode, change.digest.hex())
        else:
            tree.pop(resource, None)
    return State(tree, conflicts)


def restorable(changes: Iterable[Life], moment: Moment) -> Tree:
    """The tree at ``moment``; raises ConflictError where changes do not fit together."""
    state = fold(changes, moment)
    if state.conflicts:
        first = min(state.conflicts, key=lambda conflict: conflict.version)
        raise ConflictError(
            f"By this moment {len(state.conflicts)} change(s) were made to another content than the one that was "
            f"there. The first: {first.resource!r} at version {first.version} starts from {first.claimed[:12]}, but "
            f"{first.found[:12] or 'nothing'} was there. Restore an earlier moment: before:{first.version}."
        )
    return state.tree
