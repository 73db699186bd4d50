"""The courses of files: what each was after every event that changed it, followed through its names.

A file that is deleted and written again under the same name is one file; one that is renamed takes its course along,
and what is written under its old name later is another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

from nervous_system.contract import Operation
from nervous_system.events import decode
from nervous_system.ledger.history import History
from nervous_system.ledger.records import PathChange
from nervous_system.ledger.versions import Version
from replay.state import Fold, Merge
from replay.tree import Entry

# Only such a row can be one half of a rename.
_OF_A_RENAME = (Operation.OPERATION_DELETE, Operation.OPERATION_RENAME)


@dataclass(frozen=True, slots=True)
class Standing:
    """A file as it stands: where, and what."""

    resource: str
    entry: Entry


Held = Standing | None
"""What a file is at a moment; None where it is not."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What an event made of a file."""

    version: Version
    held: Held


@dataclass(slots=True)
class Course:
    """One file.

    Args:
        resource: the path at which it was changed last.
        stages: what it was after each event that changed it, oldest first; before the first it was not.
    """

    resource: str
    stages: list[Stage] = field(default_factory=list)

    @property
    def held(self) -> Held:
        """What it is now."""
        return self.stages[-1].held if self.stages else None


@dataclass(frozen=True, slots=True)
class Courses:
    """The files that some paths have held.

    Args:
        files: every file that was ever at one of the paths, and whatever shared a name with it later or before.
        unsettled: for each path with changes that do not fit together, the versions of those that did not.
    """

    files: list[Course]
    unsettled: dict[str, set[Version]]


def courses(history: History, resources: Iterable[str], through: Version, merge: Merge) -> Courses:
    """The courses of the files that ``resources`` have held up to a version.

    Args:
        history: the project.
        resources: paths.
        through: the last version that counts.
        merge: asked where a change was made to another content than the one that stood there.
    """
    lives, renames = _lives(history, resources, through)
    rows = [(version, resource, row) for resource, life in lives.items() for version, row in life]
    tracks = _Tracks(merge)
    for version, group in groupby(sorted(rows, key=itemgetter(0, 1)), key=itemgetter(0)):
        changes = {resource: row for _, resource, row in group}
        tracks.follow(version, changes, renames.get(version))
    unsettled: dict[str, set[Version]] = {}
    for conflict in tracks.folding.state.conflicts:
        unsettled.setdefault(conflict.resource, set()).add(conflict.version)
    return Courses(tracks.files, unsettled)


Life = list[tuple[Version, PathChange]]
Renames = dict[Version, tuple[str, str]]


def _lives(history: History, resources: Iterable[str], through: Version) -> tuple[dict[str, Life], Renames]:
    """The lives of the paths and of all that files were renamed from or to, and the renames, by version."""
    lives: dict[str, Life] = {}
    renames: Renames = {}
    pending = list(resources)
    while pending:
        resource = pending.pop()
        if resource in lives:
            continue
        lives[resource] = list(history.path_life(resource, through=through))
        halves = [version for version, row in lives[resource] if row.operation in _OF_A_RENAME]
        for version, names in _renames(history, [version for version in halves if version not in renames]):
            renames[version] = names
            pending += names
    return lives, renames


def _renames(history: History, versions: list[Version]) -> Iterator[tuple[Version, tuple[str, str]]]:
    for stored in history.events_at(versions):
        change = decode(stored.data).state_change
        is_rename = change.renamed_from and change.operation != Operation.OPERATION_DELETE
        if is_rename and change.renamed_from != change.target_resource:
            yield stored.version, (change.renamed_from, change.target_resource)


class _Tracks:
    """Which file is at each path, as the changes are gone through."""

    def __init__(self, merge: Merge) -> None:
        self.folding = Fold(merge)
        self.files: list[Course] = []
        self._at: dict[str, Course] = {}

    def follow(self, version: Version, changes: dict[str, PathChange], names: tuple[str, str] | None) -> None:
        """Takes in what an event did to paths; ``names`` are the old and the new one, where it renamed."""
        for resource, row in changes.items():
            self.folding.apply(resource, version, row)
        if names is not None and (moved := self._at.get(names[0])) is not None and moved.held is not None:
            self._move(version, moved, *names)
            return
        for resource in changes:
            self._stage(version, self._at.get(resource) or self._new(resource), resource)

    def _move(self, version: Version, moved: Course, source: str, target: str) -> None:
        del self._at[source]
        overwritten = self._at.get(target)
        if overwritten is not None and overwritten.held is not None:
            overwritten.stages.append(Stage(version, None))
        self._at[target] = moved
        self._stage(version, moved, target)

    def _new(self, resource: str) -> Course:
        self._at[resource] = Course(resource)
        self.files.append(self._at[resource])
        return self._at[resource]

    def _stage(self, version: Version, course: Course, resource: str) -> None:
        entry = self.folding.tree.get(resource)
        course.resource = resource
        course.stages.append(Stage(version, None if entry is None else Standing(resource, entry)))
