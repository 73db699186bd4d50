"""Checkpoints: names for a moment of one project, or of several of a tenant as they stood at one instant.

The instant is the log's: of each project the checkpoint has all that the log had taken by then. What an event led to in
another project was recorded after it, so that no checkpoint has an effect without its cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nervous_system import instant
from nervous_system.authoring import Author
from nervous_system.checkpoint_names import check_checkpoint_name
from nervous_system.contract import AgentRole, Checkpoint, SwarmEvent
from nervous_system.errors import EnchantedError, NotFoundError
from nervous_system.events import decode, now_us, occurred_us, uuid7
from nervous_system.ledger.history import History, NamedMoment
from nervous_system.ledger.ledger import Ledger
from nervous_system.ledger.versions import Version
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.submission import Submission
from replay.moments import Moment, through
from replay.publication import publish, settled

AGENT = "enchanted"


class CheckpointError(EnchantedError):
    """A checkpoint cannot be made, or does not hold."""


@dataclass(frozen=True, slots=True)
class Member:
    """How far one project's history belongs to a checkpoint: up to an event."""

    project: ProjectName
    through: Version
    event_id: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A checkpoint as its project tells of it.

    Args:
        named: the name and what it stands for.
        through: the last version that it stands for; None where the event that it names is not there.
        given_us: when the name was given, microseconds since 1970.
        checkpoint: the event's payload.
        is_replaced: a later checkpoint of the project has the same name, and is what the name means now.
    """

    named: NamedMoment
    through: Version | None
    given_us: int
    checkpoint: Checkpoint
    is_replaced: bool


def cut(settings: Settings, ledger: Ledger, projects: Sequence[ProjectName]) -> list[Member]:
    """How far each project had come by one instant, now.

    Raises:
        CheckpointError: the projects are of several tenants, or one has no events.
        NotFoundError: there is no such project.
        UnavailableError: the log does not answer, or the ledger does not move.
    """
    _check_tenant(projects)
    recorded_by_us = instant.present(settings)
    # Whatever was recorded by then lands before this returns.
    settled(settings, projects)
    return [_standing(ledger.history(project), recorded_by_us) for project in projects]


def member_at(history: History, moment: Moment) -> Member:
    """The end of a moment, where that is a point in the project's order: a name stands for all up to an event.

    Raises CheckpointError where the moment is a time that takes some event, and leaves out one before it.
    """
    return _member(history, moment.through if _is_point(moment) else _last_taken(history, moment))


def create(
    settings: Settings,
    ledger: Ledger,
    name: str,
    members: Sequence[Member],
    *,
    description: str = "",
    replace: bool = False,
) -> None:
    """Gives the members' state a name, in all of their projects or in none. The last that is called so counts.

    Args:
        settings: give the log's address.
        ledger: where it lands.
        name: of the checkpoint.
        members: one a project.
        description: for people.
        replace: whether the name may have been given already.

    Raises:
        ContractError: it cannot be called so.
        CheckpointError: a project has such a checkpoint.
        UnavailableError: the log or the ledger does not answer.
    """
    check_checkpoint_name(name)
    taken = [member.project for member in members if ledger.history(member.project).named(name) is not None]
    if taken and not replace:
        raise CheckpointError(
            f"{taken[0]} has a checkpoint {name!r} already: choose another name, or give it this one with --replace."
        )
    publish(settings, submissions(name, members, description))


def submissions(name: str, members: Sequence[Member], description: str = "") -> list[Submission]:
    """What gives the members' state a name: an event in each of their projects, told to belong together."""
    together = uuid7(now_us() // 1_000)
    project_ids = [member.project.project for member in members]
    return [
        Submission(member.project, (_event(member, name, description, project_ids, together),)) for member in members
    ]


def listed(history: History) -> list[Listed]:
    """The project's checkpoints, in the order in which they were given."""
    found = sorted(history.checkpoints(), key=lambda named: named.version)
    last = {named.name: named.version for named in found}
    return [_listed(history, named, is_replaced=named.version != last[named.name]) for named in found]


def members_of(ledger: Ledger, project: ProjectName, name: str) -> dict[ProjectName, Moment]:
    """The projects of a checkpoint and the moment of each that it stands for.

    Args:
        ledger: the projects.
        project: one of them.
        name: the checkpoint's; the last that is called so in ``project`` counts.

    Raises:
        NotFoundError: the project has no such checkpoint, or another member has it not, or not any longer.
    """
    history = ledger.history(project)
    named = history.named(name)
    if named is None:
        raise NotFoundError(f"{project} has no checkpoint {name!r}: see `enchanted checkpoint list {project}`.")
    event = decode(history.event(named.version).data)
    found = {project: _moment(history, named)}
    # What a fork shares with another project was said of the other one: here it stands for the fork alone.
    if event.project_id == project.project:
        for other in event.checkpoint.project_ids:
            sibling = ProjectName(project.tenant, other)
            if sibling not in found:
                found[sibling] = _given_together(ledger.history(sibling), name, event.correlation_id)
    return found


def _check_tenant(projects: Sequence[ProjectName]) -> None:
    tenants = sorted({project.tenant for project in projects})
    if len(tenants) > 1:
        raise CheckpointError(
            f"A checkpoint is of one tenant's projects, and these are of {' and '.join(tenants)}: make one for each."
        )


def _standing(history: History, recorded_by_us: int | None) -> Member:
    version = history.head().version if recorded_by_us is None else history.last_recorded(recorded_by_us)
    if version is None:
        raise CheckpointError(f"{history.name} has no events yet: there is nothing to give a name to.")
    return _member(history, version)


def _member(history: History, version: Version) -> Member:
    return Member(history.name, version, decode(history.event(version).data).event_id)


def _is_point(moment: Moment) -> bool:
    return moment.at_us is None and moment.known_at_us is None


def _last_taken(history: History, moment: Moment) -> Version:
    last: Version | None = None
    left_out = False
    for stored in history.events(through=moment.through):
        if not moment.takes(occurred_us(decode(stored.data)), stored.recorded_us):
            left_out = True
        elif left_out:
            raise CheckpointError(
                f"By {moment.meaning} not everything up to one event had occurred in {history.name}: some was recorded "
                "late. Name a point instead: an event, a version or a commit, from `enchanted log`."
            )
        else:
            last = stored.version
    if last is None:
        raise CheckpointError(f"Nothing had occurred in {history.name} by {moment.meaning}: name a later moment.")
    return last


def _event(member: Member, name: str, description: str, project_ids: Sequence[str], together: str) -> bytes:
    author = Author(member.project, AGENT, AgentRole.ROLE_OPERATOR, together, "")
    payload = Checkpoint(name=name, description=description, through_event_id=member.event_id, project_ids=project_ids)
    return author.event(SwarmEvent(checkpoint=payload), correlation_id=together).SerializeToString()


def _listed(history: History, named: NamedMoment, *, is_replaced: bool) -> Listed:
    event = decode(history.event(named.version).data)
    try:
        last = through(history, named)
    except NotFoundError:
        last = None
    return Listed(named, last, occurred_us(event), event.checkpoint, is_replaced)


def _moment(history: History, named: NamedMoment) -> Moment:
    return Moment(through(history, named), meaning=f"checkpoint {named.name!r}")


def _given_together(history: History, name: str, correlation_id: str) -> Moment:
    alike = [named for named in history.checkpoints() if named.name == name]
    events = (decode(stored.data) for stored in history.events_at([named.version for named in alike]))
    given = [named for named, event in zip(alike, events, strict=True) if event.correlation_id == correlation_id]
    if not given:
        raise NotFoundError(
            f"{history.name} lacks checkpoint {name!r}, which was given to it together with others: see `enchanted "
            "status`."
        )
    return _moment(history, given[-1])
