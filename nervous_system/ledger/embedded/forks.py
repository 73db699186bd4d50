"""What keeps a forked process from using its parent's connections.

SQLite's locks belong to a process, and its book-keeping of them is copied by a fork although the locks are not: a child
that used, or only closed, an open connection could damage the file. So all idle connections are closed before a fork,
and where one was in use, the child refuses that file.
Source: https://www.sqlite.org/howtocorrupt.html, "Carrying an open database connection across a fork()".
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakSet

from nervous_system.errors import UnavailableError


class Holder(Protocol):
    """Whoever has connections to a file."""

    path: Path

    def hold(self) -> None:
        """Closes every idle connection and keeps other threads from opening one."""
        ...

    def release(self) -> None: ...

    def abandon(self) -> list[Any]:
        """Forgets the connections that are in use, and gives them."""
        ...


_holders: WeakSet[Holder] = WeakSet()
_held: list[Holder] = []
_inherited: set[Path] = set()


def register(holder: Holder) -> None:
    """Has ``holder`` held at every fork from now on."""
    _holders.add(holder)


def refuse_inherited(path: Path) -> None:
    """Raises UnavailableError where this process was forked while ``path`` was in use."""
    if _inherited and path.resolve() in _inherited:
        raise UnavailableError(
            f"This process was forked while a transaction on {path} was open: start it before, or with `spawn`."
        )


def _before() -> None:
    _held[:] = list(_holders)
    for holder in _held:
        holder.hold()


def _in_parent() -> None:
    for holder in _held:
        holder.release()
    _held.clear()


def _in_child() -> None:
    for holder in _held:
        for connection in holder.abandon():
            _inherited.add(holder.path.resolve())
            # Never collected, so that SQLite never closes it here.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
        holder.release()
    _held.clear()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
