"""The proof that the archive has what is to go: manifests walked, objects read back, every event hashed."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from ingestors.janitor.notes import FileNote, Notes, Portion
from ingestors.janitor.plan import Tally
from nervous_system.archive import merkle
from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.layout import EVENTS
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.manifest import FileEntry
from nervous_system.archive.objects import ObjectStore
from nervous_system.errors import NotFoundError
from nervous_system.events import decode
from nervous_system.ledger.cold import ArchivedRow, Position
from nervous_system.projects import ProjectName
from nervous_system.streams import StreamIdentity

_COLUMNS = ["tenant_id", "project_id", "stream", "partition", "log_sequence", "log_index", "event_id", "event_bytes"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What of the archive was found to be as its manifests say, in this round or one before.

    Args:
        store: the bucket.
        notes: what was found good before.
    """

    store: ObjectStore
    notes: Notes

    def walk(self, log: ArchiveLog) -> None:
        """Follows the chain of manifests from where it was followed to last.

        Raises:
            ArchiveDamagedError: a manifest is missing, changed or not signed by the key that is set.
        """
        number, known = self.notes.manifest
        for manifest in log.manifests(max(number, 1)):
            found = manifest.hash.hex()
            if manifest.number == number and found != known:
                raise ArchiveDamagedError(f"manifest {number} is another one than it was")
            self.notes.manifest = (manifest.number, found)
            known = ""
        if number and known:
            raise ArchiveDamagedError(f"manifest {number} was there, and is gone")

    def check_present(self, entries: Iterable[FileEntry]) -> None:
        """Raises ArchiveDamagedError where an object is no longer there."""
        present = set(self.store.keys(EVENTS))
        for entry in entries:
            if entry.key not in present:
                raise ArchiveDamagedError(f"{entry.key}, which its manifests name, is missing")

    def check(self, entry: FileEntry) -> bool:
        """Has a file found good, by reading it unless it was before; whether it was read.

        Raises:
            ArchiveDamagedError: it is not what the manifests say.
        """
        note = self.notes.files.get(entry.key)
        if note is not None and note.sha256 == entry.sha256.hex():
            return False
        self.rows(entry)
        return True

    def rows(self, entry: FileEntry) -> pa.Table:
        """A file's rows, every one hashed; raises ArchiveDamagedError."""
        table = read_file(self.store, entry)
        known = self.notes.files.get(entry.key)
        found = FileNote(entry.sha256.hex(), list(_portions(table)))
        if known is not None and known.sha256 == found.sha256:
            found.offloaded = known.offloaded
        self.notes.files[entry.key] = found
        return table


def read_file(store: ObjectStore, entry: FileEntry) -> pa.Table:
    """The rows of a file, checked against its manifest's entry: size, SHA-256, count, and each event's hash.

    Raises:
        ArchiveDamagedError: it is missing or something else.
    """
    try:
        body = store.get(entry.key)
    except NotFoundError as error:
        raise ArchiveDamagedError(f"{entry.key}, which its manifests name, is missing") from error
    if len(body) != entry.size_bytes or hashlib.sha256(body).digest() != entry.sha256:
        raise ArchiveDamagedError(f"{entry.key} does not have the size and SHA-256 that its manifest gives")
    try:
        table = pq.ParquetFile(io.BytesIO(body)).read(columns=_COLUMNS)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ArchiveDamagedError(f"{entry.key} cannot be read ({error})") from error
    events = table.column("event_bytes")
    leaves = (hashlib.sha256(event.as_buffer()).digest() for event in events)
    if table.num_rows != entry.rows or merkle.root(leaves) != entry.events_root:
        raise ArchiveDamagedError(f"{entry.key} does not have the events that its manifest names")
    return table


def archived_rows(
    table: pa.Table, tenants: set[str], has_part: Callable[[str, bytes], bool]
) -> dict[ProjectName, list[ArchivedRow]]:
    """The events of tenants as the ledger is told of them, by project, but for those with a part that it lacks."""
    found: dict[ProjectName, list[ArchivedRow]] = {}
    columns = [table.column(name).to_pylist() for name in _COLUMNS]
    streams: dict[str, StreamIdentity] = {}
    for tenant, project, stream, partition, sequence, index, event_id, data in zip(*columns, strict=True):
        if tenant not in tenants or not all(has_part(tenant, part) for part in decode(data).state_change.blob_parts):
            continue
        identity = streams.setdefault(stream, StreamIdentity.parse(stream))
        row = ArchivedRow(event_id, hashlib.sha256(data).digest(), Position(identity, partition, sequence, index))
        found.setdefault(ProjectName(tenant, project), []).append(row)
    return found


def _portions(table: pa.Table) -> Iterator[Portion]:
    events, sizes = Tally(), Tally()
    lengths = (event.as_buffer().size for event in table.column("event_bytes"))
    for tenant, length in zip(table.column("tenant_id").to_pylist(), lengths, strict=True):
        events.add(tenant, 1)
        sizes.add(tenant, length)
    for share, size in zip(events.shares(), sizes.shares(), strict=True):
        yield Portion(share.tenant, share.items, size.items)
