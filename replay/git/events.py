"""A commit as events: one decision, and a state change for every path it changed. The same commit, the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from nervous_system import changes
from nervous_system.changes import PutPart
from nervous_system.contract import (
    EXECUTABLE_MODE,
    FILE_MODE,
    AgentDecision,
    AgentRole,
    Operation,
    StateChange,
    SwarmEvent,
)
from nervous_system.events import INLINE_LIMIT_BYTES, set_occurred, uuid7
from nervous_system.paths import resource_from_bytes
from nervous_system.projects import ProjectName
from nervous_system.textdiff import as_text
from replay import patches
from replay.git.changes import Entry, FileChange
from replay.git.commits import Commit
from replay.git.history import Comparison
from replay.git.objects import PREFETCH_LIMIT, Objects

BASE_ATTRIBUTE = "base_commit"
"""The decision's attribute that names the commit whose tree its changes lead from; absent for the empty tree."""

# Changes whose contents, before and after, are read ahead together.
_AHEAD = PREFETCH_LIMIT // 2
_FILE_MODES = (FILE_MODE, EXECUTABLE_MODE)


# By this a later import finds what an earlier one sent.
SESSION_PREFIX = "git:"


def session_of(branch: str) -> str:
    """The session that a branch's import records in."""
    return SESSION_PREFIX + branch.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a commit stands in the import.

    Args:
        base: the commit whose tree its changes lead from, hex; None for the empty tree.
        first_sequence: the decision's agent_sequence; the changes follow.
        occurred_us: microseconds since 1970.
    """

    base: str | None
    first_sequence: int
    occurred_us: int


class CommitEvents:
    """Makes the events of a branch's commits.

    Args:
        project: whose events they are.
        branch: the branch's name, which names the session.
        objects: where contents are read.
        put_part: takes the parts of large contents.
    """

    def __init__(self, project: ProjectName, branch: str, objects: Objects, put_part: PutPart) -> None:
        self._project = project
        self._session = session_of(branch)
        self._objects = objects
        self._put_part = put_part

    def of(self, commit: Commit, place: Place, comparison: Comparison) -> Iterator[bytes]:
        """The serialised events: the decision, then the changes in the order in which they can be made."""
        decision = SwarmEvent(decision=_decision(commit, place))
        yield self._serialised(decision, commit, place, 0, "")
        for index, change in enumerate(comparison.changes, 1):
            if index % _AHEAD == 1:
                following = comparison.changes[index - 1 : index - 1 + _AHEAD]
                self._objects.prefetch(entry for each in following for entry in (each.before, each.after) if entry)
            event = SwarmEvent(state_change=self._state_change(change, comparison))
            yield self._serialised(event, commit, place, index, decision.event_id)

    def _serialised(self, event: SwarmEvent, commit: Commit, place: Place, index: int, causation_id: str) -> bytes:
        seed = f"{self._project}\n{place.base or ''}\n{commit.sha}\n{index}".encode()
        event.event_id = uuid7(place.occurred_us // 1_000, hashlib.sha256(seed).digest())
        set_occurred(event, place.occurred_us)
        event.agent_role, event.agent_id = AgentRole.ROLE_CODER, commit.author.identity
        event.tenant_id, event.project_id = self._project.tenant, self._project.project
        event.session_id, event.correlation_id, event.causation_id = self._session, commit.sha, causation_id
        event.agent_sequence = place.first_sequence + index
        event.related_commit_hash = commit.sha
        return event.SerializeToString(deterministic=True)

    def _state_change(self, change: FileChange, comparison: Comparison) -> StateChange:
        resource, before, after = resource_from_bytes(change.path), change.before, change.after
        previous_hash = self._objects.content_hash(before) if before else ""
        if after is None:
            assert before is not None
            return changes.deleted(resource, mode=before.mode, previous_hash=previous_hash)
        content = self._objects.content(after)
        written = changes.written(
            resource,
            content,
            self._put_part,
            mode=after.mode,
            operation=_operation(change),
            previous_hash=previous_hash,
            patch=self._patch(before, after, content, comparison) if before else None,
            renamed_from="" if change.renamed_from is None else resource_from_bytes(change.renamed_from),
        )
        self._objects.remember_hash(after, written.new_state_hash)
        return written

    def _patch(self, before: Entry, after: Entry, content: bytes, comparison: Comparison) -> str | None:
        """Git's hunks, where they are the smaller form of a text's change and are found to make that very change."""
        hunks = comparison.patches.get((before.oid, after.oid))
        if hunks is None or len(hunks) > min(len(content), INLINE_LIMIT_BYTES) or as_text(content) is None:
            return None
        text = as_text(hunks)
        if text is None or before.mode not in _FILE_MODES or after.mode not in _FILE_MODES:
            return None
        try:
            made = patches.apply(text, self._objects.content(before))
        except patches.PatchError:
            return None
        return text if made == content else None


def _operation(change: FileChange) -> Operation:
    if change.renamed_from is not None:
        return Operation.OPERATION_RENAME
    return Operation.OPERATION_CREATE if change.before is None else Operation.OPERATION_MODIFY


def _decision(commit: Commit, place: Place) -> AgentDecision:
    attributes = {
        "author_name": commit.author.name,
        "author_email": commit.author.email,
        "author_date": commit.author.date,
        "committer_name": commit.committer.name,
        "committer_email": commit.committer.email,
        "committer_date": commit.committer.date,
        "parents": " ".join(commit.parents),
    }
    if place.base:
        attributes[BASE_ATTRIBUTE] = place.base
    return AgentDecision(rationale=commit.message, input_trigger="git commit", attributes=attributes)
