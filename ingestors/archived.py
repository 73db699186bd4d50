"""What the archive has of one project, in log order: of streams the earlier made first, then by sequence.

Row groups become runs, which are merged as they are needed: one is read when the merge comes to the first place that it
may hold. Of those read last a few are kept, since projects that are neighbours share them.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import pyarrow as pa
import pyarrow.compute as pc

from ingestors.agreement import Archived
from nervous_system.archive.manifest import FileEntry
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.rowgroups import Kept, RowGroup, RowGroups
from nervous_system.archive.state import ArchiveState
from nervous_system.ledger.cold import Position
from nervous_system.projects import ProjectName
from nervous_system.streams import StreamIdentity

KEPT_BYTES = 64 * 1024 * 1024
ROWS_AT_ONCE = 512
_OWNER = ("tenant_id", "project_id")
_COLUMNS = ("stream", "partition", "log_sequence", "log_index", "event_id", "event_bytes")

Order = tuple[int, str, int, int]
"""When the stream was made, its name, sequence, place in the message."""
Runs = list[tuple[Order, int, Archived, Iterator[Archived]]]


@dataclass(order=True, slots=True)
class _Pending:
    """A file or a row group that is not read: nothing in it stands before ``least``."""

    least: Order
    number: int
    what: FileEntry | RowGroup = field(compare=False)


class ProjectRows:
    """Reads projects from files alone.

    Args:
        store: where the files are.
        state: which of them count.
    """

    def __init__(self, store: ObjectStore, state: ArchiveState) -> None:
        self._state = state
        self._groups = RowGroups(store, (*_OWNER, *_COLUMNS[:4]))
        self._tables: Kept[pa.Table] = Kept(KEPT_BYTES, lambda rows: int(rows.nbytes))

    def of(self, project: ProjectName) -> Iterator[Archived]:
        """The project's events; raises NotFoundError, ArchiveDamagedError, and as the store does."""
        numbers = count()
        pending = [_Pending(_least(entry), next(numbers), entry) for entry in self._state.files_of(project)]
        heapq.heapify(pending)
        runs: Runs = []
        while pending or runs:
            while pending and (not runs or pending[0].least <= runs[0][0]):
                what = heapq.heappop(pending).what
                if isinstance(what, RowGroup):
                    _push(runs, next(numbers), self._run(what, project))
                else:
                    for group in self._groups.of(what):
                        if _may_hold(group, project):
                            heapq.heappush(pending, _Pending(_least_of(group), next(numbers), group))
            if runs:
                _, number, row, rest = heapq.heappop(runs)
                yield row
                _push(runs, number, rest)

    def _run(self, group: RowGroup, project: ProjectName) -> Iterator[Archived]:
        table = self._tables.get(
            (group.entry.key, group.number), lambda: self._groups.read(group, (*_OWNER, *_COLUMNS))
        )
        is_ours = pc.and_(pc.equal(table["tenant_id"], project.tenant), pc.equal(table["project_id"], project.project))
        for batch in table.filter(is_ours).select(list(_COLUMNS)).to_batches(max_chunksize=ROWS_AT_ONCE):
            streams: dict[str, StreamIdentity] = {}
            for name, partition, sequence, index, event_id, data in zip(
                *(column.to_pylist() for column in batch.columns), strict=True
            ):
                stream = streams.get(name) or streams.setdefault(name, StreamIdentity.parse(name))
                position = Position(stream, partition, sequence, index)
                yield Archived(project.tenant, event_id, hashlib.sha256(data).digest(), position)


def _least(entry: FileEntry) -> Order:
    return min(_order(StreamIdentity.parse(span.stream), span.first) for span in entry.spans)


def _least_of(group: RowGroup) -> Order:
    stream, _ = group.bounds.get("stream", ("", ""))
    first, _ = group.bounds.get("log_sequence", (0, 0))
    return _order(StreamIdentity.parse(stream), first) if stream else (0, "", 0, 0)


def _order(stream: StreamIdentity, sequence: int, index: int = 0) -> Order:
    return stream.created_us, stream.name, sequence, index


def _push(runs: Runs, number: int, rows: Iterator[Archived]) -> None:
    row = next(rows, None)
    if row is not None:
        position = row.position
        order = _order(position.stream, position.sequence, position.index)
        heapq.heappush(runs, (order, number, row, rows))


def _may_hold(group: RowGroup, project: ProjectName) -> bool:
    return all(
        group.may_hold(column, name, name)
        for column, name in zip(_OWNER, (project.tenant, project.project), strict=True)
    )
