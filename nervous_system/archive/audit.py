"""Verifying the archive by itself: every manifest, every object that counts, every event and what events name."""

from __future__ import annotations

import hashlib
import heapq
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from nervous_system.archive import filerows, manifest, merkle
from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.filerows import FileRow
from nervous_system.archive.layout import MANIFESTS, EventsObject, blob_key, bucket_of, day_of, parse_manifest_key
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.manifest import FileEntry, Manifest, ProjectHead
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.state import ArchiveState
from nervous_system.errors import ContractError, NotFoundError
from nervous_system.events import decode
from nervous_system.projects import ProjectName


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was archived.

    Args:
        reason: a sentence without its end.
        manifest: number of the manifest in question; 0 where it is about none.
        key: name of the object in question; empty where it is about none.
    """

    reason: str
    manifest: int = 0
    key: str = ""

    def __str__(self) -> str:
        place = [f"manifest {self.manifest}"] * bool(self.manifest) + [self.key] * bool(self.key)
        return f"{', '.join(place)}: {self.reason}." if place else f"{self.reason[:1].upper()}{self.reason[1:]}."


@dataclass(slots=True)
class Counted:
    """What was verified so far, and of how many objects."""

    manifests: int = 0
    objects: int = 0
    objects_in_all: int = 0
    parts: int = 0
    events: int = 0
    bytes: int = 0


_Bound = TypeVar("_Bound", int, str)
Progress = Callable[[Counted], None]


@dataclass(frozen=True, slots=True)
class Audit:
    """What verifying found.

    Args:
        findings: the first difference first; none where all is as it was archived.
        state: what the archive holds by its last good manifest.
        counted: what was verified.
    """

    findings: tuple[Finding, ...]
    state: ArchiveState
    counted: Counted

    @property
    def good(self) -> bool:
        """Whether nothing differs."""
        return not self.findings


def audit(log: ArchiveLog, store: ObjectStore, progress: Progress = lambda _: None) -> Audit:
    """Verifies the whole archive, a file of events at a time.

    Walks every manifest (numbers, chain, bodies, signatures, roots), then every object that counts (size, SHA-256,
    rows, their root), the chain of each project over all its events, and the parts of contents that events name.

    Args:
        log: its manifests; with a verifier signatures are checked, too.
        store: its bucket.
        progress: told what was verified, after each manifest and object.
    """
    counted = Counted()
    state, findings = _manifests(log, store, counted, progress)
    findings += _Files(store, state, counted, progress).findings()
    return Audit(tuple(findings), state, counted)


def _manifests(
    log: ArchiveLog, store: ObjectStore, counted: Counted, progress: Progress
) -> tuple[ArchiveState, list[Finding]]:
    """The state after all manifests, or after those before the first that is not good."""
    state, previous = ArchiveState(), manifest.GENESIS
    full = 0
    listed = max((number for key in store.keys(MANIFESTS) if (number := parse_manifest_key(key))), default=0)
    for number in range(1, listed + 1):
        try:
            found = log.manifest(number)
            if found.header.previous != previous:
                raise ArchiveDamagedError(f"manifest {number} does not follow the one before it")
            full = number if found.is_full else full
            if found.header.full != full:
                raise ArchiveDamagedError(f"manifest {number} names another last one that lists everything")
            after = state.changed(found.change)
            after.check(found)
            _check_moves(state, after, found)
        except NotFoundError:
            return state, [Finding(f"it is missing, and there are later ones up to {listed}", number)]
        except ArchiveDamagedError as error:
            return state, [Finding(error.what, number)]
        state, previous = after, found.hash
        counted.manifests += 1
        progress(counted)
    return state, []


def _check_moves(before: ArchiveState, after: ArchiveState, found: Manifest) -> None:
    """Raises ArchiveDamagedError where a cursor or head fell, or a full manifest lists another state."""
    for place, cursor in found.change.cursors.items():
        if cursor.sequence < before.cursor(*place).sequence:
            raise ArchiveDamagedError(f"the cursor of partition {place[1]} of {place[0]} falls")
    for project, head in found.change.heads.items():
        if head.events < before.head(project).events:
            raise ArchiveDamagedError(f"the number of events of {project} falls")
    whole = found.body.state
    if whole is not None and manifest.canonical(whole.document()) != manifest.canonical(after.whole().document()):
        raise ArchiveDamagedError("what it lists is not what the manifests up to it add up to")


@dataclass(slots=True)
class _Files:
    """The objects of a state, verified by bucket and day: of one of these all files are here at a time."""

    store: ObjectStore
    state: ArchiveState
    counted: Counted
    progress: Progress
    heads: dict[ProjectName, ProjectHead] = field(default_factory=dict)
    parts: set[tuple[str, bytes]] = field(default_factory=set)
    found: list[Finding] = field(default_factory=list)

    def findings(self) -> list[Finding]:
        """What differs."""
        named = {entry.key: EventsObject.parse(entry.key) for entry in self.state.files.values()}
        self.found += [
            Finding("its name is not one of the archive's", key=key) for key, name in named.items() if not name
        ]
        places = sorted((name.bucket, name.day, key) for key, name in named.items() if name)
        self.counted.objects_in_all = len(places)
        for bucket, of_bucket in groupby(places, key=lambda place: place[0]):
            for _, of_day in groupby(of_bucket, key=lambda place: place[1]):
                self._day([self.state.files[key] for _, _, key in of_day], bucket)
            self._check_parts()
        self._check_heads()
        return self.found

    def _day(self, entries: list[FileEntry], bucket: int) -> None:
        with tempfile.TemporaryDirectory(prefix="enchanted-audit-") as folder:
            merged = heapq.merge(
                *(self._checked(entry, Path(folder) / str(place)) for place, entry in enumerate(entries)),
                key=lambda located: located[1][:5],
            )
            self._take(merged, bucket)

    def _take(self, located: Iterable[tuple[FileEntry, FileRow]], bucket: int) -> None:
        before: tuple[object, ...] = ()
        for entry, row in located:
            if row[:5] == before:
                self._add(entry, f"it has the event at {_at(row)}, and so has another row")
            before = row[:5]
            project = ProjectName(row.tenant, row.project)
            if bucket_of(row.tenant) != bucket:
                self._add(entry, f"it has an event of {row.tenant}, whose bucket is {bucket_of(row.tenant):02d}")
            self.heads[project] = self.heads.get(project, ProjectHead()).extended(row.data)
            self._name_parts(entry, row)
            self.counted.events += 1

    def _checked(self, entry: FileEntry, path: Path) -> Iterator[tuple[FileEntry, FileRow]]:
        """A file's rows, once its bytes were found good; what differs in the rows is found as they pass."""
        try:
            filerows.fetch(self.store, entry, path)
            leaves: list[bytes] = []
            seen = _Seen()
            for row in filerows.rows(path, entry.key):
                leaves.append(merkle.leaf_hash(hashlib.sha256(row.data).digest()))
                seen.add(row)
                yield entry, row
            if len(leaves) != entry.rows:
                self._add(entry, f"it has {len(leaves):,} rows instead of {entry.rows:,}")
            elif merkle.root_of_hashes(leaves) != entry.events_root:
                self._add(entry, "the root of its events is not the one in its manifest")
            for reason in seen.differences(entry, self.state):
                self._add(entry, reason)
        except ArchiveDamagedError as error:
            self._add(entry, error.what)
        finally:
            path.unlink(missing_ok=True)
        self.counted.objects += 1
        self.counted.bytes += entry.size_bytes
        self.progress(self.counted)

    def _name_parts(self, entry: FileEntry, row: FileRow) -> None:
        try:
            event = decode(row.data)
        except ContractError:
            self._add(entry, f"the event at {_at(row)} cannot be read")
            return
        if (event.tenant_id, event.project_id) != (row.tenant, row.project):
            self._add(entry, f"the event at {_at(row)} is of another project than its row says")
        self.parts.update((row.tenant, digest) for digest in event.state_change.blob_parts)

    def _check_parts(self) -> None:
        for tenant, digest in sorted(self.parts):
            key = blob_key(tenant, digest)
            try:
                data = self.store.get(key)
            except NotFoundError:
                self.found.append(Finding("an event names it, and it is missing", key=key))
                continue
            if hashlib.sha256(data).digest() != digest:
                self.found.append(Finding("it has other bytes than were archived: its SHA-256 differs", key=key))
            self.counted.parts += 1
            self.counted.bytes += len(data)
            self.progress(self.counted)
        self.parts.clear()

    def _check_heads(self) -> None:
        if self.found:
            # Of what is missing or changed no chain can be told.
            return
        for project in sorted({*self.heads, *self.state.heads}):
            ours, theirs = self.heads.get(project, ProjectHead()), self.state.head(project)
            if ours.events != theirs.events:
                reason = f"{project} has {ours.events:,} events, and the manifests say {theirs.events:,}"
                self.found.append(Finding(reason, self.state.number))
            elif ours != theirs:
                reason = f"the chain over the events of {project} is not the one that the manifests give"
                self.found.append(Finding(reason, self.state.number))

    def _add(self, entry: FileEntry, reason: str) -> None:
        self.found.append(Finding(reason, key=entry.key))


