"""Taking back, from the plan to the ledger: planned again where others wrote meanwhile, checked once it has landed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from nervous_system.authoring import Author
from nervous_system.contract import SwarmEvent
from nervous_system.inspection import inspect
from nervous_system.ledger.history import History
from nervous_system.ledger.ledger import Ledger
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.submission import MovedError, Submission
from replay.contents import Contents
from replay.merging import Merger
from replay.moments import Moment
from replay.publication import publish, settled
from replay.state import fold
from replay.tree import Entry
from replay.undo import UndoPlan, plan_undo
from replay.undoing.selection import Selection, UndoError
from replay.undoing.telling import Sources, events

ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Undone:
    """What came of it.

    Args:
        plan: what was planned last.
        decision_id: the event that says what was taken back, by which it can be undone; empty: nothing was written.
    """

    plan: UndoPlan
    decision_id: str = ""


def plan_settled(
    settings: Settings, ledger: Ledger, project: ProjectName, select: Callable[[History], Selection]
) -> UndoPlan:
    """The plan for all that the log has by now. Writes nothing; raises as ``plan_undo`` does."""
    settled(settings, [project])
    history = ledger.history(project)
    return plan_undo(history, Contents(history), select(history))


def take_back(
    settings: Settings,
    ledger: Ledger,
    project: ProjectName,
    select: Callable[[History], Selection],
    author: Callable[[], Author],
    *,
    reason: str = "",
    allow_conflicts: bool = False,
) -> Undone:
    """Takes changes back; returns once the ledger has what tells of it. Where there are conflicts, nothing is written.

    Args:
        settings: give the log's address.
        ledger: has the project.
        project: that is written to.
        select: says what is to be taken back.
        author: gives somebody who has not written yet.
        reason: for people.
        allow_conflicts: what merges is written all the same, and text with both sides between markers.

    Raises:
        UndoError: nothing is selected; or the project is written to all the time, and nothing was written; or what
            landed is not what was planned, and the sentence says where.
        UnavailableError: the log or the ledger does not answer.
    """
    for _ in range(ATTEMPTS):
        sequence = settled(settings, [project])[project]
        history = ledger.history(project)
        contents = Contents(history)
        plan = plan_undo(history, contents, select(history))
        if not plan.changes or (plan.conflicts and not allow_conflicts):
            return Undone(plan)
        told, parts = told_of(plan, history, contents, author(), reason)
        try:
            publish(settings, [_submission(project, told, parts, sequence)])
        except MovedError:
            continue
        _check(ledger.history(project), plan, told[-1].event_id)
        return Undone(plan, told[0].event_id)
    raise UndoError(
        f"{project}: others wrote there each of the {ATTEMPTS} times that taking back was planned. Nothing was "
        "written; stop the agents that work there, and run it again."
    )


def told_of(
    plan: UndoPlan, history: History, contents: Contents, author: Author, reason: str = ""
) -> tuple[list[SwarmEvent], list[bytes]]:
    """The events that a plan comes to, and the parts of large contents, which go ahead of them."""
    parts: list[bytes] = []

    def put_part(part: bytes) -> bytes:
        parts.append(part)
        return hashlib.sha256(part).digest()

    def is_recorded(content_hash: str) -> bool:
        return history.content_sources([bytes.fromhex(content_hash)]) != [None]

    return events(plan, author, Sources(contents, is_recorded, put_part), reason), parts


def _submission(project: ProjectName, told: list[SwarmEvent], parts: list[bytes], sequence: int) -> Submission:
    data = tuple(event.SerializeToString() for event in told)
    for each in data:
        # What no store would take must not be half of what is written.
        inspect(each, project)
    return Submission(project, data, tuple(parts), sequence)


def _check(history: History, plan: UndoPlan, last_event_id: str) -> None:
    """Raises UndoError where something else stands than was planned, once the last event has landed."""
    version = history.version_of_event(last_event_id)
    if version is None:
        raise UndoError(f"The events were written, but {history.name} does not have them: see `enchanted status`.")
    wanted: dict[str, Entry | None] = {change.renamed_from: None for change in plan.changes if change.renamed_from}
    wanted |= {change.resource: change.after for change in plan.changes}
    merger, moment = Merger(Contents(history)), Moment(version)
    for resource, entry in wanted.items():
        if _standing(history, resource, moment, merger) != entry:
            raise UndoError(
                f"The events were written, but {resource!r} does not stand as planned: see `enchanted timeline "
                f"{history.name} --path` and `enchanted verify {history.name}`."
            )


def _standing(history: History, resource: str, moment: Moment, merger: Merger) -> Entry | None:
    life = [(resource, version, row) for version, row in history.path_life(resource, through=moment.through)]
    return fold(reversed(life), moment, merger).tree.get(resource)
