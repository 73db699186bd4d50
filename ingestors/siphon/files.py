"""Files of events on this machine: written, put on the disk, read back, and described as a manifest does."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingestors.siphon.workspace import explained
from nervous_system import columns, parquet
from nervous_system.archive import layout, merkle
from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.layout import EventsObject
from nervous_system.archive.manifest import FileEntry, Span
from nervous_system.archive.objects import ObjectStore
from nervous_system.errors import UnavailableError
from nervous_system.parquet import Expected

READ_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file that is on the disk as it should be, and what a manifest will say of it."""

    path: Path
    entry: FileEntry

    def upload(self, store: ObjectStore) -> None:
        """Makes it an object. One of that name that is there already is this very file: its name says its content."""
        store.put_new(self.entry.key, self.path)


def write(path: Path, tables: Iterable[pa.Table], expected: Expected, level: int) -> LocalFile:
    """Writes a file, waits until the disk has it, and reads it back.

    Args:
        path: an empty file.
        tables: at least one row, of tenants of one bucket and taken by the log on one day; sorted by ``columns.ORDER``.
        expected: what they have together, at most.
        level: of zstd.

    Raises:
        UnavailableError: the disk is full or gave back something else.
    """
    contents = _Contents()
    with explained(path.parent):
        digest = _write(path, contents.counted(parquet.groups(tables)), expected, level)
        _check(path, digest, contents.rows)
        return LocalFile(path, contents.entry(digest, path.stat().st_size))


class _HashedFile:
    """What is written to a file, and SHA-256 of it. Only what a Parquet writer asks of a file."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def tell(self) -> int:
        return self._file.tell()

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """Leaves the file open: it is not on the disk yet."""

    def digest(self) -> bytes:
        return self._sha256.digest()


def _write(path: Path, groups: Iterable[pa.Table], expected: Expected, level: int) -> bytes:
    # No two files are the same, so that what a crash left unnamed is never named later, when it may be about to go.
    schema = columns.SCHEMA.with_metadata({"written": secrets.token_hex(8)})
    with path.open("wb") as file:
        hashed = _HashedFile(file)
        target = pa.PythonFile(hashed, mode="w")
        with parquet.writer(target, schema, expected, level) as writer:
            for group in groups:
                writer.write_table(group.replace_schema_metadata(schema.metadata), row_group_size=group.num_rows)
        target.flush()
        file.flush()
        os.fsync(file.fileno())
        # What is read back comes from the disk then, not from memory.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return hashed.digest()


def _check(path: Path, digest: bytes, rows: int) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").digest()
    if found != digest or pq.read_metadata(path).num_rows != rows:
        raise UnavailableError(
            f"A file for the archive did not read back from {path.parent} as it was written: it was not uploaded, and "
            "is written again. Where that goes on, the disk or the memory is at fault."
        )


class _Contents:
    """What has been written: counts and extremes, and the hash of each event."""

    def __init__(self) -> None:
        self.rows = 0
        self._hashes: list[bytes] = []
        self._spans: dict[tuple[str, int], tuple[int, int]] = {}
        self._recorded_us: list[int] = []
        self._tenants: list[str] = []

    def counted(self, groups: Iterable[pa.Table]) -> Iterable[pa.Table]:
        """The same row groups, once they are counted."""
        for group in groups:
            self._count(group)
            yield group

    def _count(self, group: pa.Table) -> None:
        self.rows += group.num_rows
        for chunk in group["event_bytes"].chunks:
            self._hashes += [merkle.leaf_hash(hashlib.sha256(value.as_buffer()).digest()) for value in chunk]
        places = group.group_by(["stream", "partition"]).aggregate([("log_sequence", "min"), ("log_sequence", "max")])
        for row in places.to_pylist():
            place = row["stream"], row["partition"]
            first, last = row["log_sequence_min"], row["log_sequence_max"]
            known = self._spans.get(place, (first, last))
            self._spans[place] = min(known[0], first), max(known[1], last)
        recorded = pc.min_max(group["recorded"].cast(pa.int64())).as_py()
        self._recorded_us += recorded["min"], recorded["max"]
        self._tenants += group["tenant_id"][0].as_py(), group["tenant_id"][-1].as_py()

    def entry(self, sha256: bytes, size_bytes: int) -> FileEntry:
        """What a manifest says of the file."""
        spans = tuple(sorted(Span(*place, *span) for place, span in self._spans.items()))
        recorded_us = min(self._recorded_us), max(self._recorded_us)
        sequences = min(span.first for span in spans), max(span.last for span in spans)
        named = EventsObject.of(layout.day_of(recorded_us[0]), self._tenants[0], sequences, sha256)
        return FileEntry(
            key=named.key,
            size_bytes=size_bytes,
            sha256=sha256,
            rows=self.rows,
            events_root=merkle.root_of_hashes(self._hashes),
            spans=spans,
            recorded_us=recorded_us,
            tenants=(self._tenants[0], self._tenants[-1]),
        )


def download(store: ObjectStore, entry: FileEntry, path: Path) -> None:
    """Writes an object's bytes to ``path``, a little at a time.

    Raises:
        ArchiveDamagedError: the object is not the one that the manifest names.
        UnavailableError: the disk is full, or S3 does not answer.
    """
    sha256 = hashlib.sha256()
    with explained(path.parent), path.open("wb") as file:
        for start in range(0, entry.size_bytes, READ_BYTES):
            data = store.get_range(entry.key, start, READ_BYTES)
            sha256.update(data)
            file.write(data)
    if sha256.digest() != entry.sha256:
        raise ArchiveDamagedError(f"{entry.key} has not the SHA-256 that its manifest gives")
