"""Merging small files of one day and bucket into one sorted file, which one manifest puts in their place.

Any number of processes may do it at the same time: of two that merged the same files, the one whose manifest comes
second finds them gone and gives up. What it uploaded is unnamed, and goes as all unnamed objects do.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingestors.siphon import files
from ingestors.siphon.workspace import Workspace
from nervous_system import columns, parquet
from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.layout import EventsObject
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.manifest import Change, FileEntry
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.state import ArchiveState
from nervous_system.errors import EnchantedError, NotFoundError
from nervous_system.failpoints import failpoint
from nervous_system.parquet import Expected

# Of each file merged at once one row group is in memory, read and decoded: some 40 MB.
MAX_INPUTS = 8
# While a day goes on, more small files are to come: merging them in eights writes each event few times.
MIN_INPUTS_TODAY, MIN_INPUTS = 8, 2
# A file this many times as large as those that would be merged into it is left alone.
OUTWEIGHS = 2
BATCH_ROWS = 1_024

Row = tuple[tuple[Any, ...], pa.RecordBatch, int]


class OvertakenError(EnchantedError):
    """The files that were merged are no longer those that count: another process was first."""


class StoppedError(EnchantedError):
    """Told to stop."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """What merging did.

    Args:
        merges: how many files were made.
        files: how many they replace.
        bytes_before: of those replaced.
        bytes_after: of those made.
    """

    merges: int = 0
    files: int = 0
    bytes_before: int = 0
    bytes_after: int = 0

    def with_merge(self, inputs: Sequence[FileEntry], output: FileEntry) -> Compacted:
        """The same and one merge more."""
        size_bytes = sum(entry.size_bytes for entry in inputs)
        return Compacted(
            self.merges + 1,
            self.files + len(inputs),
            self.bytes_before + size_bytes,
            self.bytes_after + output.size_bytes,
        )


def plan(state: ArchiveState, target_bytes: int, today: date) -> list[list[FileEntry]]:
    """Which files to merge with each other, oldest day first. Pure.

    Smallest first, and none that outweighs all before it together: so an event is written anew only as often as the
    file that it is in grows by half.

    Args:
        state: the archive as it is.
        target_bytes: how large a merged file may be, about.
        today: the UTC day that may still get files.
    """
    places: dict[tuple[date, int], list[FileEntry]] = defaultdict(list)
    for entry in state.files.values():
        if (named := EventsObject.parse(entry.key)) is not None:
            places[named.day, named.bucket].append(entry)
    chosen = (
        _choose(places[day, bucket], target_bytes, MIN_INPUTS if day < today else MIN_INPUTS_TODAY)
        for day, bucket in sorted(places)
    )
    return [entries for entries in chosen if entries]


def _choose(entries: Iterable[FileEntry], target_bytes: int, at_least: int) -> list[FileEntry]:
    chosen: list[FileEntry] = []
    size_bytes = 0
    for entry in sorted(entries, key=lambda entry: (entry.size_bytes, entry.key)):
        too_large = size_bytes + entry.size_bytes > target_bytes
        outweighs = bool(chosen) and entry.size_bytes > OUTWEIGHS * size_bytes
        if too_large or outweighs or len(chosen) == MAX_INPUTS:
            break
        chosen.append(entry)
        size_bytes += entry.size_bytes
    return chosen if len(chosen) >= at_least else []


@dataclass(frozen=True, slots=True)
class Compactor:
    """Merges what ``plan`` finds.

    Args:
        store: the bucket.
        log: its manifests.
        workspace: where files stand meanwhile.
        target_bytes: how large a merged file may be, about.
        stopping: once set, ``run`` ends by StoppedError.
    """

    store: ObjectStore
    log: ArchiveLog
    workspace: Workspace
    target_bytes: int
    stopping: threading.Event

    def run(self, progress: Callable[[Compacted], None] = lambda _: None) -> Compacted:
        """Merges until nothing is left to merge.

        Args:
            progress: called after each merge.

        Raises:
            StoppedError: ``stopping`` was set; what was merged before stays so.
            ArchiveDamagedError, NotFoundError: of a file that is not what its manifest says; once all others that were
                planned are merged.
        """
        done = Compacted()
        while planned := plan(self.log.state(), self.target_bytes, datetime.now(UTC).date()):
            failures: list[EnchantedError] = []
            for inputs in planned:
                try:
                    done = done.with_merge(inputs, self.merge(inputs))
                except OvertakenError:
                    continue
                except (ArchiveDamagedError, NotFoundError) as error:
                    # The others can be merged all the same.
                    failures.append(error)
                else:
                    progress(done)
            if failures:
                raise failures[0]
        return done

    def merge(self, inputs: Sequence[FileEntry]) -> FileEntry:
        """Puts one file in the place of ``inputs``, which are of one day and bucket.

        Raises:
            OvertakenError: another process has replaced some of them.
            ArchiveDamagedError: one of them is not what its manifest says; nothing is changed.
        """
        with ExitStack() as stack:
            opened = [stack.enter_context(self._opened(stack, entry)) for entry in inputs]
            target = stack.enter_context(self.workspace.file("parquet"))
            merged = files.write(target, self._watched(merged_tables(opened)), _expected(opened), parquet.DENSE)
            _check(inputs, merged.entry)
            failpoint("before-compacted-upload")
            merged.upload(self.store)
            failpoint("before-compacted-manifest")
            self.log.append(lambda state: replacement(state, inputs, merged.entry))
            failpoint("after-compacted-manifest")
            if self.store.size_bytes(merged.entry.key) is None:
                # Whoever slept for a day between the two comes back to find that it was taken for left behind.
                merged.upload(self.store)
        return merged.entry

    def _opened(self, stack: ExitStack, entry: FileEntry) -> pq.ParquetFile:
        path: Path = stack.enter_context(self.workspace.file("input"))
        files.download(self.store, entry, path)
        opened = pq.ParquetFile(path, pre_buffer=False, buffer_size=files.READ_BYTES)
        if opened.schema_arrow.names != columns.SCHEMA.names:
            raise ArchiveDamagedError(f"{entry.key} has other columns than this program writes")
        return opened

    def _watched(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            if self.stopping.is_set():
                raise StoppedError("Stopped; what was merged before stays so.")
            yield table


def replacement(state: ArchiveState, inputs: Sequence[FileEntry], output: FileEntry) -> Change:
    """``output`` in the place of ``inputs``; raises OvertakenError where these are not all there."""
    if any(entry.key not in state.files for entry in inputs):
        raise OvertakenError("Another process has merged these files meanwhile.")
    return Change((output,), tuple(entry.key for entry in inputs))


def merged_tables(opened: Sequence[pq.ParquetFile]) -> Iterator[pa.Table]:
    """The rows of sorted files as one sorted sequence of small tables.

    Raises:
        ArchiveDamagedError: a file is not sorted, or two of them have the same event.
    """
    rows = heapq.merge(*map(_rows, opened), key=itemgetter(0))
    last: tuple[Any, ...] = ()
    while taken := list(_some(rows)):
        keys = [last, *(key for key, _, _ in taken)]
        if any(before >= after for before, after in itertools.pairwise(keys)):
            raise ArchiveDamagedError(f"files that were to be merged are not sorted, or overlap, near {keys[1]}")
        last = keys[-1]
        yield _gathered(taken)


def _some(rows: Iterator[Row]) -> Iterator[Row]:
    """The next rows, about as many as a row group holds at most."""
    size_bytes = 0.0
    for row in itertools.islice(rows, BATCH_ROWS):
        yield row
        size_bytes += row[1].nbytes / row[1].num_rows
        if size_bytes >= parquet.GROUP_BYTES:
            return


def _gathered(rows: Sequence[Row]) -> pa.Table:
    """The rows as one table. Those of one batch follow each other in it, whatever is between them here."""
    firsts: dict[int, int] = {}
    counts: Counter[int] = Counter()
    batches: dict[int, pa.RecordBatch] = {}
    for _, batch, number in rows:
        batches[id(batch)] = batch
        firsts.setdefault(id(batch), number)
        counts[id(batch)] += 1
    # The metadata tells one file from another; merged, their tables must be alike.
    slices = [batch.slice(firsts[name], counts[name]).replace_schema_metadata(None) for name, batch in batches.items()]
    starts = dict(zip(batches, itertools.accumulate(counts.values(), initial=0), strict=False))
    places = [starts[id(batch)] + number - firsts[id(batch)] for _, batch, number in rows]
    return pa.Table.from_batches(slices).take(pa.array(places, pa.int64()))


def _rows(opened: pq.ParquetFile) -> Iterator[Row]:
    # By row groups: a batch goes on into the next one, and so many large events are more than memory has.
    for group in range(opened.num_row_groups):
        for batch in opened.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], use_threads=False):
            keys = zip(*(batch[name].to_pylist() for name in columns.ORDER), strict=True)
            for number, key in enumerate(keys):
                yield key, batch, number


def _expected(opened: Sequence[pq.ParquetFile]) -> Expected:
    rows = sum(file.metadata.num_rows for file in opened)
    column = columns.SCHEMA.get_field_index("event_bytes")
    size_bytes = sum(
        file.metadata.row_group(group).column(column).total_uncompressed_size
        for file in opened
        for group in range(file.metadata.num_row_groups)
    )
    hashes = sum(
        pc.count_distinct(file.read(columns=["new_state_hash"], use_threads=False)[0], mode="only_valid").as_py()
        for file in opened
    )
    return Expected(rows, size_bytes, hashes)


def _check(inputs: Sequence[FileEntry], output: FileEntry) -> None:
    """Raises ArchiveDamagedError where the merged file cannot have what the others have."""
    if output.rows != sum(entry.rows for entry in inputs):
        raise ArchiveDamagedError(f"files that were to be merged have {output.rows} rows, not what their manifests say")
