"""A partition's events in the order of the log, from files that have them by tenant and project.

Each row group becomes a run in that order, and the runs are merged as they are needed: a file is opened when the merge
comes to the first sequence that it may hold. Runs beyond a size lie in temporary files, so that memory stays bounded.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, groupby
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from nervous_system.archive.manifest import FileEntry, Place
from nervous_system.archive.rowgroups import RowGroup, RowGroups, on_disk
from nervous_system.archive.state import ArchiveState
from nervous_system.errors import NotFoundError
from nervous_system.events import decode
from nervous_system.landing import LandedEvent, LandedMessage
from nervous_system.projects import ProjectName

# Of all runs that are open.
MEMORY_BYTES = 64 * 1024 * 1024
ROWS_AT_ONCE = 256
PARTS_REMEMBERED = 100_000

_COLUMNS = ("log_sequence", "log_index", "tenant_id", "project_id", "recorded", "event_bytes")
_FILTERED = ("stream", "partition")

Part = Callable[[str, bytes], bytes]


class Row(NamedTuple):
    """An event, and what the log knew of it."""

    sequence: int
    place: int
    tenant: str
    project: str
    recorded_us: int
    data: bytes


@dataclass(order=True, slots=True)
class _Pending:
    """A file or a row group that is not open: nothing in it stands before ``least``."""

    least: int
    number: int
    what: FileEntry | RowGroup = field(compare=False)


class LogOrder:
    """Reads partitions in the order of the log.

    Args:
        groups: reads files.
        part: gives a part of a large content by tenant and SHA-256; raises NotFoundError where there is none.
    """

    def __init__(self, groups: RowGroups, part: Part) -> None:
        self._groups = groups
        self._part = part

    def messages(self, state: ArchiveState, place: Place, after: int, through: int) -> Iterator[LandedMessage]:
        """See ``ArchiveReader.messages``."""
        known: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        before = after
        for sequence, group in groupby(self._rows(state, place, after, through), key=lambda row: row.sequence):
            rows = list(group)
            project = ProjectName(rows[0].tenant, rows[0].project)
            events = tuple(LandedEvent(row.data, decode(row.data), row.place) for row in rows)
            for part in self._parts(project, events, known):
                yield LandedMessage(before, rows[0].recorded_us, project, (), part, len(part))
            size_bytes = sum([len(row.data) for row in rows])
            yield LandedMessage(sequence, rows[0].recorded_us, project, events, None, size_bytes)
            before = sequence

    def _parts(
        self, project: ProjectName, events: tuple[LandedEvent, ...], known: OrderedDict[tuple[str, bytes], None]
    ) -> Iterator[bytes]:
        """The parts that the events name and that were not given lately."""
        for landed in events:
            if landed.event.WhichOneof("payload") != "state_change":
                continue
            for digest in landed.event.state_change.blob_parts:
                key = project.tenant, digest
                if key in known:
                    continue
                known[key] = None
                if len(known) > PARTS_REMEMBERED:
                    known.popitem(last=False)
                try:
                    yield self._part(project.tenant, digest)
                except NotFoundError:
                    # It was never sent; whoever asks for the content is told.
                    continue

    def _rows(self, state: ArchiveState, place: Place, after: int, through: int) -> Iterator[Row]:
        numbers = count()
        pending = [
            _Pending(max(span.first, after + 1), next(numbers), entry)
            for entry in state.files.values()
            for span in entry.spans
            if span.place == place and span.first <= through and span.last > after
        ]
        heapq.heapify(pending)
        runs: list[tuple[Row, int, Iterator[Row]]] = []
        memory = _Memory()
        last = (after, -1)
        while pending or runs:
            while pending and (not runs or pending[0].least <= runs[0][0].sequence):
                what = heapq.heappop(pending).what
                if isinstance(what, RowGroup):
                    _push(runs, next(numbers), memory.run(self._run(what, place, after, through)))
                else:
                    for group in self._groups.of(what):
                        least, greatest = group.bounds.get("log_sequence", (after + 1, through))
                        if _may_hold(group, place) and least <= through and greatest > after:
                            heapq.heappush(pending, _Pending(max(least, after + 1), next(numbers), group))
            if runs:
                row, number, rest = heapq.heappop(runs)
                if (row.sequence, row.place) != last:
                    yield row
                last = row.sequence, row.place
                _push(runs, number, rest)

    def _run(self, group: RowGroup, place: Place, after: int, through: int) -> pa.Table:
        """The partition's rows of a row group, in order."""
        rows = self._groups.read(group, (*_COLUMNS, *_FILTERED))
        stream, partition = place
        wanted = pc.and_(pc.equal(rows["stream"], str(stream)), pc.equal(rows["partition"], partition))
        wanted = pc.and_(wanted, pc.greater(rows["log_sequence"], after))
        wanted = pc.and_(wanted, pc.less_equal(rows["log_sequence"], through))
        kept = rows.filter(wanted).select(list(_COLUMNS))
        kept = kept.set_column(4, "recorded", pc.cast(kept["recorded"], pa.int64()))
        return kept.sort_by([("log_sequence", "ascending"), ("log_index", "ascending")])


class _Memory:
    """Room for runs: those that do not fit lie in temporary files, without a name, so that no crash leaves them."""

    def __init__(self) -> None:
        self._used_bytes = 0

    def run(self, rows: pa.Table) -> Iterator[Row]:
        """The rows, one by one."""
        size_bytes = int(rows.nbytes)
        if self._used_bytes + size_bytes > MEMORY_BYTES:
            yield from _each(on_disk(rows, ROWS_AT_ONCE))
            return
        self._used_bytes += size_bytes
        yield from _each(rows)
        self._used_bytes -= size_bytes


def _each(rows: pa.Table) -> Iterator[Row]:
    for batch in rows.to_batches(max_chunksize=ROWS_AT_ONCE):
        yield from map(Row, *(column.to_pylist() for column in batch.columns))


def _push(runs: list[tuple[Row, int, Iterator[Row]]], number: int, rows: Iterator[Row]) -> None:
    row = next(rows, None)
    if row is not None:
        heapq.heappush(runs, (row, number, rows))


def _may_hold(group: RowGroup, place: Place) -> bool:
    stream, partition = place
    wanted: tuple[tuple[str, Any], ...] = (("stream", str(stream)), ("partition", partition))
    return all(group.may_hold(column, value, value) for column, value in wanted)
