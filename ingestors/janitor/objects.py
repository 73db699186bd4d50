"""What goes of the archive itself: objects that no manifest names, and none has named for a day.

They are left by a siphon that was killed before its manifest, and by compaction. One that a siphon may still come to
name stays: whose partitions the archive has not passed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from ingestors.janitor.notes import Notes
from ingestors.janitor.plan import Share, StorePlan
from ingestors.janitor.policy import DAY_US
from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.layout import EVENTS
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.manifest import Place
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.state import ArchiveState
from nervous_system.errors import NotFoundError
from nervous_system.failpoints import failpoint
from nervous_system.streams import StreamIdentity

STORE = "archive"


class UnnamedObjects:
    """Objects of events that count no more, or never did.

    Args:
        store: the bucket.
        log: says what counts.
        notes: since when each was seen.
    """

    def __init__(self, store: ObjectStore, log: ArchiveLog, notes: Notes) -> None:
        self._store = store
        self._log = log
        self._notes = notes

    def plan(self, now_us: int) -> StorePlan:
        """What may go."""
        keys = self._found(now_us)
        size_bytes = sum(self._store.size_bytes(key) or 0 for key in keys)
        return StorePlan(STORE, (Share("", len(keys)),) if keys else (), size_bytes)

    def remove(self, now_us: int) -> tuple[int, int]:
        """Removes them; how many, and the bytes that they had."""
        removed = size_bytes = 0
        for key in self._found(now_us):
            try:
                body = self._store.get(key)
            except NotFoundError:
                continue
            self._store.delete([key])
            failpoint("janitor-after-object")
            if key in self._log.state().files:
                # Whoever wrote it has named it meanwhile.
                self._store.put_new(key, body)
                continue
            self._notes.unnamed.pop(key, None)
            removed, size_bytes = removed + 1, size_bytes + len(body)
        return removed, size_bytes

    def _found(self, now_us: int) -> list[str]:
        # The state after the listing: what is written and named in between counts.
        listed = list(self._store.keys(EVENTS))
        state = self._log.state()
        recent = set(self._removed_since(state.number, now_us - DAY_US))
        self._check_present(state, set(listed))
        unnamed = [key for key in listed if key not in state.files]
        seen_us = {key: self._notes.unnamed.get(key, now_us) for key in unnamed}
        self._notes.unnamed = seen_us
        old = [key for key in unnamed if seen_us[key] <= now_us - DAY_US and key not in recent]
        return [key for key in old if self._is_passed(state, key)]

    def _check_present(self, state: ArchiveState, listed: set[str]) -> None:
        """Raises ArchiveDamagedError where a file is missing: what it was merged from may be all that is left."""
        for key in state.files.keys() - listed:
            if self._store.size_bytes(key) is None:
                raise ArchiveDamagedError(f"{key}, which its manifests name, is missing; no object was removed")

    def _removed_since(self, number: int, moment_us: int) -> Iterator[str]:
        for each in range(number, 0, -1):
            manifest = self._log.manifest(each)
            if manifest.header.created_us < moment_us:
                return
            yield from manifest.change.removed

    def _is_passed(self, state: ArchiveState, key: str) -> bool:
        """Whether all that an object holds is archived elsewhere, so that nobody will come to name it."""
        try:
            places = last_sequences(self._store.get(key))
        except NotFoundError:
            return False
        return all(state.cursor(*place).sequence >= last for place, last in places.items())


def last_sequences(body: bytes) -> dict[Place, int]:
    """For each partition in a file its last sequence; none where it is no file of events."""
    try:
        table = pq.ParquetFile(io.BytesIO(body)).read(columns=["stream", "partition", "log_sequence"])
        last = table.group_by(["stream", "partition"]).aggregate([("log_sequence", "max")]).to_pylist()
    except (pa.ArrowException, OSError, ValueError):
        return {}
    return {(StreamIdentity.parse(row["stream"]), row["partition"]): row["log_sequence_max"] for row in last}
