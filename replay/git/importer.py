"""Importing a branch: from the oldest commit that is not there yet to its tip, one commit after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from nervous_system.inspection import LAST_SECOND
from nervous_system.projects import ProjectName
from replay.git.changes import in_order
from replay.git.commits import Commit
from replay.git.events import CommitEvents, Place
from replay.git.history import (
    Comparer,
    Comparison,
    Revision,
    count_first_parents,
    first_parents,
    fork,
    tree_entries,
)
from replay.git.objects import Objects
from replay.git.repository import Branch, GitError, Repository
from replay.git.safety import LeftOut, TreeView

# How many of the paths that were left out a summary names.
LEFT_OUT_SHOWN = 20


class Sink(Protocol):
    """Where events go; ``nervous_system.publisher.Publisher`` is one."""

    def put(self, event: bytes) -> None:
        """Takes a serialised event."""

    def put_part(self, part: bytes) -> bytes:
        """Takes a part of a large content, ahead of the event that names it; returns its SHA-256, 32 bytes."""


@dataclass(frozen=True, slots=True)
class ImportedCommit:
    """The last commit whose decision the ledger has.

    Args:
        sha: the commit, hex.
        base: the commit whose tree it was compared with (its decision's BASE_ATTRIBUTE); None for none.
        first_sequence: its decision's agent_sequence.
        occurred_us: when its events happened, microseconds since 1970.
    """

    sha: str
    base: str | None
    first_sequence: int
    occurred_us: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import has come: while it looks at the names ("checking"), then while it sends ("importing")."""

    stage: str
    commits: int
    commits_total: int
    events: int = 0


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import did.

    Args:
        commits: newly imported ones; the one that was sent again is not counted.
        events: sent, those of the commit sent again included.
        files: state changes among them.
        bytes: of events and parts.
        seconds: that it took.
        commits_left: that the limit left for the next run.
        left_out_count: different paths that could not be recorded.
        left_out: the first of them.
    """

    commits: int
    events: int
    files: int
    bytes: int
    seconds: float
    commits_left: int
    left_out_count: int
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class _Step:
    """A commit to send, and the one whose tree it is compared with."""

    revision: Revision
    base: Revision | None
    # Known already for the commit that is sent again.
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class _Findings:
    """The paths that cannot be recorded: where the first was met, all that were met."""

    commit: str
    paths: dict[str, LeftOut]


def import_commits(
    repository: Repository,
    branch: Branch,
    project: ProjectName,
    sink: Sink,
    *,
    after: ImportedCommit | None = None,
    limit: int | None = None,
    skip_unsafe: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> ImportSummary:
    """Sends the events of the branch's commits, oldest first, first parents only. What was sent is not flushed.

    Args:
        repository: where the commits are.
        branch: which of them.
        project: whose events they become.
        sink: takes the events.
        after: where the last import got to. That commit is sent again, in the same bytes, because not all of it may
            have landed.
        limit: how many new commits to import.
        skip_unsafe: leave out paths that cannot be recorded, instead of refusing.
        progress: called after each commit.

    Raises:
        GitError: a path cannot be recorded, or the history cannot be read or does not go on from ``after``.
    """
    started_s = time.monotonic()
    plan = _Plan(repository, branch, after, limit)
    findings = _check(repository, plan, progress)
    if findings and not skip_unsafe:
        raise _refusal(findings)
    counter = _CountingSink(sink)
    with Objects(repository) as objects, Comparer(repository, patches=True) as comparer:
        events = CommitEvents(project, branch.name, objects, counter.put_part)
        for number, (commit, place, comparison) in enumerate(
            _commits(repository, plan, objects, comparer, filtered=findings is not None), 1
        ):
            for event in events.of(commit, place, comparison):
                counter.put(event)
            progress(Progress("importing", number, plan.commits, counter.events))
    left_out = tuple(findings.paths.values()) if findings else ()
    return ImportSummary(
        commits=plan.new_commits,
        events=counter.events,
        files=counter.events - plan.commits,
        bytes=counter.bytes,
        seconds=time.monotonic() - started_s,
        commits_left=plan.commits_left,
        left_out_count=len(left_out),
        left_out=left_out[:LEFT_OUT_SHOWN],
    )


class _Plan:
    """Which commits are sent, each compared with which."""

    def __init__(self, repository: Repository, branch: Branch, after: ImportedCommit | None, limit: int | None) -> None:
        self._repository, self._branch, self._after = repository, branch, after
        if after is not None:
            self._check_there(after)
        self._until = None if after is None else fork(repository, branch.tip, after.sha)
        pending = count_first_parents(repository, branch.tip, self._until)
        self.new_commits = pending if limit is None else min(pending, limit)
        self.commits_left = pending - self.new_commits
        self.commits = self.new_commits + (after is not None)

    def steps(self) -> Iterator[_Step]:
        """The commits, read anew at each call."""
        previous = None
        if self._after is not None:
            previous = self._revision(self._after.sha)
            base = None if self._after.base is None else self._revision(self._after.base)
            yield _Step(previous, base, Place(self._after.base, self._after.first_sequence, self._after.occurred_us))
        revisions = first_parents(self._repository, self._branch.tip, self._until)
        for revision in islice(revisions, self.new_commits):
            yield _Step(revision, previous)
            previous = revision

    def _revision(self, sha: str) -> Revision:
        return Revision(sha, self._repository.run("rev-parse", "--verify", f"{sha}^{{tree}}").decode().strip())

    def _check_there(self, after: ImportedCommit) -> None:
        for sha in filter(None, (after.sha, after.base)):
            if not self._repository.is_commit(sha):
                raise GitError(
                    f"Commit {sha[:12]}, which was imported last, is no longer in {self._repository.path}: its history "
                    "was rewritten, or it is another repository. Import it into a new project, or fetch that commit."
                )


class _CountingSink:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.events = self.bytes = 0

    def put(self, event: bytes) -> None:
        self._sink.put(event)
        self.events += 1
        self.bytes += len(event)

    def put_part(self, part: bytes) -> bytes:
        self.bytes += len(part)
        return self._sink.put_part(part)


def _check(repository: Repository, plan: _Plan, progress: Callable[[Progress], None]) -> _Findings | None:
    """A pass over the names alone, before anything is sent."""
    paths: dict[str, LeftOut] = {}
    first_commit, view, known = "", None, None
    with Objects(repository) as objects, Comparer(repository, patches=False) as comparer:
        for number, (step, comparison) in enumerate(_compared(repository, plan, comparer), 1):
            if view is None:
                view = _view(repository, objects, step)
                paths.update((problem.resource, problem) for problem in view.left_out.values())
                first_commit = step.base.sha if paths and step.base else ""
            view.update(comparison.changes)
            if view.left_out is not known:
                known = view.left_out
                first_commit = first_commit or (step.revision.sha if known else "")
                paths.update((problem.resource, problem) for problem in known.values())
            progress(Progress("checking", number, plan.commits))
    return _Findings(first_commit, paths) if paths else None


def _view(repository: Repository, objects: Objects, step: _Step) -> TreeView:
    """The tree that the first step leads from."""
    return TreeView(objects.content, tree_entries(repository, step.base.tree) if step.base else ())


def _compared(repository: Repository, plan: _Plan, comparer: Comparer) -> Iterator[tuple[_Step, Comparison]]:
    """The plan's steps and what each changed; Git compares for the next one while this one is worked on."""
    asked: _Step | None = None
    for step in plan.steps():
        comparer.ask(step.base.tree if step.base else repository.empty_tree, step.revision.tree)
        if asked is not None:
            yield asked, comparer.answer()
        asked = step
    if asked is not None:
        yield asked, comparer.answer()


def _refusal(findings: _Findings) -> GitError:
    first = next(iter(findings.paths.values()))
    count = len(findings.paths)
    others = f" So are {count - 1} other paths of this history." if count > 1 else ""
    return GitError(
        f"The path {first.resource!r} of commit {findings.commit[:12]} cannot be recorded: {first.reason}.{others} "
        "Nothing was imported. With --skip-unsafe such paths are left out, and restored trees lack them."
    )


def _commits(
    repository: Repository, plan: _Plan, objects: Objects, comparer: Comparer, *, filtered: bool
) -> Iterator[tuple[Commit, Place, Comparison]]:
    """Each commit to send, where it stands in the import, and what it changed, in the order to send it in."""
    view, sequence, occurred_us = None, 1, 0
    for step, comparison in _compared(repository, plan, comparer):
        changes = comparison.changes
        if filtered:
            view = view or _view(repository, objects, step)
            changes = view.filter(changes)
        commit = Commit.parse(step.revision.sha, objects.read(step.revision.sha))
        # A committer's clock may say anything; the log keeps times up to 2299.
        occurred_us = max(occurred_us, min(commit.committer.time_s, LAST_SECOND) * 1_000_000)
        place = step.place or Place(step.base.sha if step.base else None, sequence, occurred_us)
        changes = in_order(changes)
        yield commit, place, Comparison(changes, comparison.patches)
        sequence, occurred_us = place.first_sequence + 1 + len(changes), place.occurred_us
