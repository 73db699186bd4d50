"""The decision behind a change, found while a history is read from its beginning."""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache

from nervous_system.contract import SwarmEvent
from nervous_system.events import decode, occurred_us
from nervous_system.ledger.history import History
from nervous_system.ledger.versions import Version
from replay.moments import Moment

# Of the last decisions all that they say; of sessions the last decision's id.
WHOLE_KEPT = 32
SESSIONS_KEPT = 4_096
CAUSES_KEPT = 4_096
# How far a cause is followed, from event to event.
CAUSE_REACH_EVENTS = 32


class Decisions:
    """What agents decided, as far as it belongs to a moment: later knowledge changes no export of it.

    Args:
        history: the project.
        moment: which decisions count.
    """

    def __init__(self, history: History, moment: Moment) -> None:
        self._history = history
        self._moment = moment
        self._last: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._whole: OrderedDict[str, SwarmEvent] = OrderedDict()
        self._behind = lru_cache(maxsize=CAUSES_KEPT)(self._find_behind)

    def note(self, decision: SwarmEvent) -> None:
        """Takes the next decision of the history in."""
        self._remember((decision.agent_id, decision.session_id), decision.event_id)
        self._whole[decision.event_id] = decision
        if len(self._whole) > WHOLE_KEPT:
            self._whole.popitem(last=False)

    def behind(self, version: Version, event: SwarmEvent) -> str:
        """The event id of the decision that an event followed; empty where there is none.

        It is the one that the event names as its cause, through others if need be; else the last one of its agent in
        its session.
        """
        session = (event.agent_id, event.session_id)
        if session not in self._last:
            self._remember(session, self._find_last(*session, version))
        last = self._last[session]
        if not event.causation_id or event.causation_id == last:
            return last
        return self._behind(event.causation_id) or last

    def whole(self, event_id: str) -> SwarmEvent | None:
        """The decision with this id; None where the id is empty."""
        if not event_id or event_id in self._whole:
            return self._whole.get(event_id)
        version = self._history.version_of_event(event_id)
        return None if version is None else decode(self._history.event(version).data)

    def _remember(self, session: tuple[str, str], event_id: str) -> None:
        self._last[session] = event_id
        self._last.move_to_end(session)
        if len(self._last) > SESSIONS_KEPT:
            self._last.popitem(last=False)

    def _find_last(self, agent_id: str, session_id: str, before: Version) -> str:
        while (version := self._history.last_decision(agent_id, session_id, before=before)) is not None:
            if decision := self._taken(version):
                return decision.event_id
            before = version
        return ""

    def _find_behind(self, causation_id: str) -> str:
        for _ in range(CAUSE_REACH_EVENTS):
            version = self._history.version_of_event(causation_id) if causation_id else None
            event = None if version is None else self._taken(version)
            if event is None:
                return ""
            if event.WhichOneof("payload") == "decision":
                return event.event_id
            causation_id = event.causation_id
        return ""

    def _taken(self, version: Version) -> SwarmEvent | None:
        """The event, where it belongs to the moment."""
        if version > self._moment.through:
            return None
        stored = self._history.event(version)
        event = decode(stored.data)
        return event if self._moment.takes(occurred_us(event), stored.recorded_us) else None
