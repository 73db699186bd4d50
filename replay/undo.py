"""Taking back what one agent, or one event, changed, and keeping what everyone else did: as a plan. Writes nothing.

History is never rewritten: what a plan comes to is told by new events (``replay.undoing.telling``), which can be taken
back in their turn.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from nervous_system.ledger.history import History
from nervous_system.ledger.versions import Version
from replay.contents import Contents
from replay.difference import Difference
from replay.merge import Merged, merge
from replay.merging import Merger
from replay.moments import Moment
from replay.snapshots import state_at
from replay.undoing.courses import courses
from replay.undoing.reversal import Conflict, Reversal, reverse
from replay.undoing.room import with_room
from replay.undoing.selection import Chosen, Selection, choose
from replay.undoing.steps import steps

NAME_SHOWN = 80


@dataclass(frozen=True, slots=True)
class UndoPlan:
    """What taking back comes to.

    Args:
        chosen: what was to be taken back.
        changes: one a path, in the order in which they are written. Text in conflict is among them, with both sides.
        doubtful: paths of which changes did not fit together, until now.
        conflicts: by path; where there are any, nothing is to be written unless the user says so.
        left: paths at which nothing is left to take back.
        taken: ids of the events that are taken back, in the project's order.
    """

    chosen: Chosen
    changes: tuple[Difference, ...]
    doubtful: frozenset[str]
    conflicts: tuple[Conflict, ...]
    left: tuple[str, ...]
    taken: tuple[str, ...]


def plan_undo(history: History, contents: Contents, selection: Selection) -> UndoPlan:
    """Plans to take back the changes of a selection, newest first, each file by a three-way merge.

    Args:
        history: the project.
        contents: of the same project; merged texts are put there.
        selection: which changes.

    Raises:
        UndoError: the selection means no changes.
        NotFoundError: it names an agent or an event that is not there.
        ContentError: a content cannot be put together.
    """
    through = history.head().version
    chosen = choose(history, selection, through)
    versions = {change.version for change in chosen.changes}
    touched = {resource for change in chosen.changes for resource in change.resources}
    found = courses(history, touched, through, Merger(contents))
    files = [file for file in found.files if any(stage.version in versions for stage in file.stages)]
    texts = _TextMerge(contents, ("now", f"without {' '.join(chosen.name.split())[:NAME_SHOWN]}"))
    reversals = [_settled(reverse(file.stages, versions, texts), found.unsettled, versions) for file in files]
    reversals = with_room(reversals, lambda: state_at(history, Moment(through)).tree, contents)
    taken = {version for reversal in reversals for version in reversal.taken}
    conflicts = [each.conflict for each in reversals if each.conflict is not None]
    left = {file.resource for file, each in zip(files, reversals, strict=True) if each == Reversal(each.now, each.now)}
    return UndoPlan(
        chosen=chosen,
        changes=tuple(steps([each for each in reversals if each.now != each.then], found.unsettled)),
        doubtful=frozenset(found.unsettled),
        conflicts=tuple(sorted(conflicts, key=lambda conflict: conflict.resource)),
        left=tuple(sorted(left)),
        taken=tuple(change.event_id for change in chosen.changes if change.version in taken),
    )


class _TextMerge:
    """Merges contents by their hashes; ``names`` are what markers call the sides."""

    def __init__(self, contents: Contents, names: tuple[str, str]) -> None:
        self._contents = contents
        self._names = names

    def __call__(self, base: str, ours: str, theirs: str) -> Merged | None:
        merged = merge(self._contents(base), self._contents(ours), self._contents(theirs), self._names)
        if merged is not None:
            self._contents.add(merged.content)
        return merged


def _settled(reversal: Reversal, unsettled: Mapping[str, Collection[Version]], chosen: Collection[Version]) -> Reversal:
    """The same; refused where it would decide between changes of others that did not fit together."""
    for held in (reversal.now, reversal.then) if reversal.now != reversal.then else ():
        unfit = [version for version in unsettled.get(held.resource, ()) if version not in chosen] if held else []
        if unfit:
            reason = f"the change at version {min(unfit)} did not fit what was there, which must be decided first"
            return reversal.refused(Conflict(reason, None, reversal.now, reversal.then))
    return reversal