class _Seen:
    """What a file's rows say of what its entry says, gathered as they pass."""

    def __init__(self) -> None:
        self._spans: dict[tuple[str, int], tuple[int, int]] = {}
        self._recorded: list[int] = []
        self._tenants: list[str] = []
        self._last: tuple[object, ...] = ()
        self._sorted = True

    def add(self, row: FileRow) -> None:
        place = (row.stream, row.partition)
        first, last = self._spans.get(place, (row.log_sequence, row.log_sequence))
        self._spans[place] = (min(first, row.log_sequence), max(last, row.log_sequence))
        self._recorded = _widened(self._recorded, row.recorded_us)
        self._tenants = _widened(self._tenants, row.tenant)
        self._sorted = self._sorted and self._last <= row[:5]
        self._last = row[:5]

    def differences(self, entry: FileEntry, state: ArchiveState) -> Iterator[str]:
        name = EventsObject.parse(entry.key)
        spans = sorted((*place, *span) for place, span in self._spans.items())
        if not self._sorted:
            yield "its rows are not in order"
        if spans != sorted((span.stream, span.partition, span.first, span.last) for span in entry.spans):
            yield "its rows are of other sequences than its manifest says"
        if (tuple(self._recorded), tuple(self._tenants)) != (entry.recorded_us, entry.tenants):
            yield "its rows are of other times or tenants than its manifest says"
        if name and any(day_of(moment_us) != name.day for moment_us in self._recorded):
            yield "it has events of another day than its name says"
        if any(span.last > state.cursor(*span.place).sequence for span in entry.spans):
            yield "it reaches beyond the archive's cursor"


def _widened(bounds: list[_Bound], value: _Bound) -> list[_Bound]:
    return [min(bounds[0], value), max(bounds[1], value)] if bounds else [value, value]


def _at(row: FileRow) -> str:
    return f"{row.stream}, sequence {row.log_sequence}, index {row.log_index}"
