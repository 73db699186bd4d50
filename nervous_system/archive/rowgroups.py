"""The archive's Parquet files, read in part: footers, and of row groups only the columns that are asked for.

What was read last is kept, bounded in bytes, since who asks for one event mostly asks for its neighbours next.
Source: https://parquet.apache.org/docs/file-format/.
"""

from __future__ import annotations

import io
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.manifest import FileEntry
from nervous_system.archive.objects import ObjectStore

T = TypeVar("T")

FOOTERS_BYTES = 16 * 1024 * 1024

Bounds = dict[str, tuple[Any, Any]]
"""Lowest and highest value of columns, as far as the footer says them."""


class RangedFile(io.RawIOBase):
    """An object as a file that can be read from anywhere, each read a request for that range."""

    def __init__(self, store: ObjectStore, entry: FileEntry) -> None:
        super().__init__()
        self._store = store
        self._entry = entry
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._entry.size_bytes}[whence]
        self._position = start + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        remaining = max(0, self._entry.size_bytes - self._position)
        wanted = remaining if size is None or size < 0 else min(size, remaining)
        data = self._store.get_range(self._entry.key, self._position, wanted)
        if len(data) != wanted:
            raise ArchiveDamagedError(f"{self._entry.key} is shorter than its manifest says")
        self._position += wanted
        return data


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group of a file.

    Args:
        entry: the file.
        number: 0, 1, … in it.
        bounds: of its columns.
    """

    entry: FileEntry
    number: int
    bounds: Bounds

    def may_hold(self, column: str, low: Any, high: Any) -> bool:
        """Whether it may have a row with ``low`` <= column <= ``high``."""
        least, greatest = self.bounds.get(column, (low, high))
        return bool(least <= high and low <= greatest)


@dataclass(frozen=True, slots=True)
class _Footer:
    metadata: pq.FileMetaData
    groups: list[RowGroup]


class RowGroups:
    """Row groups of the archive's files. Safe to use from several threads.

    Args:
        store: where the files are.
        columns: of which the footer's bounds are wanted.
    """

    def __init__(self, store: ObjectStore, columns: Iterable[str]) -> None:
        self._store = store
        self._columns = tuple(columns)
        self._footers: Kept[_Footer] = Kept(FOOTERS_BYTES, lambda footer: footer.metadata.serialized_size)

    def of(self, entry: FileEntry) -> list[RowGroup]:
        """A file's row groups, in order; raises NotFoundError and as the store does, ArchiveDamagedError."""
        return self._footer(entry).groups

    def read(self, group: RowGroup, columns: Iterable[str]) -> pa.Table:
        """Some columns of a row group; raises as ``of``."""
        metadata = self._footer(group.entry).metadata
        with _damage_said(group.entry):
            # Ranges that lie close together are asked for at once, others side by side.
            file = pq.ParquetFile(
                RangedFile(self._store, group.entry),
                metadata=metadata,
                pre_buffer=True,
                page_checksum_verification=True,
            )
            return file.read_row_group(group.number, columns=list(columns), use_threads=False)

    def _footer(self, entry: FileEntry) -> _Footer:
        return self._footers.get(entry.key, lambda: self._read_footer(entry))

    def _read_footer(self, entry: FileEntry) -> _Footer:
        with _damage_said(entry):
            metadata = pq.read_metadata(RangedFile(self._store, entry))
        places = {metadata.schema.column(place).path: place for place in range(metadata.num_columns)}
        wanted = {name: places[name] for name in self._columns if name in places}
        bounds = (dict(_bounds(metadata.row_group(number), wanted)) for number in range(metadata.num_row_groups))
        return _Footer(metadata, [RowGroup(entry, number, each) for number, each in enumerate(bounds)])


def _bounds(group: pq.RowGroupMetaData, places: dict[str, int]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for name, place in places.items():
        statistics = group.column(place).statistics
        if statistics is not None and statistics.has_min_max:
            yield name, (statistics.min, statistics.max)


@contextmanager
def _damage_said(entry: FileEntry) -> Iterator[None]:
    """Turns Parquet's errors into sentences."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ArchiveDamagedError(f"{entry.key} cannot be read ({error})") from error


def on_disk(rows: pa.Table, rows_at_once: int | None = None) -> pa.Table:
    """The same rows, in a temporary file that goes with them and leaves nothing behind: no memory is taken for long.

    Args:
        rows: to be written.
        rows_at_once: how many stand together, for who goes through them in order; all, for who looks here and there.
    """
    with tempfile.NamedTemporaryFile(prefix="enchanted-rows-") as file:
        with pa.ipc.new_file(file, rows.schema) as writer:
            writer.write_table(rows.combine_chunks(), max_chunksize=rows_at_once)
        file.flush()
        return pa.ipc.open_file(pa.memory_map(file.name)).read_all()


class Kept(Generic[T]):
    """Values by key, those asked for last, up to so many bytes and one at least. Safe to use from several threads.

    Args:
        max_bytes: of all together.
        size_of: bytes of one.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[T], int]) -> None:
        self._max_bytes = max_bytes
        self._size_of = size_of
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._size_bytes = 0
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key, made where it is not there."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        # Made by two at once at worst; nobody waits for another's request.
        made = make()
        with self._lock:
            if key not in self._values:
                self._values[key] = made
                self._size_bytes += self._size_of(made)
            while self._size_bytes > self._max_bytes and len(self._values) > 1:
                _, oldest = self._values.popitem(last=False)
                self._size_bytes -= self._size_of(oldest)
        return made
