"""The ledger's SQLite file, read without the ledger's code: what docs/ledger.md says of its form, in a few lines."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

ROOT, SYSTEM = "enchanted", "_system"
EVENT = struct.Struct(">BqII")
IS_CUT, IS_DEFLATED = 1, 2
DIGEST_BYTES = 32
VERSION_BYTES = 15


class LedgerFile:
    """A file that other processes may be writing."""

    def __init__(self, path: Path) -> None:
        self._file = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        self._file.set_busy_timeout(10_000)

    def __enter__(self) -> LedgerFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def projects(self) -> list[str]:
        """Each as ``tenant/project``."""
        tenants = [name for name in self._children(0, ROOT) if name != SYSTEM]
        return [f"{tenant}/{project}" for tenant in tenants for project in self._children(0, ROOT, tenant)]

    def events(self, project: str) -> Iterator[bytes]:
        """The bytes of a project's events in the order of their keys, which is that of commit."""
        tenant, _ = project.split("/")
        for value in self._values(self.head(project)):
            form, _, cut_at, _ = EVENT.unpack_from(value)
            rest_at = EVENT.size + (DIGEST_BYTES if form & IS_CUT else 0)
            rest = zlib.decompress(value[rest_at:]) if form & IS_DEFLATED else value[rest_at:]
            content = self.content(tenant, value[EVENT.size : rest_at]) if form & IS_CUT else b""
            yield rest[:cut_at] + content + rest[cut_at:]

    def head(self, project: str) -> bytes:
        """With what the keys of a project's events begin."""
        return self._prefix(ROOT, *project.split("/")) + text("event")

    def content(self, tenant: str, digest: bytes) -> bytes:
        """A content or a part of one by its SHA-256; raises KeyError where it is not there."""
        key = self._prefix(ROOT, tenant) + text("blob") + b"\x01" + digest.replace(b"\x00", b"\x00\xff") + b"\x00"
        rows = self._rows("SELECT value FROM pairs WHERE key >= ? AND key < ? ORDER BY key", key, key + b"\xff")
        stored = b"".join(value for (value,) in rows)
        if not stored:
            raise KeyError(digest.hex())
        return zlib.decompress(stored[1:]) if stored[0] else stored[1:]

    def _values(self, head: bytes) -> Iterator[bytes]:
        """The values under ``head`` by version, their chunks joined."""
        rows = self._rows(
            "SELECT key, value FROM pairs WHERE key > ? AND key < ? ORDER BY key", head + b"\x00", head + b"\xff"
        )
        joined, standing = b"", b""
        for key, value in rows:
            version = key[len(head) : len(head) + VERSION_BYTES]
            if version != standing and standing:
                yield joined
                joined = b""
            joined, standing = joined + value, version
        if standing:
            yield joined

    def _children(self, *path: Any) -> list[str]:
        number = self._number(*path)
        return [name for (name,) in self._rows("SELECT name FROM directories WHERE parent = ?", number)]

    def _number(self, number: int, *path: str) -> int:
        for name in path:
            found = self._rows("SELECT id FROM directories WHERE parent = ? AND name = ?", number, name)
            if not found:
                raise KeyError(name)
            [(number,)] = found
        return number

    def _prefix(self, *path: str) -> bytes:
        number = self._number(0, *path)
        size = (number.bit_length() + 7) // 8
        return bytes((0x14 + size,)) + number.to_bytes(size, "big")

    def _rows(self, question: str, *values: Any) -> list[Any]:
        return list(self._file.execute(question, values))


def text(word: str) -> bytes:
    """A word as an element of a key."""
    return b"\x02" + word.encode() + b"\x00"
