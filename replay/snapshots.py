"""The state at a moment, from the last snapshot that is of use for it and the changes since.

A snapshot is of use where the moment takes all that it holds. Of the stretches of history behind it only those are read
in which something had occurred by the moment, so that neither what came before nor what came long after costs anything.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

from nervous_system.ledger.history import History, Outline
from nervous_system.ledger.records import DamagedError
from nervous_system.ledger.snapshots import Manifest, Snapshot
from nervous_system.ledger.versions import Version
from replay.moments import Moment
from replay.state import Fold, Merge, State, fold
from replay.tree import Entry

logger = logging.getLogger(__name__)

NOTHING = Manifest({}, frozenset())


def state_at(history: History, moment: Moment, merge: Merge = lambda _: None) -> State:
    """The state of a project at ``moment``, the same as a fold from the beginning gives.

    Args:
        history: the project.
        moment: which changes count.
        merge: asked where a change was made to another content than the one that stands there.
    """
    snapshots = history.snapshots()
    if not snapshots:
        return fold(history.path_changes(through=moment.through), moment, merge)
    moment = _bounded(history, moment)
    base, manifest = start(history, [each for each in snapshots if _is_of_use(each, moment)])
    folding = Fold(merge, _tree(manifest))
    for resource in sorted(manifest.unsettled):
        life = list(history.path_life(resource, through=moment.through))
        for version, row in reversed(life):
            if moment.takes(row.occurred_us, row.recorded_us):
                folding.apply(resource, version, row)
    for outline in _later(history, snapshots, base, moment):
        for resource, row in outline.changes:
            if resource not in manifest.unsettled and moment.takes(row.occurred_us, row.recorded_us):
                folding.apply(resource, outline.version, row)
    return folding.state


def start(history: History, snapshots: Sequence[Snapshot]) -> tuple[Snapshot | None, Manifest]:
    """The last of ``snapshots`` that can be read, and what it holds; nothing where there is none.

    A snapshot that was damaged costs time, and no truth: an earlier one is taken, or the beginning.
    """
    for snapshot in reversed(snapshots):
        try:
            return snapshot, history.manifest(snapshot)
        except DamagedError as error:
            logger.warning("%s of %s: an earlier one is taken", error, history.name)
    return None, NOTHING


def _bounded(history: History, moment: Moment) -> Moment:
    """The same moment, ending where the log had no more by then: recorded times never fall."""
    if moment.known_at_us is None:
        return moment
    last = history.last_recorded(moment.known_at_us)
    return moment if last is None else replace(moment, through=min(moment.through, last))


def _is_of_use(snapshot: Snapshot, moment: Moment) -> bool:
    return snapshot.version <= moment.through and moment.takes(snapshot.latest_us, snapshot.recorded_us)


def _later(history: History, snapshots: Sequence[Snapshot], base: Snapshot | None, moment: Moment) -> Iterator[Outline]:
    """Events behind ``base`` up to the moment, without stretches in which nothing had occurred by then."""
    position: Version | None = base.version if base else None
    for snapshot in snapshots:
        if snapshot.version > moment.through:
            break
        if position is not None and snapshot.version <= position:
            continue
        covers = snapshot.after is None or (position is not None and snapshot.after <= position)
        if not (covers and moment.at_us is not None and snapshot.earliest_us > moment.at_us):
            yield from history.outlines(after=position, through=snapshot.version)
        position = snapshot.version
    yield from history.outlines(after=position, through=moment.through)


def unsound(history: History, merge: Merge) -> Iterator[tuple[Version, str]]:
    """The project's own snapshots that are not what its events lead to: their versions, and what is wrong with them."""
    folding = Fold(merge)
    position: Version | None = None
    for snapshot in filter(lambda each: history.owns(each.version), history.snapshots()):
        for outline in history.outlines(after=position, through=snapshot.version):
            for resource, row in outline.changes:
                folding.apply(resource, outline.version, row)
        position = snapshot.version
        try:
            manifest = history.manifest(snapshot)
        except DamagedError:
            yield snapshot.version, "the snapshot there is not what was written"
            continue
        expected = {path: entry for path, entry in folding.tree.items() if path not in manifest.unsettled}
        if _tree(manifest) != expected:
            yield snapshot.version, "the snapshot there is not what the events lead to"


def _tree(manifest: Manifest) -> dict[str, Entry]:
    return {path: Entry(held.mode, held.digest.hex()) for path, held in manifest.entries.items()}
