"""Taking back, told as events: one decision, and what follows from it path by path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nervous_system import changes, textdiff
from nervous_system.authoring import Author
from nervous_system.changes import PutPart
from nervous_system.contract import AgentDecision, Operation, StateChange, SwarmEvent
from nervous_system.events import now_us, uuid7
from replay.difference import Difference
from replay.tree import EXECUTABLE, FILE, Contents, Entry
from replay.undo import UndoPlan

INPUT_TRIGGER = "enchanted undo"

IsRecorded = Callable[[str], bool]
"""Whether a content, by its hash, is in the ledger for itself, so that a diff may start from it."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where what is told comes from, and where large contents go.

    Args:
        contents: gives what a hash names.
        is_recorded: which contents a diff may start from.
        put_part: takes the parts of large contents.
    """

    contents: Contents
    is_recorded: IsRecorded
    put_part: PutPart


def events(plan: UndoPlan, author: Author, sources: Sources, reason: str = "") -> list[SwarmEvent]:
    """The events that a plan comes to: the decision first, then a change a path, caused by it.

    Args:
        plan: with at least one change.
        author: who takes back.
        sources: contents come from there.
        reason: why; a sentence that says what was done where it is empty.
    """
    task = uuid7(now_us() // 1_000)
    decision = author.event(SwarmEvent(decision=_decision(plan, reason)), correlation_id=task)
    return [decision] + [
        author.event(
            SwarmEvent(state_change=_state_change(change, plan, sources)),
            causation_id=decision.event_id,
            correlation_id=task,
        )
        for change in plan.changes
    ]


def summary(plan: UndoPlan) -> str:
    """What was taken back, as the end of a sentence: "12 changes of coder-7 since 2026-11-21T15:00:00Z in 5 files"."""
    scope = f" {plan.chosen.scope}" if plan.chosen.scope else ""
    taken, files = len(plan.taken), len(plan.changes)
    return f"{_counted(taken, 'change')} of {plan.chosen.name}{scope} in {_counted(files, 'file')}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _decision(plan: UndoPlan, reason: str) -> AgentDecision:
    facts = {**plan.chosen.facts, "undone_changes": str(len(plan.taken)), "undone_files": str(len(plan.changes))}
    if plan.conflicts:
        facts["conflicts"] = str(len(plan.conflicts))
    return AgentDecision(rationale=reason or f"Undo {summary(plan)}.", input_trigger=INPUT_TRIGGER, attributes=facts)


def _state_change(change: Difference, plan: UndoPlan, sources: Sources) -> StateChange:
    # Said without a base, it stands whatever was in dispute there.
    before = change.before if change.resource not in plan.doubtful else None
    previous_hash = "" if before is None else before.content_hash
    if change.after is None:
        assert change.before is not None
        return changes.deleted(change.resource, mode=change.before.mode, previous_hash=previous_hash)
    content = sources.contents(change.after.content_hash)
    return changes.written(
        change.resource,
        content,
        sources.put_part,
        mode=change.after.mode,
        operation=_operation(change),
        previous_hash=previous_hash,
        patch=None if before is None else _patch(before, content, sources),
        renamed_from=change.renamed_from,
    )


def _operation(change: Difference) -> Operation:
    if change.renamed_from:
        return Operation.OPERATION_RENAME
    return Operation.OPERATION_CREATE if change.before is None else Operation.OPERATION_MODIFY


def _patch(before: Entry, content: bytes, sources: Sources) -> str | None:
    if before.mode not in (FILE, EXECUTABLE) or not sources.is_recorded(before.content_hash):
        return None
    return textdiff.unified_diff(sources.contents(before.content_hash), content)
