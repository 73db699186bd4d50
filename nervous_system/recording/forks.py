"""Who must stand still while the process forks, so that parent and child both go on with what they have whole."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakKeyDictionary


class Forking(Protocol):
    """Whoever has locks, threads or files that a fork would copy in the middle of something."""

    def before_fork(self) -> None:
        """Takes its locks."""
        ...

    def after_fork_in_parent(self) -> None:
        """Gives its locks back."""
        ...

    def after_fork_in_child(self) -> None:
        """Begins anew."""
        ...


_ranks: WeakKeyDictionary[Forking, int] = WeakKeyDictionary()
_stopped: list[Forking] = []


def register(each: Forking, rank: int) -> None:
    """Has it stand still at every fork from now on; lower ranks first, as their locks are taken first."""
    _ranks[each] = rank


def _before() -> None:
    for each in sorted(_ranks, key=_ranks.__getitem__):
        each.before_fork()
        _stopped.append(each)


def _in_parent() -> None:
    while _stopped:
        _stopped.pop().after_fork_in_parent()


def _in_child() -> None:
    while _stopped:
        _stopped.pop().after_fork_in_child()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
