"""Which changes are to be taken back: those of an agent, or those of an event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from nervous_system.contract import Operation, SwarmEvent
from nervous_system.errors import EnchantedError, NotFoundError
from nervous_system.events import decode, occurred_us, utc
from nervous_system.ledger.history import History
from nervous_system.ledger.versions import Version
from replay import moments
from replay.moments import Moment

AGENTS_NAMED = 10


class UndoError(EnchantedError):
    """There is nothing to take back, or it cannot be done."""


@dataclass(frozen=True, slots=True)
class ByAgent:
    """The changes of one agent.

    Args:
        agent: its id.
        since: what belongs to this moment is left out; None: nothing is.
        until: only what belongs to this moment; None: all.
    """

    agent: str
    since: Moment | None = None
    until: Moment | None = None


@dataclass(frozen=True, slots=True)
class ByEvent:
    """The change that an event is; of any other event, the changes that name it as their cause.

    Args:
        event: its id or its version.
    """

    event: str


Selection = ByAgent | ByEvent


@dataclass(frozen=True, slots=True)
class ChosenChange:
    """One change that is to be taken back.

    Args:
        version: of the event.
        event_id: of the event.
        resources: the paths that it changed: two where it renamed.
    """

    version: Version
    event_id: str
    resources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a selection comes to.

    Args:
        name: whose changes they are, in a word or two.
        scope: which of them, as the end of a sentence; empty for all.
        changes: in the project's order; at least one.
        facts: the selection, for the record.
    """

    name: str
    scope: str
    changes: tuple[ChosenChange, ...]
    facts: Mapping[str, str] = field(default_factory=dict)


def choose(history: History, selection: Selection, through: Version) -> Chosen:
    """The changes that a selection means, up to a version.

    Raises:
        UndoError: it means none.
        NotFoundError: it names an agent or an event that is not there.
    """
    if isinstance(selection, ByAgent):
        return _by_agent(history, selection, through)
    return _by_event(history, selection.event, through)


def since(history: History, text: str) -> Moment:
    """The moment that ``text`` means as a beginning: a time may lie before the first event."""
    at_us = moments.parse_time(text)
    if at_us is None:
        return moments.resolve(history, text)
    return Moment(history.head().version, at_us=at_us, meaning=utc(at_us).isoformat().replace("+00:00", "Z"))


def _by_agent(history: History, selection: ByAgent, through: Version) -> Chosen:
    agent, begin, until = selection.agent, selection.since, selection.until
    after = begin.through if begin is not None and begin.at_us is None and begin.known_at_us is None else None
    last = through if until is None else min(through, until.through)
    changes = []
    for version, recorded_us, event in _events(history, after, last):
        times = occurred_us(event), recorded_us
        is_before = begin is not None and version <= begin.through and begin.takes(*times)
        is_wanted = event.agent_id == agent and not is_before and (until is None or until.takes(*times))
        if is_wanted and event.WhichOneof("payload") == "state_change":
            changes.append(_chosen(version, event))
    scope = "".join(
        f" {word} {moment.meaning}" for word, moment in (("since", begin), ("until", until)) if moment is not None
    ).strip()
    if not changes:
        _check_agent(history, agent, through)
        raise UndoError(f"Agent {agent!r} has changed nothing in {history.name}{f' {scope}' if scope else ''}.")
    facts = {"undone_agent": agent}
    facts |= {"undone_since": begin.meaning} if begin is not None else {}
    facts |= {"undone_until": until.meaning} if until is not None else {}
    return Chosen(agent, scope, tuple(changes), facts)


def _check_agent(history: History, agent: str, through: Version) -> None:
    """Raises NotFoundError, which names those that there are, where the agent has never done anything."""
    known = (event.agent_id for _, _, event in _events(history, None, through))
    found: dict[str, None] = {}
    for each in known:
        if each == agent:
            return
        found.setdefault(each)
    names = ", ".join(map(repr, islice(found, AGENTS_NAMED)))
    more = f" and {len(found) - AGENTS_NAMED} more" if len(found) > AGENTS_NAMED else ""
    raise NotFoundError(f"{history.name} knows no agent {agent!r}: there are {names}{more}.")


def _by_event(history: History, text: str, through: Version) -> Chosen:
    version = moments.point(history, text)
    event = decode(history.event(version).data)
    if event.WhichOneof("payload") == "state_change":
        changes = [_chosen(version, event)]
    else:
        changes = [
            _chosen(later, caused)
            for later, _, caused in _events(history, version, through)
            if caused.causation_id == event.event_id and caused.WhichOneof("payload") == "state_change"
        ]
    if not changes:
        raise UndoError(f"Event {text} of {history.name} changed nothing, and no change names it as its cause.")
    return Chosen(f"event {event.event_id}", "", tuple(changes), {"undone_event": event.event_id})


def _chosen(version: Version, event: SwarmEvent) -> ChosenChange:
    change = event.state_change
    is_rename = change.renamed_from and change.operation != Operation.OPERATION_DELETE
    resources = (change.renamed_from, change.target_resource) if is_rename else (change.target_resource,)
    return ChosenChange(version, event.event_id, resources)


def _events(history: History, after: Version | None, through: Version) -> Iterator[tuple[Version, int, SwarmEvent]]:
    for outline in history.outlines(after=after, through=through):
        yield outline.version, outline.recorded_us, outline.event
