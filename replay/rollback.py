"""Rolling projects back, all together: nothing is taken out of their histories, but events are added that lead back.

Every project is prepared first, then all is published at once, on condition that nobody wrote to any of them meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nervous_system import changes
from nervous_system.authoring import Author
from nervous_system.contract import AgentDecision, AgentRole, Operation, StateChange, SwarmEvent
from nervous_system.errors import AccessError, EnchantedError, UnavailableError
from nervous_system.events import now_us, uuid7
from nervous_system.inspection import inspect
from nervous_system.ledger.history import History
from nervous_system.ledger.ledger import Ledger
from nervous_system.ledger.transaction import LedgerError
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.submission import MovedError, Submission
from nervous_system.textdiff import unified_diff
from replay.checkpoints import AGENT
from replay.contents import Contents
from replay.difference import Difference, differences
from replay.merging import Merger, Policy, tree_at
from replay.moments import Moment
from replay.publication import publish, settled
from replay.snapshots import state_at
from replay.soundness import Sound, sound
from replay.state import State
from replay.tree import EXECUTABLE, FILE, Tree, tree_digest

ATTEMPTS = 5
# So many contents are asked for in one transaction.
GROUP_CONTENTS = 500


class RollbackError(EnchantedError):
    """Projects could not be rolled back."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """One project's way back.

    Args:
        target: where it leads.
        differences: what will change, by path; where a conflict is settled, both sides may be equal.
        submission: what leads there; None where the project is there already.
        last_event_id: of the submission.
    """

    target: Sound
    differences: list[Difference]
    submission: Submission | None = None
    last_event_id: str = ""


def targets(ledger: Ledger, moments: Mapping[ProjectName, Moment], policy: Policy = Policy.FAIL) -> list[Sound]:
    """The states to go back to, each checked whole.

    Args:
        ledger: the projects.
        moments: where each shall go back to.
        policy: for conflicts among what led to those states.

    Raises:
        RollbackError: one of them is not sound.
        UnavailableError: the ledger does not answer.
    """
    found = []
    for project, moment in moments.items():
        try:
            found.append(sound(ledger, project, moment, policy))
        except (UnavailableError, AccessError, LedgerError):
            raise
        except EnchantedError as error:
            raise RollbackError(
                f"{project} cannot go back to {moment.meaning}; nothing was written. {error}"
            ) from error
    return found


def prepare(
    ledger: Ledger, states: Sequence[Sound], sequences: Mapping[ProjectName, int], reason: str = ""
) -> list[Prepared]:
    """What leads each project from where it is now to a state. Writes nothing.

    Args:
        ledger: the projects.
        states: one a project.
        sequences: of the projects' last messages that have landed, as ``settled`` gives them.
        reason: for people.

    Raises:
        EnchantedError: something that has to be written is not there, or cannot be.
    """
    act = uuid7(now_us() // 1_000)
    return [
        _Way(ledger.history(state.project), state).prepared(act, reason, sequences[state.project]) for state in states
    ]


def roll_back(settings: Settings, ledger: Ledger, states: Sequence[Sound], reason: str = "") -> list[Prepared]:
    """Takes all the projects to these states, or none; returns what was done, once the ledger has it.

    Raises:
        RollbackError: the projects are written to all the time, and nothing was written; or what landed does not lead
            to a state, and the sentence says where.
        UnavailableError: the log or the ledger does not answer.
    """
    for _ in range(ATTEMPTS):
        sequences = settled(settings, [state.project for state in states])
        prepared = prepare(ledger, states, sequences, reason)
        submissions = [each.submission for each in prepared if each.submission is not None]
        try:
            if submissions:
                publish(settings, submissions)
        except MovedError:
            continue
        _verify(ledger, prepared)
        return prepared
    names = ", ".join(str(state.project) for state in states)
    raise RollbackError(
        f"{names}: others wrote there each of the {ATTEMPTS} times that the way back was prepared. Nothing was "
        "written; stop the agents that work there, and run it again."
    )


class _Way:
    """From where a project stands to a state.

    Where it is in doubt what stands at a path (a conflict, or a merge that was never recorded), what is written claims
    nothing of what was there, so that it holds however the doubt is decided.
    """

    def __init__(self, history: History, target: Sound) -> None:
        self._history = history
        self._target = target
        self._contents = target.contents
        self._parts: list[bytes] = []
        state = state_at(history, Moment(history.head().version), Merger(self._contents, Policy.FAIL))
        self._doubtful = _doubtful(history, state, target.tree)
        self._differences = _differences(state.tree, target.tree, self._doubtful)

    def prepared(self, act: str, reason: str, sequence: int) -> Prepared:
        """The events; ``act`` is common to all projects, ``sequence`` the log's last of this one."""
        if not self._differences:
            return Prepared(self._target, [])
        author = Author(self._target.project, AGENT, AgentRole.ROLE_OPERATOR, act, "")
        why = f"Roll back to {self._target.moment.meaning}" + (f": {reason}" if reason else "")
        payload = AgentDecision(rationale=why, input_trigger="enchanted checkpoint rollback")
        decision = author.event(SwarmEvent(decision=payload), correlation_id=act)
        events = [decision]
        for change in self._changes():
            event = SwarmEvent(state_change=change)
            events.append(author.event(event, causation_id=decision.event_id, correlation_id=act))
        data = tuple(event.SerializeToString() for event in events)
        for each in data:
            # What no store would take must not be half of what is written.
            inspect(each, self._target.project)
        submission = Submission(self._target.project, data, tuple(self._parts), sequence)
        return Prepared(self._target, self._differences, submission, events[-1].event_id)

    def _changes(self) -> Iterator[StateChange]:
        # What goes makes room for what comes: a file may stand where a folder was.
        for difference in sorted(self._differences, key=lambda each: (each.after is not None, not each.renamed_from)):
            yield self._written(difference) if difference.after else self._deleted(difference)

    def _deleted(self, difference: Difference) -> StateChange:
        before = difference.before
        known = before is not None and difference.resource not in self._doubtful
        return changes.deleted(
            difference.resource,
            mode=before.mode if before else 0,
            previous_hash=before.content_hash if before and known else "",
        )

    def _written(self, difference: Difference) -> StateChange:
        before, after = difference.before, difference.after
        assert after is not None
        if difference.resource in self._doubtful:
            before = None
        operation = Operation.OPERATION_CREATE if before is None else Operation.OPERATION_MODIFY
        content = self._contents(after.content_hash)
        are_files = before is not None and {before.mode, after.mode} <= {FILE, EXECUTABLE}
        return changes.written(
            difference.resource,
            content,
            self._put_part,
            mode=after.mode,
            operation=Operation.OPERATION_RENAME if difference.renamed_from else operation,
            previous_hash=before.content_hash if before else "",
            patch=_patch(self._contents, before.content_hash, content) if before and are_files else None,
            renamed_from=difference.renamed_from,
        )

    def _put_part(self, part: bytes) -> bytes:
        self._parts.append(part)
        return hashlib.sha256(part).digest()


