"""One file of the archive on this machine, checked against its entry, and its rows read back a few at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.manifest import FileEntry
from nervous_system.archive.objects import ObjectStore
from nervous_system.errors import NotFoundError

FETCHED_AT_ONCE_BYTES = 8 * 1024 * 1024
ROWS_AT_ONCE = 2_000
COLUMNS = ("tenant_id", "project_id", "stream", "log_sequence", "log_index", "partition", "recorded", "event_bytes")


class FileRow(NamedTuple):
    """A row, in the order of the file's sort: what it is sorted by comes first."""

    tenant: str
    project: str
    stream: str
    log_sequence: int
    log_index: int
    partition: int
    recorded_us: int
    data: bytes


def fetch(store: ObjectStore, entry: FileEntry, target: Path) -> None:
    """Brings a file here, a piece at a time.

    Raises:
        ArchiveDamagedError: it is not there, or is not what its entry says.
    """
    digest, size_bytes = hashlib.sha256(), 0
    with target.open("wb") as file:
        # One byte more than there should be: what is too long is found, too.
        while piece := _piece(store, entry, size_bytes):
            file.write(piece)
            digest.update(piece)
            size_bytes += len(piece)
    if size_bytes != entry.size_bytes:
        raise ArchiveDamagedError(f"{entry.key} has {size_bytes:,} bytes or more instead of {entry.size_bytes:,}")
    if digest.digest() != entry.sha256:
        raise ArchiveDamagedError(f"{entry.key} has other bytes than were archived: its SHA-256 differs")


def rows(path: Path, key: str) -> Iterator[FileRow]:
    """A file's rows in order; raises ArchiveDamagedError where they cannot be read."""
    try:
        with pq.ParquetFile(path) as file:
            # By row groups: a batch goes on into the next one, and so many large events are more than memory has.
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=list(COLUMNS)):
                    yield from map(FileRow._make, zip(*(_values(batch, name) for name in COLUMNS), strict=True))
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise ArchiveDamagedError(f"the rows of {key} cannot be read ({error})") from error


def _values(batch: pa.RecordBatch, name: str) -> list[object]:
    column = batch.column(name)
    return list((column.cast(pa.int64()) if name == "recorded" else column).to_pylist())


def _piece(store: ObjectStore, entry: FileEntry, start: int) -> bytes:
    size_bytes = min(FETCHED_AT_ONCE_BYTES, entry.size_bytes + 1 - start)
    try:
        return store.get_range(entry.key, start, size_bytes)
    except NotFoundError as error:
        raise ArchiveDamagedError(f"{entry.key} is missing") from error
