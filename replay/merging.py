"""What becomes of a change that was made to another content than the one that stands there."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from nervous_system.ledger.history import History
from replay.contents import ContentError, Contents
from replay.merge import Merged, merge
from replay.moments import Moment
from replay.snapshots import state_at
from replay.state import NOTHING, ConflictError, Life, Meeting, fold, tree_of
from replay.tree import EXECUTABLE, FILE, Tree


class Policy(StrEnum):
    """What to do where sides meet: refuse, take one of them, or show both between markers."""

    FAIL = "fail"
    OURS = "ours"
    THEIRS = "theirs"
    MARK = "mark"


class Merger:
    """Merges contents of files by lines, and decides by a policy where that cannot be done.

    Args:
        contents: where contents come from and merged ones are put.
        policy: for what does not merge.
    """

    def __init__(self, contents: Contents, policy: Policy = Policy.FAIL) -> None:
        self._contents = contents
        self._policy = policy

    def __call__(self, meeting: Meeting) -> str | None:
        """The hash of what shall stand there (NOTHING: nothing); None where that is for a person to say."""
        if meeting.ours == meeting.theirs:
            return meeting.ours
        merged = self._merged(meeting)
        if merged is not None and not merged.conflicts:
            return self._contents.add(merged.content)
        return self._decided(meeting, merged)

    def _decided(self, meeting: Meeting, merged: Merged | None) -> str | None:
        """What the policy says of contents that do not merge."""
        match self._policy:
            case Policy.OURS:
                return meeting.ours
            case Policy.THEIRS:
                return meeting.theirs
            case Policy.MARK if merged is not None:
                return self._contents.add(merged.content)
            case Policy.MARK if NOTHING in (meeting.ours, meeting.theirs):
                # Of a change and a deletion the change is kept: what was deleted can be deleted again.
                return meeting.ours or meeting.theirs
            case _:
                return None

    def _merged(self, meeting: Meeting) -> Merged | None:
        if meeting.mode not in (FILE, EXECUTABLE) or NOTHING in (meeting.ours, meeting.theirs):
            return None
        try:
            base = self._contents(meeting.base)
        except ContentError:
            return None
        return merge(base, self._contents(meeting.ours), self._contents(meeting.theirs))


def tree_at(history: History, moment: Moment, contents: Contents, policy: Policy = Policy.FAIL) -> Tree:
    """The project's tree at ``moment``, changes of one base merged; raises ConflictError where they cannot be."""
    merger = Merger(contents, policy)
    try:
        return tree_of(state_at(history, moment, merger))
    except (ContentError, ConflictError):
        if not contents.has_made:
            raise
        # A change may start from what another path's merge came to; in the order of events that is made by then.
        return tree_of(fold(_in_order(history, moment), moment, merger))


def _in_order(history: History, moment: Moment) -> Iterator[Life]:
    for outline in history.outlines(through=moment.through):
        yield from ((resource, outline.version, row) for resource, row in outline.changes)
