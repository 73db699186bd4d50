"""Landing in the archive: files first, then the manifest that names them and moves the cursor, in one atomic step."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date

from ingestors.sink import Limits
from ingestors.siphon import files
from ingestors.siphon.background import Background
from ingestors.siphon.workspace import Workspace
from nervous_system import columns, parquet
from nervous_system.archive import layout
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.manifest import Change, FileEntry, ProjectHead
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.signing import signer_of, verifier_of
from nervous_system.archive.state import ArchiveState
from nervous_system.errors import EnchantedError
from nervous_system.failpoints import failpoint
from nervous_system.landing import Batch, Cursor, Refusal
from nervous_system.parquet import Expected
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity

# What a file is made of is held decoded until the file is written, at some kilobytes an event.
MAX_FILE_EVENTS = 16_000


class CursorMovedError(EnchantedError):
    """The archive's cursor is not where the batch goes on from: another worker has landed it."""


class SiphonSink:
    """Archives batches: files of each day and bucket of tenants, named by one manifest a batch.

    Small files are merged meanwhile, see ``compaction``.
    """

    name = "siphon"
    may_begin_late = False

    def __init__(self, settings: Settings) -> None:
        self.limits = Limits(MAX_FILE_EVENTS, settings.siphon_roll_bytes, settings.siphon_roll_age_s)
        self._settings = settings
        self._store = ObjectStore(settings)
        self._log = ArchiveLog(self._store, signer_of(settings), verifier_of(settings))
        self._workspace: Workspace | None = None
        self._background: Background | None = None

    def open(self) -> None:
        """Connects and makes the bucket where it is missing.

        Raises:
            AccessError: the keys are refused.
            UnavailableError: no S3 answers, or files cannot be written here.
        """
        self._store.open()
        if self._workspace is None:
            self._workspace = Workspace(self._settings.siphon_files)
        if self._background is None:
            self._background = Background(self._settings, self._store, self._log, self._workspace)

    def cursor(self, stream: StreamIdentity, partition: int) -> Cursor:
        """How far the archive has a partition of the stream, by its newest manifest."""
        return self._log.state().cursor(stream, partition)

    def land(self, batch: Batch) -> Sequence[Refusal]:
        """Uploads the batch: parts of large contents, then its files, then the manifest that names these.

        Raises:
            CursorMovedError: another worker has landed what comes after ``batch.after``.
        """
        self._upload_parts(batch)
        added = list(self._upload_events(batch))
        failpoint("before-manifest")
        self._log.append(lambda state: change(state, batch, added))
        failpoint("after-manifest")
        return ()

    def check(self) -> None:
        """Raises AccessError or UnavailableError where the bucket cannot be reached."""
        self._store.check()

    def close(self) -> None:
        """Disconnects; a merge that is going on ends without having changed anything."""
        if self._background is not None:
            self._background.close()
        if self._workspace is not None:
            self._workspace.close()
        self._background = self._workspace = None
        self._store.close()

    def _upload_parts(self, batch: Batch) -> None:
        for message in batch.messages:
            if message.part is not None and message.project is not None:
                digest = hashlib.sha256(message.part).digest()
                self._store.put_new(layout.blob_key(message.project.tenant, digest), message.part)
                failpoint("after-part")

    def _upload_events(self, batch: Batch) -> Iterator[FileEntry]:
        assert self._workspace is not None, "open() comes first"
        for rows in by_day_and_bucket(batch):
            table = columns.table(columns.in_order(rows), batch.stream, batch.partition)
            with self._workspace.file("parquet") as path:
                file = files.write(path, [table], Expected.of(table), parquet.FAST)
                failpoint("before-upload")
                file.upload(self._store)
                failpoint("after-upload")
            yield file.entry


def by_day_and_bucket(batch: Batch) -> list[list[columns.Located]]:
    """The batch's rows as they go into files: of one UTC day and one bucket of tenants each."""
    found: dict[tuple[date, int], list[columns.Located]] = defaultdict(list)
    for message in batch.messages:
        if message.project is not None:
            place = layout.day_of(message.recorded_us), layout.bucket_of(message.project.tenant)
            found[place] += columns.located([message])
    return [rows for rows in found.values() if rows]


def change(state: ArchiveState, batch: Batch, added: Sequence[FileEntry]) -> Change:
    """What the batch changes about the archive as it is; raises CursorMovedError where it does not go on from there."""
    cursor = state.cursor(batch.stream, batch.partition)
    if cursor.sequence != batch.after:
        raise CursorMovedError(
            f"The archive has partition {batch.partition} up to {cursor.sequence}, not {batch.after}: another siphon "
            "has landed meanwhile. This one goes on from there."
        )
    return Change(tuple(added), (), {(batch.stream, batch.partition): batch.cursor}, _heads(state, batch))


def _heads(state: ArchiveState, batch: Batch) -> dict[ProjectName, ProjectHead]:
    heads: dict[ProjectName, ProjectHead] = {}
    for message in batch.messages:
        if message.project is not None:
            for landed in message.events:
                head = heads.get(message.project) or state.head(message.project)
                heads[message.project] = head.extended(landed.data)
    return heads
