"""What the archive holds after a manifest: the fold of all changes up to it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nervous_system.archive import merkle
from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.layout import EventsObject, bucket_of
from nervous_system.archive.manifest import Change, FileEntry, Manifest, Place, ProjectHead
from nervous_system.landing import Cursor
from nervous_system.projects import ProjectName
from nervous_system.streams import StreamIdentity


@dataclass(frozen=True, slots=True)
class ArchiveState:
    """What the archive holds after manifest ``number``; the empty one stands before the first.

    Args:
        number: of the manifest; 0 before the first.
        files: those that count, by name.
        cursors: how far each partition is archived.
        heads: how many events of each project are archived, and their chain.
    """

    number: int = 0
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    cursors: Mapping[Place, Cursor] = field(default_factory=dict)
    heads: Mapping[ProjectName, ProjectHead] = field(default_factory=dict)
    _leaves: Mapping[str, bytes] = field(default_factory=dict, repr=False, compare=False)

    def cursor(self, stream: StreamIdentity, partition: int) -> Cursor:
        """How far a partition is archived; the cursor at 0 before its first message."""
        return self.cursors.get((stream, partition), Cursor())

    def head(self, project: ProjectName) -> ProjectHead:
        """Where a project stands; the head of none before its first event."""
        return self.heads.get(project, ProjectHead())

    def files_of(self, project: ProjectName) -> list[FileEntry]:
        """The files that may hold events of a project, oldest first."""
        bucket, tenant = bucket_of(project.tenant), project.tenant
        found = [
            entry
            for entry in self.files.values()
            if entry.tenants[0] <= tenant <= entry.tenants[1] and _bucket(entry.key) in (bucket, None)
        ]
        return sorted(found, key=lambda entry: (entry.recorded_us, entry.key))

    def files_at(self, project: ProjectName, stream: StreamIdentity, partition: int, sequence: int) -> list[FileEntry]:
        """The files that may hold what a project sent at a place of the log."""
        name = str(stream)
        return [
            entry
            for entry in self.files_of(project)
            if any(
                (span.stream, span.partition) == (name, partition) and span.first <= sequence <= span.last
                for span in entry.spans
            )
        ]

    def changed(self, change: Change) -> ArchiveState:
        """The state after one more manifest with this change.

        Raises:
            ArchiveDamagedError: it adds a file that is there, or removes one that is not.
        """
        number = self.number + 1
        files, leaves = dict(self.files), dict(self._leaves)
        for key in change.removed:
            if files.pop(key, None) is None:
                raise ArchiveDamagedError(f"manifest {number} removes {key}, which is not there")
            del leaves[key]
        for entry in change.added:
            if entry.key in files:
                raise ArchiveDamagedError(f"manifest {number} adds {entry.key}, which is there already")
            files[entry.key] = entry
            leaves[entry.key] = merkle.leaf_hash(entry.canonical())
        return ArchiveState(number, files, {**self.cursors, **change.cursors}, {**self.heads, **change.heads}, leaves)

    def apply(self, manifest: Manifest) -> ArchiveState:
        """The state after the next manifest; from the empty state also after any full one.

        Raises:
            ArchiveDamagedError: it is not the next one, or does not fit what was there.
        """
        if self.number == 0 and manifest.body.state is not None:
            return ArchiveState(manifest.number - 1).changed(manifest.body.state)
        if manifest.number != self.number + 1:
            raise ArchiveDamagedError(f"manifest {manifest.number} stands where {self.number + 1} should")
        return self.changed(manifest.change)

    def root(self) -> bytes:
        """The Merkle root over all files, by name, 32 bytes."""
        return merkle.root_of_hashes(self._leaves[key] for key in sorted(self._leaves))

    def leaf_hashes(self) -> list[bytes]:
        """The leaves of ``root``, in order, hashed."""
        return [self._leaves[key] for key in sorted(self._leaves)]

    def whole(self) -> Change:
        """All of it as a change from nothing, for a full manifest."""
        return Change(tuple(self.files.values()), (), self.cursors, self.heads)

    def check(self, manifest: Manifest) -> None:
        """Raises ArchiveDamagedError where the manifest's root or number of files is not this state's."""
        if (manifest.header.files, manifest.header.root) != (len(self.files), self.root()):
            raise ArchiveDamagedError(f"the root of manifest {manifest.number} is not that of the files it lists")


def _bucket(key: str) -> int | None:
    found = EventsObject.parse(key)
    return found.bucket if found else None
