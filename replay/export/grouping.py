"""Which events make one commit. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nervous_system.contract import SwarmEvent
from nervous_system.events import occurred_us
from nervous_system.ledger.versions import Version


@dataclass(slots=True)
class Group:
    """Changes that belong together, and where they stand.

    Args:
        agent_id: whose changes they are.
        session_id: in which session.
        commit_hash: the commit of another repository that they belong to; empty where they name none.
        decision_id: the event id of the decision behind them; empty where none is known.
        first: the first change; the decision, where no change has followed yet.
        last: the last event.
        occurred_us: when the last event happened, microseconds since 1970.
        changes: how many there are.
        resource: the path of the first.
        first_id, last_id: event ids of the first and the last change.
        trace_id: of the first event that has one.
    """

    agent_id: str
    session_id: str
    commit_hash: str
    decision_id: str
    first: Version
    last: Version
    occurred_us: int
    changes: int = 0
    resource: str = ""
    first_id: str = ""
    last_id: str = ""
    trace_id: str = ""

    def add(self, version: Version, event: SwarmEvent) -> None:
        """Takes one more change in."""
        if not self.changes:
            self.first, self.first_id = version, event.event_id
            self.resource = event.state_change.target_resource
        self.changes += 1
        self.last, self.last_id = version, event.event_id
        self.occurred_us = occurred_us(event)
        self.trace_id = self.trace_id or event.trace_id

    def is_by(self, event: SwarmEvent) -> bool:
        """Whether the event is the same agent's, in the same session."""
        return (self.agent_id, self.session_id) == (event.agent_id, event.session_id)


class Grouper:
    """Takes a history event by event and tells where a group ends.

    Consecutive changes of one agent in one session belong together while they name the same commit or, naming none,
    follow the same decision. A new decision of that agent ends the group, and so does a checkpoint, whose name must
    have a commit to stand at. Other events, other agents' decisions and pauses end nothing. A decision that names a
    commit makes a group even where no change follows: the commit was empty.

    Args:
        decision_of: gives the event id of the decision behind a change; empty where there is none.
    """

    def __init__(self, decision_of: Callable[[Version, SwarmEvent], str]) -> None:
        self._decision_of = decision_of
        self._open: Group | None = None

    def take(self, version: Version, event: SwarmEvent) -> Group | None:
        """Takes the next event in; returns the group that ended before it, where one did."""
        match event.WhichOneof("payload"):
            case "state_change":
                return self._take_change(version, event)
            case "decision" if event.related_commit_hash:
                return self._replace(_opened(version, event, event.event_id))
            case "decision" if self._open is not None and self._open.is_by(event):
                return self.end()
            case "checkpoint":
                return self.end()
            case _:
                return None

    def end(self) -> Group | None:
        """The group that is open still, which ends here."""
        return self._replace(None)

    def _take_change(self, version: Version, event: SwarmEvent) -> Group | None:
        decision_id = self._decision_of(version, event)
        ended = None
        if self._open is None or not _belongs(self._open, event, decision_id):
            ended = self._replace(_opened(version, event, decision_id))
        assert self._open is not None
        self._open.add(version, event)
        return ended

    def _replace(self, group: Group | None) -> Group | None:
        ended, self._open = self._open, group
        return ended


def _belongs(group: Group, event: SwarmEvent, decision_id: str) -> bool:
    same_reason = bool(event.related_commit_hash) or decision_id == group.decision_id
    return group.is_by(event) and event.related_commit_hash == group.commit_hash and same_reason


def _opened(version: Version, event: SwarmEvent, decision_id: str) -> Group:
    return Group(
        agent_id=event.agent_id,
        session_id=event.session_id,
        commit_hash=event.related_commit_hash,
        decision_id=decision_id,
        first=version,
        last=version,
        occurred_us=occurred_us(event),
        trace_id=event.trace_id,
    )
