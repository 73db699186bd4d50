"""A project's history as a Git repository: a commit for every group of changes, in the ledger's order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nervous_system.contract import SwarmEvent
from nervous_system.errors import EnchantedError
from nervous_system.events import decode, occurred_us
from nervous_system.ledger.history import History, StoredEvent
from nervous_system.ledger.versions import Version
from nervous_system.paths import resource_to_bytes
from replay.contents import ContentError, Contents
from replay.export.boundaries import Boundaries, Tags
from replay.export.commits import commit_of
from replay.export.decisions import Decisions
from replay.export.fast_import import FastImport, Written
from replay.export.grouping import Group, Grouper
from replay.export.growing import GrowingTree, Touched
from replay.export.holding import Blobs, Holdable
from replay.export.new_repository import NewRepository
from replay.export.refs import is_ref_name
from replay.git.repository import GitError
from replay.merging import Merger, Policy
from replay.moments import Moment
from replay.restoring.targets import check_target
from replay.state import ConflictError
from replay.tree import TreeError, tree_digest

# Events read so far.
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What the repository is to be like.

    Args:
        branch: its name.
        bare: whether it has no work tree.
        policy: for changes that cannot be merged.
        trailers: whether messages end in lines that lead back to the events.
    """

    branch: str = "main"
    bare: bool = False
    policy: Policy = Policy.FAIL
    trailers: bool = True


@dataclass(frozen=True, slots=True)
class Summary:
    """What was exported.

    Args:
        commits: how many.
        events: of the moment, of all types.
        tags: checkpoints that became tags.
        refused_checkpoints: names of those that cannot be one.
        unheld: commits that have the tree of the one before, because no commit can hold theirs.
        digest: of the last tree, see ``replay.tree.tree_digest``.
    """

    commits: int
    events: int
    tags: int
    refused_checkpoints: list[str]
    unheld: int
    digest: str


def export_git(
    history: History, moment: Moment, place: Path, form: Form, progress: Progress = lambda _: None
) -> Summary:
    """Makes a repository at ``place``, a new or empty folder. Whatever ends it early, nothing of it is left.

    Raises:
        TargetError: the place cannot take it.
        ConflictError: changes do not fit together, and the policy does not say what shall stand.
        ContentError, PathError, TreeError: no commit can hold the tree of the moment, which cannot be restored either.
        GitError, ExportError: Git or the disk refuses.
    """
    if not is_ref_name(form.branch):
        raise GitError(f"{form.branch!r} cannot be a branch's name: give another with --branch.")
    with NewRepository(check_target(place), form.branch, bare=form.bare) as repository:
        with repository.filling() as stream:
            summary = _Export(history, moment, stream, form).run(progress)
        if summary.commits:
            repository.check_out()
        repository.publish()
    return summary


class _Export:
    """One run over a history, oldest event first."""

    def __init__(self, history: History, moment: Moment, stream: FastImport, form: Form) -> None:
        contents = Contents(history)
        self._history = history
        self._moment = moment
        self._stream = stream
        self._form = form
        self._growing = GrowingTree(Merger(contents, form.policy))
        self._holdable = Holdable(contents)
        self._blobs = Blobs(history, contents, stream)
        self._decisions = Decisions(history, moment)
        self._grouper = Grouper(self._decisions.behind)
        self._boundaries = Boundaries()
        self._ends = _named_ends(history, moment)
        self._tags = Tags(form.branch)
        self._committed_s = 0
        self._commits = self._unheld = self._events = 0
        self._problem: EnchantedError | None = None

    def run(self, progress: Progress) -> Summary:
        """Writes the whole stream but its end."""
        for stored, event in taken(self._history, self._moment):
            self._take(stored, event)
            self._events += 1
            progress(self._events)
        self._commit(self._grouper.end())
        if self._problem is not None:
            raise self._problem
        tags, refused = self._tags.chosen()
        for tag in tags:
            self._stream.tag(tag)
        digest = tree_digest(self._growing.tree)
        return Summary(self._commits, self._events, len(tags), refused, self._unheld, digest)

    def _take(self, stored: StoredEvent, event: SwarmEvent) -> None:
        # What an event ends is committed before the event itself counts.
        self._commit(self._grouper.take(stored.version, event))
        match event.WhichOneof("payload"):
            case "decision":
                self._decisions.note(event)
            case "state_change":
                self._blobs.note(event.state_change)
                self._growing.take(stored, event)
            case "checkpoint":
                self._tags.note(event, self._named(stored, event))
        if stored.version in self._ends:
            self._commit(self._grouper.end())

    def _named(self, stored: StoredEvent, event: SwarmEvent) -> int | None:
        """The commit that a checkpoint names."""
        through = event.checkpoint.through_event_id
        version = self._history.version_of_event(through) if through else stored.version
        return None if version is None else self._boundaries.at(version)

    def _commit(self, group: Group | None) -> None:
        if group is None:
            return
        touched = self._growing.touched()
        changed = [each for each in touched if each.before != each.after]
        written = self._held(touched, changed)
        decision = self._decisions.whole(group.decision_id)
        commit = commit_of(group, decision, after_s=self._committed_s, trailers=self._form.trailers)
        self._committed_s = max(self._committed_s, commit.committer.time_s)
        gone = changed if written is not None else []
        deleted = [resource_to_bytes(each.resource) for each in gone if each.after is None]
        mark = self._stream.commit(commit, deleted, written or ())
        self._commits += 1
        if written is None:
            self._unheld += 1
        else:
            self._growing.settle()
            self._blobs.settle()
        self._boundaries.add(group.first, group.last, 0 if written is None else mark)

    def _held(self, touched: list[Touched], changed: list[Touched]) -> list[Written] | None:
        """What the commit writes; None where no commit can hold the tree: what changed comes with the next that can."""
        try:
            self._problem = self._holdable.problem(touched)
            if self._problem is not None:
                return None
            self._growing.check()
            return self._blobs.written(changed)
        except (ConflictError, ContentError, TreeError) as error:
            self._problem = error
            return None


def _named_ends(history: History, moment: Moment) -> set[Version]:
    """The events at which a checkpoint that comes later says that the tree has a name."""
    names = [named for named in history.checkpoints() if named.through_event_id and named.version <= moment.through]
    events = history.events_at([named.version for named in names])
    ids = [
        named.through_event_id
        for named, stored in zip(names, events, strict=True)
        if moment.takes(occurred_us(decode(stored.data)), stored.recorded_us)
    ]
    return {version for version in map(history.version_of_event, ids) if version is not None}


def taken(history: History, moment: Moment, after: Version | None = None) -> Iterator[tuple[StoredEvent, SwarmEvent]]:
    """The events of a moment, in the ledger's order; only those behind ``after`` where it is given."""
    for stored in history.events(after=after, through=moment.through):
        event = decode(stored.data)
        if moment.takes(occurred_us(event), stored.recorded_us):
            yield stored, event
