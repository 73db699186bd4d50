"""Who makes events: what every event of one agent in one project has in common, and its running number."""

from __future__ import annotations

import os
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
        self.session, self._user = session, user
        self._common = SwarmEvent(
            agent_id=agent,
            agent_role=role,
            tenant_id=project.tenant,
            project_id=project.project,
            session_id=session,
            user_id=user,
        )
        self._sequence = 0
        # Entered again by the same thread where a signal's handler makes an event while one is being made.
        self.lock = threading.RLock()

    def forked(self) -> Author:
        """The same agent in a process that was forked from this one: numbers begin again, in a session of their own."""
        session = f"{self.session}.{os.urandom(6).hex()}"
        return Author(self._project, self._agent, self._role, session, self._user)

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
        event.MergeFrom(self._common)
        # Asked first, because setting a field to nothing costs as much as to something.
        if causation_id:
            event.causation_id = causation_id
        if correlation_id:
            event.correlation_id = correlation_id
        if trace_id or span_id:
            event.trace_id, event.span_id = trace_id, span_id
        if related_commit_hash:
            event.related_commit_hash = related_commit_hash
        with self.lock:
            # Counted before it is taken, for an event that is made meanwhile by a signal's handler.
            self._sequence += 1
            event.agent_sequence = self._sequence
            try:
                take(event)
            except BaseException:
                self._sequence -= 1
                raise
        return event
