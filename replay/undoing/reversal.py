"""Taking chosen changes of one file out of its course by three-way merges. Pure.

The base is the file after the changes; one side is what it is now, the other what it was before them. The other side's
difference from the base is the changes backwards, the first side's is all else that came later.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TypeVar

from nervous_system.events import content_hash
from nervous_system.ledger.versions import Version
from replay.merge import Merged
from replay.tree import EXECUTABLE, FILE, Entry
from replay.undoing.courses import Held, Stage, Standing

T = TypeVar("T")

# A merge may take a tenth of a second; nobody waits for hundreds of them.
MAX_REPLAYED_STAGES = 32

MergeTexts = Callable[[str, str, str], Merged | None]
"""Merges the contents of three hashes: the base's, ours and theirs; None where one of them is not text."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Where taking back meets what was done since.

    Args:
        reason: why it does not merge, as a clause.
        base: what the changes left; None: nothing, or it does not matter.
        ours: what stands; None: nothing.
        theirs: what it would be without the changes; None: nothing.
        marked: the text with both sides between markers; None where it cannot be shown so.
    """

    reason: str
    base: Held
    ours: Held
    theirs: Held
    marked: bytes | None = None

    @property
    def resource(self) -> str:
        """Where it is: the path of what stands, or of what would."""
        return next(held.resource for held in (self.ours, self.theirs, self.base) if held is not None)


@dataclass(frozen=True, slots=True)
class Reversal:
    """What becomes of one file.

    Args:
        now: what it is.
        then: what it shall be; as now where nothing is left to take back.
        taken: versions of the changes that were taken back.
        conflict: where that met what was done since; then ``then`` shows both sides or, if that cannot be, is as now.
    """

    now: Held
    then: Held
    taken: frozenset[Version] = frozenset()
    conflict: Conflict | None = None

    def refused(self, conflict: Conflict) -> Reversal:
        """The same file left as it is."""
        return Reversal(self.now, self.now, conflict=conflict)


def reverse(stages: Sequence[Stage], chosen: Collection[Version], merge_texts: MergeTexts) -> Reversal:
    """Takes the changes at the versions ``chosen`` out of a file's course."""
    reversal = _taken_back(stages, chosen, merge_texts)
    if reversal.conflict is None:
        return reversal
    # Of changes of which some are gone already, as after an undo, the newest no longer find what they left.
    return _without(stages, chosen, merge_texts) or reversal


def _taken_back(stages: Sequence[Stage], chosen: Collection[Version], merge_texts: MergeTexts) -> Reversal:
    """What is now, with one run of changes after another taken back, newest first."""
    now = then = stages[-1].held
    taken: list[Version] = []
    conflict: Conflict | None = None
    for start, end in _runs(stages, chosen):
        before, after = stages[start - 1].held if start else None, stages[end - 1].held
        later = takewhile(lambda stage: stage.version not in chosen, stages[end:])
        if _is_spent(before, after, [stage.held for stage in later]):
            continue
        merged, met = _merged(after, then, before, merge_texts)
        if met is not None and met.marked is None:
            return Reversal(now, now, conflict=met)
        if merged != then:
            taken += [stage.version for stage in stages[start:end]]
        then, conflict = merged, conflict or met
    return Reversal(now, then, frozenset(taken if then != now else ()), conflict)


def _without(stages: Sequence[Stage], chosen: Collection[Version], merge_texts: MergeTexts) -> Reversal | None:
    """What all others' changes come to, one after another.

    Returns:
        None where one does not fit without the chosen ones, or where there are too many to try.
    """
    first = next(index for index, stage in enumerate(stages) if stage.version in chosen)
    if len(stages) - first > MAX_REPLAYED_STAGES:
        return None
    then = previous = None
    for stage in stages:
        if stage.version not in chosen:
            then, met = _merged(previous, then, stage.held, merge_texts)
            if met is not None:
                return None
        previous = stage.held
    taken = frozenset(stage.version for stage in stages if stage.version in chosen) if then != previous else frozenset()
    return Reversal(previous, then, taken)


def _runs(stages: Sequence[Stage], chosen: Collection[Version]) -> Iterator[tuple[int, int]]:
    """Stretches of stages that are all chosen, newest first: what came within them cancels out by itself."""
    end = len(stages)
    while end:
        start = end
        while start and stages[start - 1].version in chosen:
            start -= 1
        if start < end:
            yield start, end
        end = max(start - 1, 0)


def _is_spent(before: Held, after: Held, later: Sequence[Held]) -> bool:
    """Whether others, by what they left ``later``, took the changes back already and did not put them back since."""
    if before == after:
        return True
    last = next((held for held in reversed(later) if held in (before, after)), after)
    return last == before


def _merged(base: Held, ours: Held, theirs: Held, merge_texts: MergeTexts) -> tuple[Held, Conflict | None]:
    """What comes of a merge, and where the sides met."""
    if theirs in (ours, base) or ours == base:
        return _side(base, ours, theirs), None
    if base is None or ours is None or theirs is None:
        return ours, Conflict(_reason(base, ours), base, ours, theirs)
    resource = _side(base.resource, ours.resource, theirs.resource)
    if resource is None:
        return ours, Conflict("it has been renamed since", base, ours, theirs)
    entry, reason, marked = _merged_entry(base.entry, ours.entry, theirs.entry, merge_texts)
    conflict = Conflict(reason, base, ours, theirs, marked) if reason else None
    return ours if entry is None else Standing(resource, entry), conflict


def _reason(base: Held, ours: Held) -> str:
    """Why sides of which one is nothing do not merge."""
    if base is None:
        return "something else has been written there since"
    return "it has been deleted since" if ours is None else "it was made by these changes and has been changed since"


def _merged_entry(
    base: Entry, ours: Entry, theirs: Entry, merge_texts: MergeTexts
) -> tuple[Entry | None, str, bytes | None]:
    """What comes of it, why it does not merge, and the text with both sides."""
    entry = _side(base, ours, theirs)
    if entry is not None:
        return entry, "", None
    if not {base.mode, ours.mode, theirs.mode} <= {FILE, EXECUTABLE}:
        return None, "it is, or was, a link or another repository, and has been changed since", None
    mode = _side(base.mode, ours.mode, theirs.mode)
    assert mode is not None, "of three values out of two, two are equal"
    digest = _side(base.content_hash, ours.content_hash, theirs.content_hash)
    if digest is not None:
        return Entry(mode, digest), "", None
    merged = merge_texts(base.content_hash, ours.content_hash, theirs.content_hash)
    if merged is None:
        return None, "it is not text, and has been changed since", None
    reason, marked = ("the same lines have been changed since", merged.content) if merged.conflicts else ("", None)
    return Entry(mode, content_hash(merged.content)), reason, marked


def _side(base: T, ours: T, theirs: T) -> T | None:
    """The side that changed; None where both did, in different ways."""
    if theirs in (ours, base):
        return ours
    return theirs if ours == base else None
