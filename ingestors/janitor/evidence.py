"""The proof that the archive has what is to go: manifests walked, objects read back, every event hashed."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

from ingestors.janitor.notes import FileNote, Notes, Portion
from ingestors.janitor.plan import Tally
from ingestors.siphon.workspace import Workspace, explained
from nervous_system.archive import filerows, merkle
from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.filerows import FileRow
from nervous_system.archive.layout import EVENTS
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.manifest import FileEntry
from nervous_system.archive.objects import ObjectStore
from nervous_system.events import decode
from nervous_system.ledger.cold import ArchivedRow, Position
from nervous_system.projects import ProjectName
from nervous_system.streams import StreamIdentity

# A file may have a million rows: the ledger is told of so many at a time.
ROWS_AT_ONCE = 4_096


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
            UnavailableError: there is no room for it on this machine.
        """
        if self._is_known(entry):
            return False
        with self._fetched(entry) as path:
            self._count(entry, path)
        return True

    @contextmanager
    def rows(self, entry: FileEntry) -> Iterator[Iterator[FileRow]]:
        """The rows of a file that is good, one by one, for the length of a ``with`` block; raises as ``check``."""
        with self._fetched(entry) as path:
            if not self._is_known(entry):
                self._count(entry, path)
            yield filerows.rows(path, entry.key)

    @contextmanager
    def _fetched(self, entry: FileEntry) -> Iterator[Path]:
        """A file on this machine, its bytes found to be those that its entry names, for the length of a ``with`` block.

        Beside the notes, since a container's folder for temporary files may be its memory.
        """
        folder = self.notes.path.parent if self.notes.path else Path(tempfile.gettempdir(), "enchanted-janitor")
        with closing(Workspace(folder)) as workspace, workspace.file("parquet") as path:
            with explained(workspace.folder):
                filerows.fetch(self.store, entry, path)
            yield path

    def _is_known(self, entry: FileEntry) -> bool:
        """Whether these very bytes were found to have the events that are named."""
        note = self.notes.files.get(entry.key)
        return note is not None and note.sha256 == entry.sha256.hex()

    def _count(self, entry: FileEntry, path: Path) -> None:
        self.notes.files[entry.key] = FileNote(entry.sha256.hex(), counted(entry, filerows.rows(path, entry.key)))


def counted(entry: FileEntry, rows: Iterable[FileRow]) -> list[Portion]:
    """What a file has of each tenant; raises ArchiveDamagedError where it has not the events that its entry names."""
    events, sizes = Tally(), Tally()

    def leaves() -> Iterator[bytes]:
        for row in rows:
            events.add(row.tenant, 1)
            sizes.add(row.tenant, len(row.data))
            yield hashlib.sha256(row.data).digest()

    root = merkle.root(leaves())
    if sum(share.items for share in events.shares()) != entry.rows or root != entry.events_root:
        raise ArchiveDamagedError(f"{entry.key} does not have the events that its manifest names")
    return [
        Portion(share.tenant, share.items, size.items)
        for share, size in zip(events.shares(), sizes.shares(), strict=True)
    ]


def archived_rows(
    rows: Iterable[FileRow], tenants: set[str], has_part: Callable[[str, bytes], bool]
) -> Iterator[tuple[ProjectName, list[ArchivedRow]]]:
    """The events of tenants as the ledger is told of them, a few of one project at a time.

    Those with a part that the archive lacks are left out.
    """
    wanted = (row for row in rows if row.tenant in tenants)
    for (tenant, project), of_project in groupby(wanted, key=lambda row: (row.tenant, row.project)):
        found = (_archived(row, has_part) for row in of_project)
        present = (row for row in found if row is not None)
        while several := list(islice(present, ROWS_AT_ONCE)):
            yield ProjectName(tenant, project), several


def _archived(row: FileRow, has_part: Callable[[str, bytes], bool]) -> ArchivedRow | None:
    event = decode(row.data)
    if not all(has_part(row.tenant, part) for part in event.state_change.blob_parts):
        return None
    position = Position(StreamIdentity.parse(row.stream), row.partition, row.log_sequence, row.log_index)
    return ArchivedRow(event.event_id, hashlib.sha256(row.data).digest(), position, len(row.data))
