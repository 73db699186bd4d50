"""Events of the archive, read by where the log had them: one here and there, or a partition from end to end."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from threading import Lock

import pyarrow as pa
import pyarrow.compute as pc

from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.layout import blob_key
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.manifest import FileEntry
from nervous_system.archive.merging import LogOrder
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.rowgroups import Kept, RowGroup, RowGroups, on_disk
from nervous_system.archive.signing import signer_of, verifier_of
from nervous_system.archive.state import ArchiveState
from nervous_system.errors import NotFoundError
from nervous_system.landing import LandedMessage
from nervous_system.ledger.cold import Position
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity

READERS = 4
# Rows of row groups that were read last, of the projects that were asked for. Small ones stay in memory; others lie in
# temporary files, so that a tree whose contents come from everywhere has every row group fetched and unpacked once.
KEPT_BYTES = 1024 * 1024 * 1024
MEMORY_BYTES = 1024 * 1024
SPANS_KEPT = 16
_OWNER = ("tenant_id", "project_id")
_PLACE = ("stream", "partition", "log_sequence", "log_index")


def open_archive(settings: Settings) -> ArchiveReader:
    """A reader of the archive in the settings; raises SettingsError where these are no use."""
    store = ObjectStore(settings)
    return ArchiveReader(store, ArchiveLog(store, signer_of(settings), verifier_of(settings)))


class ArchiveReader:
    """Reads the archive; a ``ColdStore``. Safe to use from several threads.

    Only files that the newest manifest names are read, of these only footers and the row groups that may hold what is
    wanted. Every method may raise what the store and the log of manifests raise.

    Args:
        store: the bucket; closed with the reader.
        log: its manifests.
    """

    def __init__(self, store: ObjectStore, log: ArchiveLog) -> None:
        self._store = store
        self._log = log
        self._groups = RowGroups(store, (*_OWNER, *_PLACE))
        self._rows: Kept[pa.Table] = Kept(KEPT_BYTES, lambda rows: int(rows.nbytes))
        self._spans: Kept[_Spans] = Kept(SPANS_KEPT, lambda _: 1)
        self._pool = ThreadPoolExecutor(READERS, "archive")
        self._state: ArchiveState | None = None
        self._lock = Lock()

    def events(self, project: ProjectName, positions: Sequence[Position]) -> list[bytes]:
        """The verbatim bytes of events of a project, in the order asked for.

        Raises:
            NotFoundError: the archive has no event there.
            ArchiveDamagedError: a file cannot be read.
        """
        with self._lock:
            first = self._state = self._state or self._log.state()
        try:
            return self._found(first, project, positions)
        except NotFoundError:
            # Compacted since, or archived.
            with self._lock:
                newer = self._state = self._log.state()
            if newer.number == first.number:
                raise
            return self._found(newer, project, positions)

    def part(self, tenant: str, digest: bytes) -> bytes:
        """One part of a large content; raises NotFoundError where there is none, ArchiveDamagedError."""
        data = self._store.get(blob_key(tenant, digest))
        if hashlib.sha256(data).digest() != digest:
            raise ArchiveDamagedError(f"the object {blob_key(tenant, digest)} is not the content of its name")
        return data

    def messages(
        self, state: ArchiveState, stream: StreamIdentity, partition: int, after: int, through: int
    ) -> Iterator[LandedMessage]:
        """What the log gave of a partition with ``after`` < sequence <= ``through``, in its order, from files alone.

        The parts of a large content come ahead of the event that names them, each as a message of its own. Where the
        log had these is not kept: such a message has the sequence of the one before it, so that whoever stops there
        goes on behind that one.
        """
        return LogOrder(self._groups, self.part).messages(state, (stream, partition), after, through)

    def close(self) -> None:
        """Disconnects."""
        self._pool.shutdown(cancel_futures=True)
        self._store.close()

    def _found(self, state: ArchiveState, project: ProjectName, positions: Sequence[Position]) -> list[bytes]:
        spans = self._spans.get((state.number, project.tenant), lambda: _Spans(state.files_of(project)))
        by_file: dict[str, tuple[FileEntry, list[Position]]] = {}
        for position in dict.fromkeys(positions):
            for entry in spans.at(position):
                by_file.setdefault(entry.key, (entry, []))[1].append(position)
        found: dict[Position, bytes] = {}
        reading = [self._pool.submit(self._in_file, entry, wanted, project) for entry, wanted in by_file.values()]
        for each in reading:
            found |= each.result()
        missing = [position for position in positions if position not in found]
        if missing:
            raise NotFoundError(f"no file has the event of {project} at {_text(missing[0])}")
        return [found[position] for position in positions]

    def _in_file(self, entry: FileEntry, wanted: list[Position], project: ProjectName) -> dict[Position, bytes]:
        found: dict[Position, bytes] = {}
        sequences = sorted({position.sequence for position in wanted})
        for group in self._groups.of(entry):
            if _may_hold(group, project, sequences):
                rows = self._rows.get((entry.key, group.number, project), lambda g=group: self._read(g, project))  # type: ignore[misc]
                found.update(_picked(rows, wanted, sequences))
        return found

    def _read(self, group: RowGroup, project: ProjectName) -> pa.Table:
        """The project's rows of a row group."""
        rows = self._groups.read(group, [*_OWNER, *_PLACE, "event_bytes"])
        is_ours = pc.and_(pc.equal(rows["tenant_id"], project.tenant), pc.equal(rows["project_id"], project.project))
        kept = rows.filter(is_ours).drop_columns(list(_OWNER))
        return on_disk(kept) if kept.nbytes > MEMORY_BYTES else kept.combine_chunks()


