"""Names for short key prefixes. The tree is a table of its own, beside the keys: no transaction can reach it."""

from __future__ import annotations

from typing import Any

import apsw

from nervous_system.ledger.embedded.storage import Storage
from nervous_system.ledger.tuples import pack

ROOT = 0
CHILD = "SELECT id FROM directories WHERE parent = ? AND name = ?"
CHILDREN = "SELECT name FROM directories WHERE parent = ?"
MAKE = "INSERT INTO directories (parent, name) VALUES (?, ?) RETURNING id"


class Directories:
    """The tree of one file. A directory, once made, keeps its prefix for good, so that prefixes can be cached."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._prefixes: dict[tuple[str, ...], bytes] = {}

    def prefix(self, path: tuple[str, ...], create: bool) -> bytes | None:
        """The prefix of the directory at ``path``, made with its parents where it is absent and ``create`` is true."""
        if path not in self._prefixes:
            with self._storage.reading() as connection:
                number = _find(connection, path)
            if number is None and not create:
                return None
            self._prefixes[path] = pack((self._make(path) if number is None else number,))
        return self._prefixes[path]

    def names(self, path: tuple[str, ...]) -> list[str]:
        """The names right below ``path``, sorted."""
        with self._storage.reading() as connection:
            number = _find(connection, path)
            rows: Any = connection.execute(CHILDREN, (number,))
            return sorted(name for (name,) in rows)

    def _make(self, path: tuple[str, ...]) -> int:
        with self._storage.writing() as connection:
            number = ROOT
            for name in path:
                number = _child(connection, number, name) or _number(connection.execute(MAKE, (number, name)))
            return number


def _find(connection: apsw.Connection, path: tuple[str, ...]) -> int | None:
    number: int | None = ROOT
    for name in path:
        number = None if number is None else _child(connection, number, name)
    return number


def _child(connection: apsw.Connection, parent: int, name: str) -> int | None:
    row: Any = connection.execute(CHILD, (parent, name)).fetchone()
    return None if row is None else int(row[0])


def _number(cursor: apsw.Cursor) -> int:
    rows: Any = cursor.fetchall()
    return int(rows[0][0])
