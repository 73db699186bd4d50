"""Why each line is there: the event that wrote it, and the decision that the event followed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from nervous_system.contract import SwarmEvent
from nervous_system.errors import NotFoundError
from nervous_system.events import decode, occurred_us
from nervous_system.ledger.history import History, StoredEvent
from nervous_system.ledger.versions import Version
from replay.contents import ContentError, Contents
from replay.lives import Life, standing
from replay.merging import Merger, Policy
from replay.moments import Moment
from replay.origins import Texts, Tracing
from replay.snapshots import state_at
from replay.state import ConflictError

# How many events are passed through from one cause to the next.
CAUSE_REACH_EVENTS = 32


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file.

    Args:
        number: from 1.
        text: without its line feed.
        origin: the event that wrote it.
    """

    number: int
    text: str
    origin: Version


@dataclass(frozen=True, slots=True)
class Reason:
    """An event that wrote lines, and the decision behind it where one is known."""

    version: Version
    event: SwarmEvent
    decision: SwarmEvent | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Lines of a file at a moment, and a reason for each origin among them."""

    lines: list[Line]
    reasons: dict[Version, Reason]


def explain(
    history: History,
    resource: str,
    moment: Moment,
    policy: Policy = Policy.FAIL,
    asked: tuple[int, int] | None = None,
) -> Explanation:
    """Why each line of ``resource`` is as it is at ``moment``.

    Args:
        history: the project.
        resource: the path.
        moment: when.
        policy: where two changes of one content do not merge.
        asked: the first and the last line that are asked about, from 1; all where absent.

    Raises:
        NotFoundError: there is no such file or line then, or it is not text.
        ConflictError: changes do not fit together, and the policy does not say what shall stand.
        ContentError: its content cannot be put together.
    """
    contents = Contents(history)
    merge = Merger(contents, policy)

    def explained() -> Explanation:
        life = Life(history, resource, moment, merge)
        return _explained(history, life, moment, Texts(contents), asked)

    try:
        return explained()
    except (ConflictError, ContentError):
        # A change may have been made to what came of a merge under another name, and that is recorded nowhere: so all
        # merges are made, as for a restore.
        state_at(history, moment, merge)
        return explained()


def _explained(
    history: History, life: Life, moment: Moment, texts: Texts, asked: tuple[int, int] | None
) -> Explanation:
    final = standing(life)
    if final is None:
        raise _absence(history, life, moment)
    lines = texts.lines(final)
    if lines is None:
        raise NotFoundError(
            f"{life.resource!r} is not text as of {moment.meaning}: it has no lines to explain. Its last change is "
            f"event {final.event.event_id}: see `enchanted show`."
        )
    wanted = _wanted(life.resource, len(lines), asked)
    origins = Tracing(texts, wanted).trace(final, len(lines))
    found = [Line(index + 1, lines[index].removesuffix("\n"), origins[index]) for index in wanted]
    return Explanation(found, _reasons(history, moment, set(origins.values())))


def cause(history: History, causation_id: str) -> SwarmEvent | None:
    """The decision that an event followed, from event to event by their causes; None where they lead to none."""
    return causes(history, [causation_id]).get(causation_id)


def causes(history: History, causation_ids: Iterable[str], moment: Moment | None = None) -> dict[str, SwarmEvent]:
    """For each cause the decision it leads to, from event to event; those that lead to none are left out.

    What does not belong to the ``moment``, where one is given, is not known then.
    """
    found: dict[str, SwarmEvent] = {}
    reached = {causation_id: causation_id for causation_id in causation_ids if causation_id}
    for _ in range(CAUSE_REACH_EVENTS):
        events = _events(history, set(reached.values()), moment)
        met = {asked: events[event_id] for asked, event_id in reached.items() if event_id in events}
        found.update((asked, event) for asked, event in met.items() if event.WhichOneof("payload") == "decision")
        reached = {asked: event.causation_id for asked, event in met.items() if asked not in found}
        if not reached:
            break
    return found


def _events(history: History, event_ids: Collection[str], moment: Moment | None) -> dict[str, SwarmEvent]:
    """The events with these ids, those that are not there or not known left out."""
    versions = [version for version in history.versions_of_events(list(event_ids)) if version is not None]
    decoded = ((stored, decode(stored.data)) for stored in history.events_at(sorted(versions)))
    return {event.event_id: event for stored, event in decoded if moment is None or _is_known(moment, stored, event)}


def _reasons(history: History, moment: Moment, versions: Collection[Version]) -> dict[Version, Reason]:
    """For each version its event, and the decision it followed: by causation, else its agent's last in its session."""
    events = {stored.version: decode(stored.data) for stored in history.events_at(sorted(versions))}
    behind = causes(history, {event.causation_id for event in events.values()}, moment)
    return {
        version: Reason(
            version, event, behind.get(event.causation_id) or _last_decision(history, moment, version, event)
        )
        for version, event in events.items()
    }


def _last_decision(history: History, moment: Moment, before: Version, event: SwarmEvent) -> SwarmEvent | None:
    while version := history.last_decision(event.agent_id, event.session_id, before=before):
        stored = history.event(version)
        decision = decode(stored.data)
        if _is_known(moment, stored, decision):
            return decision
        before = version
    return None


def _is_known(moment: Moment, stored: StoredEvent, event: SwarmEvent) -> bool:
    return stored.version <= moment.through and moment.takes(occurred_us(event), stored.recorded_us)


def _wanted(resource: str, count: int, asked: tuple[int, int] | None) -> range:
    """The numbers of the lines that are asked about, from 0."""
    first, last = asked or (1, count)
    if asked is None or 1 <= first <= last <= count:
        return range(first - 1, last)
    missing = last if 1 <= first <= count else first
    raise NotFoundError(f"{resource!r} has {count:,} line{'' if count == 1 else 's'} then: there is no line {missing}.")


def _absence(history: History, life: Life, moment: Moment) -> NotFoundError:
    """What is to be said where nothing stands at a path."""
    sentence = f"There is no {life.resource!r} in {history.name} as of {moment.meaning}"
    if life.step(0) is not None:
        last = life.event(0)
        became = last.state_change.target_resource
        what = f"renamed to {became!r}" if became != life.resource else "deleted"
        return NotFoundError(f"{sentence}: it was {what} by event {last.event_id}, so ask --at before:{last.event_id}.")
    if history.has_paths_below(life.resource.rstrip("/")):
        return NotFoundError(f"{sentence}, but a folder is or was called so: name a file in it, see `enchanted ls`.")
    return NotFoundError(f"{sentence}: see `enchanted ls`.")
