"""Parquet files of events: how they are written, for the archive and for exports.

Events of one history say much again that was said before, often thousands of events earlier. zstd finds that again
within one page and as far back as its level looks, so event bytes stand in one page a row group, and row groups are as
large as a reader may be asked to hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nervous_system import columns

# One row group: what a reader takes at once. zstd looks back 4 MB at level 9, 8 MB at level 17.
GROUP_BYTES = 16_000_000
GROUP_ROWS = 64_000
# Above what a row group has: a page ends where its row group does.
PAGE_BYTES = 64_000_000
BATCH_ROWS = 256
# Of 100 row groups that lack an id, a reader opens one in vain.
FALSE_POSITIVES = 0.01
FAST, DENSE = 9, 17
"""zstd levels: while the log waits, and for files that stay."""

_IDS = ("event_id", "causation_id", "correlation_id", "related_commit_hash")
_UNIQUE = ("new_state_hash", "event_bytes", "rationale")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a file is about to get: the sizes of its bloom filters follow from it.

    Args:
        rows: how many there will be at most.
        event_bytes: how many bytes of events.
        hashes: how many different content hashes at most.
    """

    rows: int
    event_bytes: int
    hashes: int

    @classmethod
    def of(cls, table: pa.Table) -> Expected:
        """What a table has."""
        hashes = pc.count_distinct(table["new_state_hash"], mode="only_valid").as_py()
        return cls(table.num_rows, event_bytes(table), hashes)

    @property
    def groups(self) -> int:
        """How many row groups that makes, about."""
        return max(math.ceil(self.event_bytes / GROUP_BYTES), math.ceil(self.rows / GROUP_ROWS), 1)


def writer(target: IO[bytes] | pa.NativeFile, schema: pa.Schema, expected: Expected, level: int) -> pq.ParquetWriter:
    """A writer of events to ``target``; each table that it is given becomes a row group (see ``groups``).

    Args:
        target: open for writing.
        schema: ``columns.SCHEMA``, or another one with the columns of ``columns.EVENT_SCHEMA``.
        expected: what will be written.
        level: of zstd.
    """
    encodings = _encodings(schema)
    options: dict[str, Any] = {"bloom_filter_options": _filters(expected)} if expected.rows else {}
    return pq.ParquetWriter(
        target,
        schema,
        compression="zstd",
        compression_level=level,
        use_dictionary=[name for name in schema.names if name not in encodings],
        column_encoding=encodings,
        # Of long bytes the least and the greatest say nothing, and would stand in each footer.
        write_statistics=[name for name in schema.names if name not in ("event_bytes", "rationale")],
        write_page_index=True,
        write_page_checksum=True,
        data_page_size=PAGE_BYTES,
        max_rows_per_page=GROUP_ROWS,
        write_batch_size=BATCH_ROWS,
        sorting_columns=_sorting(schema),
        **options,
    )


def groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of ``tables``, in order, as tables that each make a row group; a larger event stands alone."""
    held: list[pa.Table] = []
    rows = size_bytes = 0
    for table in tables:
        start = 0
        for row, length in enumerate(pc.binary_length(table["event_bytes"]).to_pylist()):
            if rows and (size_bytes + length > GROUP_BYTES or rows == GROUP_ROWS):
                yield pa.concat_tables([*held, table.slice(start, row - start)])
                held, start, rows, size_bytes = [], row, 0, 0
            rows += 1
            size_bytes += length
        held.append(table.slice(start))
    if rows:
        yield pa.concat_tables(held)


def event_bytes(table: pa.Table) -> int:
    """How many bytes of events a table has."""
    return int(pc.sum(pc.binary_length(table["event_bytes"])).as_py() or 0)


def _encodings(schema: pa.Schema) -> Mapping[str, str]:
    """Deltas for what counts or begins alike, lengths apart for what is never said twice; the rest has a dictionary."""
    numbers = {
        field.name: "DELTA_BINARY_PACKED"
        for field in schema
        if (pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type)) and field.name != "partition"
    }
    ids = dict.fromkeys(_IDS, "DELTA_BYTE_ARRAY")
    return {**numbers, **ids, **dict.fromkeys(_UNIQUE, "DELTA_LENGTH_BYTE_ARRAY")}


def _filters(expected: Expected) -> Mapping[str, Mapping[str, float]]:
    known = {"event_id": expected.rows, "new_state_hash": expected.hashes}
    return {
        name: {"ndv": math.ceil(count / expected.groups), "fpp": FALSE_POSITIVES}
        for name, count in known.items()
        if count
    }


def _sorting(schema: pa.Schema) -> list[pq.SortingColumn] | None:
    if schema.names != columns.SCHEMA.names:
        return None
    return [pq.SortingColumn(schema.get_field_index(name)) for name in columns.ORDER]
