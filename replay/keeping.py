"""Keeps snapshots up with the history, beside the ingestion: nothing waits for it, and all it writes can be made again.

On its way through the changes it also tells of conflicts, by an event each, and stores a content whole where too many
diffs lead to it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from nervous_system.contract import SwarmEvent
from nervous_system.errors import EnchantedError
from nervous_system.ledger.history import History, Outline
from nervous_system.ledger.records import PathChange
from nervous_system.ledger.snapshots import Held, Manifest, Snapshot, SnapshotStore, Whole
from nervous_system.ledger.versions import Version
from replay.conflicts import conflict_event
from replay.contents import Contents
from replay.merging import Merger
from replay.snapshots import start
from replay.state import Fold, Meeting
from replay.tree import Entry

logger = logging.getLogger(__name__)

# A snapshot is due after so many events, and not before there are as many as the tree has entries: what all snapshots
# take then grows as the history does.
LEAST_EVENTS = 1_000
DIFFS_LIMIT = 8
DUE_CONTENTS = 16
# An event that says it occurred later than it was recorded, by more than clocks differ, would keep every snapshot
# behind it from being of use for a time; its path is left out instead.
LEAD_LIMIT_US = 60_000_000
NEVER_US, EVER_US = -(2**62), 2**62

Tell = Callable[[list[SwarmEvent]], None]


class Keeper:
    """Follows one project.

    Args:
        history: the project.
        store: where its snapshots are written.
        tell: publishes events about conflicts; what is there already it is not given again.
        least_events: after how many events, at the least, a snapshot is due.
    """

    def __init__(
        self, history: History, store: SnapshotStore, tell: Tell = lambda _: None, *, least_events: int = LEAST_EVENTS
    ) -> None:
        self._history = history
        self._store = store
        self._tell = tell
        self._least_events = least_events
        self._contents = Contents(history)
        self._merger = Merger(self._contents)
        self._cannot_merge = False
        self._conflicts: list[SwarmEvent] = []
        # Contents to be stored whole, by their hash; the version of the event that leaves them.
        self._due: dict[bytes, Version] = {}
        self._position: Version | None
        self._events: int
        self._load()

    def advance(self) -> int:
        """Goes on to the history's end; returns how many snapshots were written."""
        written = 0
        for outline in self._history.outlines(after=self._position, through=self._history.head().version):
            for resource, row in outline.changes:
                self._take(outline, resource, row)
            self._position = outline.version
            self._recorded_us = outline.recorded_us
            # What a fork shares has its snapshots where it was recorded.
            self._events += self._history.owns(outline.version)
            if self._events - self._base_events >= max(self._least_events, len(self._folding.tree)):
                self._save(outline.version)
                written += 1
        self._store_wholes()
        self._tell_conflicts()
        return written

    def _load(self) -> None:
        base, manifest = start(self._history, self._history.snapshots())
        tree = {path: Entry(held.mode, held.digest.hex()) for path, held in manifest.entries.items()}
        self._folding = Fold(self._merge, tree)
        self._diffs = {path: held.diffs for path, held in manifest.entries.items() if held.diffs}
        self._unsettled = set(manifest.unsettled)
        for resource in manifest.unsettled:
            assert base is not None
            for version, row in reversed(list(self._history.path_life(resource, through=base.version))):
                self._folding.apply(resource, version, row)
        self._position = base.version if base else None
        self._latest_us = base.latest_us if base else NEVER_US
        self._recorded_us = base.recorded_us if base else 0
        self._events = base.events if base and self._history.owns(base.version) else 0
        self._begin_stretch()

    def _begin_stretch(self) -> None:
        self._base = self._position
        self._base_events: int = self._events
        self._earliest_us = EVER_US

    def _take(self, outline: Outline, resource: str, row: PathChange) -> None:
        standing = self._folding.tree.get(resource)
        self._cannot_merge = False
        met = self._folding.apply(resource, outline.version, row)
        now = self._folding.tree.get(resource)
        if met is not None and now is not None and self._contents.is_made(now.content_hash):
            # Work may go on from what a merge came to, as diffs.
            self._due[bytes.fromhex(now.content_hash)] = outline.version
        if met is not None and self._cannot_merge and self._history.owns(outline.version):
            self._conflicts.append(conflict_event(outline, met))
        is_ahead = row.occurred_us > row.recorded_us + LEAD_LIMIT_US
        if met is not None or is_ahead:
            self._unsettled.add(resource)
        elif not row.previous:
            self._unsettled.discard(resource)
        self._earliest_us = min(self._earliest_us, row.occurred_us)
        if not is_ahead:
            self._latest_us = max(self._latest_us, row.occurred_us)
        if not row.digest:
            self._diffs.pop(resource, None)
        elif standing is None or standing.content_hash != row.digest.hex():
            self._count_diffs(outline, resource, row.digest)

    def _count_diffs(self, outline: Outline, resource: str, digest: bytes) -> None:
        if not outline.event.state_change.diff_patch:
            self._diffs.pop(resource, None)
            return
        diffs = self._diffs.get(resource, 0) + 1
        if diffs >= DIFFS_LIMIT:
            diffs = 0
            self._due[digest] = outline.version
        self._diffs[resource] = diffs
        if len(self._due) >= DUE_CONTENTS:
            self._store_wholes()

    def _store_wholes(self) -> None:
        self._contents.foresee([digest.hex() for digest in self._due])
        wholes = []
        for digest, version in self._due.items():
            try:
                wholes.append(Whole(digest, self._contents(digest.hex()), version))
            except EnchantedError as error:
                # Whoever asks for the content is told; here nothing depends on it.
                logger.warning("%s at version %s: %s", self._history.name, version, error)
        self._store.keep_whole(wholes)
        self._due = {}

    def _merge(self, meeting: Meeting) -> str | None:
        try:
            merged = self._merger(meeting)
        except EnchantedError as error:
            logger.warning("%s at %r: %s", self._history.name, meeting.resource, error)
            merged = None
        self._cannot_merge = merged is None
        return merged

    def _save(self, version: Version) -> None:
        # A conflict behind a snapshot is not seen again.
        self._tell_conflicts()
        self._store_wholes()
        manifest = Manifest(dict(self._settled()), frozenset(self._unsettled))
        snapshot = Snapshot(
            version=version,
            after=self._base,
            events=self._events,
            entries=len(manifest.entries),
            latest_us=self._latest_us,
            earliest_us=self._earliest_us,
            recorded_us=self._recorded_us,
        )
        self._store.save(snapshot, manifest)
        self._begin_stretch()

    def _settled(self) -> Iterator[tuple[str, Held]]:
        for path, entry in self._folding.tree.items():
            if path not in self._unsettled:
                yield path, Held(entry.mode, bytes.fromhex(entry.content_hash), self._diffs.get(path, 0))

    def _tell_conflicts(self) -> None:
        new = [event for event in self._conflicts if self._history.version_of_event(event.event_id) is None]
        if new:
            self._tell(new)
        self._conflicts = []
