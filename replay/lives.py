"""What stood at a path after each of its changes, read only as far back as is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import dropwhile

from nervous_system.contract import SwarmEvent
from nervous_system.events import decode
from nervous_system.ledger.history import History
from nervous_system.ledger.records import PathChange
from nervous_system.ledger.versions import Version
from replay.moments import Moment
from replay.state import NOTHING, Conflict, ConflictError, Fold, Merge

# So many changes are read together.
AHEAD_EVENTS = 64


@dataclass(frozen=True, slots=True)
class Step:
    """One change of a path.

    Args:
        version: the event.
        base: the hash of what the change was made to; empty where it does not say, as at a rename's new path.
        claimed: the hash of what the change leaves; NOTHING where it deletes.
        after: the hash of what stands there afterwards: where the change was merged, not what it leaves.
        is_meeting: it was made to another content than the one that stood there.
    """

    version: Version
    base: str
    claimed: str
    after: str
    is_meeting: bool


class Life:
    """One path's changes that belong to a moment, newest first, counted from 0.

    Args:
        history: the project.
        resource: the path.
        moment: which changes count.
        merge: asked where a change was made to another content than the one that stands there.

    Raises, when asked: ConflictError where a change does not fit and ``merge`` does not know.
    """

    def __init__(self, history: History, resource: str, moment: Moment, merge: Merge) -> None:
        self.resource = resource
        self._history = history
        self._moment = moment
        self._merge = merge
        self._rows: Iterator[tuple[Version, PathChange]] = (
            (version, row)
            for version, row in history.path_life(resource, through=moment.through)
            if moment.takes(row.occurred_us, row.recorded_us)
        )
        self._steps: list[Step] = []
        self._events: dict[Version, SwarmEvent] = {}
        self._earlier: dict[tuple[str, Version], Life] = {}

    def step(self, index: int) -> Step | None:
        """The change at ``index``; None where there are fewer."""
        while index >= len(self._steps):
            if not self._read():
                return None
        return self._steps[index]

    def event(self, index: int) -> SwarmEvent:
        """The event of the change at ``index``, which ``step`` has given; those before it are read with it."""
        version = self._steps[index].version
        if version not in self._events:
            ahead = [step.version for step in self._steps[index : index + AHEAD_EVENTS]]
            self._events.update((stored.version, decode(stored.data)) for stored in self._history.events_at(ahead))
        return self._events[version]

    def earlier(self, resource: str, version: Version) -> Life:
        """The life of a path, of which only what came before ``version`` counts."""
        if (resource, version) not in self._earlier:
            life = Life(self._history, resource, replace(self._moment, through=version), self._merge)
            # At a rename's version the name that was left has a change too: that of its leaving.
            life._rows = dropwhile(lambda each: each[0] == version, life._rows)
            self._earlier[resource, version] = life
        return self._earlier[resource, version]

    def _read(self) -> bool:
        """Reads back to a change that claims nothing of what was there: what stood since is known without more."""
        rows: list[tuple[Version, PathChange]] = []
        for version, row in self._rows:
            rows.append((version, row))
            if not row.previous:
                break
        fold = Fold(self._merge)
        self._steps += reversed([self._folded(fold, version, row) for version, row in reversed(rows)])
        return bool(rows)

    def _folded(self, fold: Fold, version: Version, row: PathChange) -> Step:
        met = fold.apply(self.resource, version, row)
        if met is not None and fold.state.conflicts:
            raise _refusal(met)
        entry = fold.tree.get(self.resource)
        after = entry.content_hash if entry else NOTHING
        return Step(version, row.previous.hex(), row.digest.hex(), after, met is not None)


@dataclass(frozen=True, slots=True)
class Content:
    """A content of a path: what stood there after one of its changes, or what that change alone made.

    Args:
        life: of the path.
        index: of the change.
        step: the change.
        is_claimed: the change's own side of a merge.
    """

    life: Life
    index: int
    step: Step = field(compare=False)
    is_claimed: bool = False

    @property
    def digest(self) -> str:
        """SHA-256, hex."""
        return self.step.claimed if self.is_claimed else self.step.after

    @property
    def is_merged(self) -> bool:
        """Whether it is what came of a meeting."""
        return self.step.is_meeting and not self.is_claimed

    @property
    def event(self) -> SwarmEvent:
        """The event that made it, or brought it in."""
        return self.life.event(self.index)

    def stood_before(self) -> Content | None:
        """What stood at the path before the change; None where nothing did."""
        return standing(self.life, self.index + 1)

    def claimed(self) -> Content | None:
        """The change's own side of a merge; None where it deletes."""
        return Content(self.life, self.index, self.step, is_claimed=True) if self.step.claimed else None

    def base(self) -> Content | None:
        """What a change was made to: the content it names, else what stood there before; None where nothing did.

        Not to be asked of what came of a meeting, which goes back to both sides.
        """
        if self.step.base:
            return _holding(self.life, self.step.base, self.index + 1) or self.stood_before()
        change = self.event.state_change
        if not change.renamed_from:
            return self.stood_before()
        left = self.life.earlier(change.renamed_from, self.step.version)
        return _holding(left, change.previous_state_hash, 0) or standing(left)

    def diff_from(self, base: Content | None) -> str | None:
        """The diff by which the change made it of ``base``; empty where both are the same, None where it has none."""
        if base is not None and base.digest == self.digest:
            return ""
        change = self.event.state_change
        is_diff = base is not None and change.diff_patch and change.previous_state_hash == base.digest
        return change.diff_patch if is_diff else None


def standing(life: Life, index: int = 0) -> Content | None:
    """What stood at the path after the change at ``index``; None where nothing did."""
    step = life.step(index)
    return Content(life, index, step) if step is not None and step.after else None


def _holding(life: Life, digest: str, index: int) -> Content | None:
    """The newest content with this hash, from the change at ``index`` back."""
    while digest and (step := life.step(index)) is not None:
        if digest in (step.after, step.claimed):
            return Content(life, index, step, is_claimed=digest != step.after)
        index += 1
    return None


def _refusal(met: Conflict) -> ConflictError:
    return ConflictError(
        f"{met.resource!r} was changed at version {met.version} from another content, {met.claimed[:12]}, than the one "
        f"that was there, {met.found[:12] or 'nothing'}. Say what shall stand with --on-conflict ours|theirs|mark, or "
        f"take an earlier moment: before:{met.version}."
    )
