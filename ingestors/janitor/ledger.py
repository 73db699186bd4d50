"""What goes of the ledger: the bytes of archived events, replaced by stubs that say where the archive has them.

What stood in a project's tree within the hot window stays, so that the present is restored without the archive; it is
looked at again once a window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from ingestors.janitor.bounds import Bounds
from ingestors.janitor.evidence import archived_rows
from ingestors.janitor.notes import Notes
from ingestors.janitor.plan import StorePlan, Tally
from ingestors.janitor.policy import DAY_US
from nervous_system.archive.filerows import FileRow
from nervous_system.archive.manifest import FileEntry
from nervous_system.errors import NotFoundError, UnavailableError
from nervous_system.failpoints import failpoint
from nervous_system.ledger.cold import ArchivedRow, Offloaded
from nervous_system.ledger.ledger import Ledger
from nervous_system.ledger.records import DamagedError
from nervous_system.projects import ProjectName

STORE = "ledger"
NEVER = 0
EMBEDDED = "embedded://"

Rows = Callable[[FileEntry], AbstractContextManager[Iterator[FileRow]]]
"""Checks a file of the archive, and reads it row by row."""


class LedgerStore:
    """Events of the ledger that may go.

    Args:
        ledger: opened.
        address: of it.
        notes: what the files of the archive hold.
        has_part: whether the archive has a tenant's part of a content, by its SHA-256.
    """

    def __init__(self, ledger: Ledger, address: str, notes: Notes, has_part: Callable[[str, bytes], bool]) -> None:
        self._ledger = ledger
        self._has_part = has_part
        self._notes = notes
        self._path = Path(address.removeprefix(EMBEDDED)) if address.startswith(EMBEDDED) else None
        self._standing: dict[tuple[str, int], set[bytes]] = {}
        # In the ledger, and not in the notes: one that was rebuilt or put back from a copy has its events whole again.
        self._files = ledger.offloaded_files()
        self._again_us = self._files.all()

    def size_bytes(self) -> int:
        """Room that an embedded ledger takes; 0 of a cluster, which gives room back by itself."""
        if self._path is None:
            return 0
        files = (self._path.with_name(self._path.name + end) for end in ("", "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def plan(self, bounds: Bounds, entries: Iterable[FileEntry]) -> StorePlan:
        """What may go, by what is known of the files; raw bytes, of which the ledger holds fewer."""
        tally, size_bytes = Tally(), 0
        for entry in entries:
            for tenant in self._tenants(bounds, entry):
                portion = next(each for each in self._notes.files[entry.key].portions if each.tenant == tenant)
                tally.add(tenant, portion.events, entry.recorded_us[1])
                size_bytes += portion.size_bytes
        return StorePlan(STORE, tally.shares(), size_bytes)

    def remove(self, bounds: Bounds, entries: Iterable[FileEntry], rows: Rows) -> Offloaded:
        """Removes what may go, file by file, and gives its room back."""
        if self._ledger.is_rebuilding():
            raise UnavailableError(
                "The ledger is being rebuilt from the archive: run this again once that is finished."
            )
        total = Offloaded()
        self._forget()
        for entry in entries:
            if tenants := self._tenants(bounds, entry):
                with rows(entry) as of_file:
                    total += self._offload(bounds, entry, tenants, of_file)
                failpoint("janitor-after-file")
        self._ledger.reclaim()
        failpoint("janitor-after-reclaim")
        return total

    def _tenants(self, bounds: Bounds, entry: FileEntry) -> set[str]:
        """Whose events of a file are to go now: all of them may, and they are not known to be gone."""
        note = self._notes.files[entry.key]
        tenants = (portion.tenant for portion in note.portions)
        return {
            tenant
            for tenant in tenants
            if bounds.covers(entry, tenant) and self._is_due(note.sha256, tenant, bounds.now_us)
        }

    def _is_due(self, sha256: str, tenant: str, now_us: int) -> bool:
        again_us = self._again_us.get((sha256, tenant))
        return again_us is None or NEVER < again_us <= now_us

    def _forget(self) -> None:
        """Files that were merged into others are asked about no more."""
        named = {note.sha256 for note in self._notes.files.values()}
        for sha256, tenant in [each for each in self._again_us if each[0] not in named]:
            self._files.forget(sha256, tenant)
            del self._again_us[sha256, tenant]

    def _offload(self, bounds: Bounds, entry: FileEntry, tenants: set[str], rows: Iterable[FileRow]) -> Offloaded:
        note, total = self._notes.files[entry.key], Offloaded()
        told, kept = Counter[str](), Counter[str]()
        for project, several in archived_rows(rows, tenants, self._has_part):
            gone = self._offload_some(bounds, project, several)
            told[project.tenant] += len(several)
            kept[project.tenant] += gone.kept
            total += gone
        for portion in (each for each in note.portions if each.tenant in tenants):
            if kept[portion.tenant]:
                again_us = bounds.now_us + bounds.policy.days_of(portion.tenant) * DAY_US
            elif told[portion.tenant] < portion.events:
                again_us = bounds.now_us + DAY_US
            else:
                again_us = NEVER
            self._files.note(note.sha256, portion.tenant, again_us)
            self._again_us[note.sha256, portion.tenant] = again_us
        return total

    def _offload_some(self, bounds: Bounds, project: ProjectName, rows: Sequence[ArchivedRow]) -> Offloaded:
        if not self._is_known(project):
            return Offloaded()
        keep = self._kept(project.tenant, bounds.policy.cutoff_us(project.tenant, bounds.now_us))
        return self._ledger.offload(project, rows, keep)

    def _kept(self, tenant: str, cutoff_us: int) -> set[bytes]:
        """What stood in any project of a tenant: they store a content once, and a fork's tree is of another's."""
        if (tenant, cutoff_us) not in self._standing:
            kept: set[bytes] = set()
            for project in self._ledger.projects():
                if project.tenant == tenant and self._is_known(project):
                    kept |= self._ledger.standing_contents(project, cutoff_us)
            self._standing[tenant, cutoff_us] = kept
        return self._standing[tenant, cutoff_us]

    def _is_known(self, project: ProjectName) -> bool:
        """Whether any event of a project has landed, and its past is there.

        Whoever writes events by hand may have two be each other's past: no reason to keep all that others have.
        """
        try:
            self._ledger.history(project)
        except (NotFoundError, DamagedError):
            return False
        return True