class _Spans:
    """Which files hold a place of the log.

    Args:
        entries: files to look among.
    """

    def __init__(self, entries: Iterable[FileEntry]) -> None:
        spans: dict[tuple[str, int], list[tuple[int, int, FileEntry]]] = {}
        for entry in entries:
            for span in entry.spans:
                spans.setdefault((span.stream, span.partition), []).append((span.first, span.last, entry))
        self._spans = {place: sorted(of_place, key=lambda span: span[:2]) for place, of_place in spans.items()}
        # The highest sequence of a span and all before it: further back there is nothing to look for.
        self._reach = {
            place: list(accumulate((last for _, last, _ in of_place), max)) for place, of_place in self._spans.items()
        }

    def at(self, position: Position) -> Iterator[FileEntry]:
        """The files that may hold the event at ``position``."""
        place = str(position.stream), position.partition
        spans = self._spans.get(place, [])
        begin = bisect_left(self._reach.get(place, []), position.sequence)
        end = bisect_right(spans, position.sequence, key=lambda span: span[0])
        return (entry for _, last, entry in spans[begin:end] if last >= position.sequence)


def _may_hold(group: RowGroup, project: ProjectName, sequences: Sequence[int]) -> bool:
    """Whether a row group may have a row of the project with one of the ``sequences``, which are sorted."""
    owners = zip(_OWNER, (project.tenant, project.project), strict=True)
    if not all(group.may_hold(column, name, name) for column, name in owners):
        return False
    least, greatest = group.bounds.get("log_sequence", (sequences[0], sequences[-1]))
    return bisect_left(sequences, least) < bisect_right(sequences, greatest)


def _picked(rows: pa.Table, wanted: Iterable[Position], sequences: Sequence[int]) -> Iterator[tuple[Position, bytes]]:
    """Those rows that stand at a wanted position."""
    known = set(wanted)
    near = rows.take(pc.indices_nonzero(pc.is_in(rows["log_sequence"], pa.array(sequences, pa.uint64()))))
    places = [near[name].to_pylist() for name in _PLACE]
    for number, (stream, partition, sequence, index) in enumerate(zip(*places, strict=True)):
        position = Position(StreamIdentity.parse(stream), partition, sequence, index)
        if position in known:
            yield position, near["event_bytes"][number].as_py()


def _text(position: Position) -> str:
    return f"{position.stream}, partition {position.partition}, sequence {position.sequence}, index {position.index}"
