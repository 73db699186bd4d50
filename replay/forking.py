"""Forks: a new project whose past is another's, up to a moment."""

from __future__ import annotations

from nervous_system.authoring import Author
from nervous_system.contract import AgentRole, Checkpoint, Origin, SwarmEvent
from nervous_system.errors import EnchantedError, NotFoundError
from nervous_system.events import decode, now_us, uuid7
from nervous_system.ledger.history import History
from nervous_system.ledger.ledger import Ledger
from nervous_system.ledger.lineage import ForkedHistory
from nervous_system.ledger.versions import MAX_INCARNATION
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.submission import MovedError, Submission
from replay.checkpoints import AGENT
from replay.moments import Moment
from replay.publication import publish, settled


class ForkError(EnchantedError):
    """A project cannot be forked so."""


def opening(history: History, moment: Moment) -> Checkpoint:
    """What the first event of a fork says: that its past is ``history`` up to ``moment``.

    Raises ForkError where the project is a fork of too many forks.
    """
    # Above all that the other project has, not only what is shared: of forks, each is younger than where it comes from.
    incarnation = history.head().version.incarnation + 1
    if incarnation > MAX_INCARNATION:
        raise ForkError(f"{history.name} has been forked or moved {MAX_INCARNATION - 1} times over: fork an older one.")
    event = decode(history.event(moment.through).data)
    return Checkpoint(
        name=f"forked-from-{history.name.project}",
        description=f"The past of this project is that of {history.name}: {moment.meaning}.",
        origin=Origin(
            project_id=history.name.project,
            through_event_id=event.event_id,
            chain=history.chain(event.event_id),
            incarnation=incarnation,
            occurred_by_us=moment.at_us,
            recorded_by_us=moment.known_at_us,
        ),
    )


def fork(
    settings: Settings, ledger: Ledger, parent: ProjectName, new: ProjectName, moment: Moment, *, reason: str = ""
) -> Origin:
    """Makes ``new``, whose past is that of ``parent`` up to ``moment``; returns once the ledger has it.

    Args:
        settings: give the log's address.
        ledger: has the parent.
        parent: is not changed.
        new: of the same tenant, and without events.
        moment: of the parent.
        reason: for people.

    Raises:
        ForkError: the new project cannot be made, or was not made as it was to.
        UnavailableError: the log or the ledger does not answer.
    """
    if parent.tenant != new.tenant:
        raise ForkError(f"{new} is of another tenant than {parent}: a fork stays with its tenant's projects.")
    if settled(settings, [new])[new] or _has_events(ledger, new):
        raise ForkError(f"{new} has events already: a fork begins a new project, so give another name.")
    first = opening(ledger.history(parent), moment)
    if reason:
        first.description += f" Why: {reason}"
    author = Author(new, AGENT, AgentRole.ROLE_OPERATOR, uuid7(now_us() // 1_000), "")
    event = author.event(SwarmEvent(checkpoint=first))
    try:
        publish(settings, [Submission(new, (event.SerializeToString(),), expected_sequence=0)])
    except MovedError as error:
        raise ForkError(f"Somebody else has begun {new} meanwhile: give another name.") from error
    _check(ledger, new, first.origin)
    return first.origin


def _has_events(ledger: Ledger, project: ProjectName) -> bool:
    if project not in ledger.projects():
        return False
    try:
        ledger.history(project).head()
    except NotFoundError:
        return False
    return True


def _check(ledger: Ledger, new: ProjectName, origin: Origin) -> None:
    made = ledger.history(new)
    if not isinstance(made, ForkedHistory) or made.origin != origin:
        raise ForkError(
            f"{new} was written, but the ledger does not have it as this fork: see `enchanted verify {new}`."
        )