def _doubtful(history: History, state: State, wanted: Tree) -> set[str]:
    """The paths where it is in doubt what stands, of those that change, and all that are in conflict."""
    standing = state.tree
    changing = {path for path, entry in standing.items() if wanted.get(path) != entry}
    recorded = _recorded(history, {standing[path].content_hash for path in changing})
    merged = {path for path in changing if standing[path].content_hash not in recorded}
    return merged | {conflict.resource for conflict in state.conflicts}


def _recorded(history: History, content_hashes: Collection[str]) -> set[str]:
    """Those of the hashes under which a content was recorded."""
    wanted, found = sorted(content_hashes), set()
    for start in range(0, len(wanted), GROUP_CONTENTS):
        group = wanted[start : start + GROUP_CONTENTS]
        sources = history.content_sources([bytes.fromhex(each) for each in group])
        found |= {each for each, source in zip(group, sources, strict=True) if source is not None}
    return found


def _differences(standing: Tree, wanted: Tree, doubtful: Collection[str]) -> list[Difference]:
    """What has to change, doubtful paths each by itself: no rename leads from or to them."""
    clear = differences(_without(standing, doubtful), _without(wanted, doubtful))
    unclear = [Difference(path, standing.get(path), wanted.get(path)) for path in doubtful]
    return sorted(clear + unclear, key=lambda difference: difference.resource)


def _without(tree: Tree, paths: Collection[str]) -> Tree:
    return {path: entry for path, entry in tree.items() if path not in paths}


def _patch(contents: Contents, before_hash: str, content: bytes) -> str | None:
    """A diff from what stands; None where a diff is no use, or what stands cannot be put together."""
    try:
        return unified_diff(contents(before_hash), content)
    except EnchantedError:
        return None


def _verify(ledger: Ledger, prepared: Sequence[Prepared]) -> None:
    """Raises RollbackError where a project does not stand as it was to."""
    wrong = [str(each.target.project) for each in prepared if each.submission and not _stands(ledger, each)]
    if wrong:
        raise RollbackError(
            f"The events that lead back were written, but {', '.join(wrong)} does not stand as it did: see `enchanted "
            "verify` and `enchanted status`."
        )


def _stands(ledger: Ledger, prepared: Prepared) -> bool:
    history = ledger.history(prepared.target.project)
    version = history.version_of_event(prepared.last_event_id)
    if version is None:
        return False
    return tree_digest(tree_at(history, Moment(version), Contents(history))) == prepared.target.digest
