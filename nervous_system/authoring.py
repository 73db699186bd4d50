"""Who makes events: what every event of one agent in one project has in common, and its running number."""

from __future__ import annotations

import threading
from collections.abc import Callable

from nervous_system.contract import AgentRole, SwarmEvent
from nervous_system.events import now_us, set_occurred, uuid7
from nervous_system.projects import ProjectName


def _kept(_: SwarmEvent) -> None:
    """Takes any event."""


class Author:
    """One agent at work in one project; its events are numbered 1, 2, 3 … Safe to use from several threads.

    Args:
        project: that the events are about.
        agent: the agent's id.
        role: the agent's role.
        session: groups one run's events.
        user: the person on whose behalf the agent acts; empty for none.
    """

    def __init__(self, project: ProjectName, agent: str, role: AgentRole, session: str, user: str) -> None:
        self._project = project
        self._agent, self._role = agent, role
        self._session, self._user = session, user
        self._sequence = 0
        self._lock = threading.Lock()

    def event(
        self,
        event: SwarmEvent,
        *,
        occurred_us: int | None = None,
        causation_id: str = "",
        correlation_id: str = "",
        trace_id: str = "",
        span_id: str = "",
        related_commit_hash: str = "",
        take: Callable[[SwarmEvent], None] = _kept,
    ) -> SwarmEvent:
        """Completes an event that has nothing but its payload, and returns it.

        Args:
            event: is changed in place.
            occurred_us: when it happened, microseconds since 1970; now where absent.
            causation_id: the event that led to this one.
            correlation_id: the task that both serve.
            trace_id: OpenTelemetry's, lower-case hex.
            span_id: OpenTelemetry's, lower-case hex.
            related_commit_hash: the commit that this belongs to.
            take: is given the completed event before any event with a later number is made. Where it raises, the
                event does not count and the next one has its number: a gap in the numbers means a loss.
        """
        made_us = now_us()
        event.event_id = uuid7(made_us // 1_000)
        set_occurred(event, made_us if occurred_us is None else occurred_us)
        event.agent_id, event.agent_role = self._agent, self._role
        event.tenant_id, event.project_id = self._project.tenant, self._project.project
        event.session_id, event.user_id = self._session, self._user
        event.causation_id, event.correlation_id = causation_id, correlation_id
        event.trace_id, event.span_id = trace_id, span_id
        event.related_commit_hash = related_commit_hash
        with self._lock:
            event.agent_sequence = self._sequence + 1
            take(event)
            self._sequence += 1
        return event
