"""What the time machine writes goes the way of every event: into the log, and from there into the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nervous_system import landed
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.submission import Submission, submit

LEDGER = "ledger"


def settled(settings: Settings, projects: Iterable[ProjectName]) -> dict[ProjectName, int]:
    """Waits until the ledger has all that the log has of the projects.

    Returns:
        For each project the stream sequence of its last batch of events, by which a submission says what it has seen.

    Raises UnavailableError where the log does not answer or the ledger does not move.
    """
    found = {project: landed.last_sequence(settings, project) for project in projects}
    for sequence in found.values():
        if sequence:
            landed.wait_until_landed(settings, [LEDGER], sequence)
    return found


def publish(settings: Settings, submissions: Sequence[Submission]) -> None:
    """Publishes all of it or nothing, and returns once the ledger has it.

    Raises:
        MovedError: a project has had other events since its ``expected_sequence``; nothing was written.
        UnavailableError: the log or the ledger does not answer; where it was the ledger, all of it is in the log.
    """
    submit(settings, submissions)
    settled(settings, [submission.project for submission in submissions])
