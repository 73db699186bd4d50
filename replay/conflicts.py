"""What is said in a project's history of two changes that do not fit together."""

from __future__ import annotations

import hashlib

from nervous_system.contract import AgentMessage, AgentRole, MessageKind, SwarmEvent
from nervous_system.events import set_occurred, uuid7
from nervous_system.ledger.history import Outline
from replay.state import Conflict

AGENT = "enchanted"


def conflict_event(outline: Outline, conflict: Conflict) -> SwarmEvent:
    """The event that tells of a conflict: for one conflict always the same bytes, so that it is kept once.

    Args:
        outline: the later change.
        conflict: what it met.
    """
    later = outline.event
    event = SwarmEvent(
        event_id=uuid7(
            outline.recorded_us // 1_000,
            hashlib.sha256(f"conflict {later.event_id} {conflict.resource}".encode()).digest(),
        ),
        agent_id=AGENT,
        agent_role=AgentRole.ROLE_OPERATOR,
        tenant_id=later.tenant_id,
        project_id=later.project_id,
        session_id=later.session_id,
        causation_id=later.event_id,
        correlation_id=later.correlation_id,
        trace_id=later.trace_id,
        message=AgentMessage(
            kind=MessageKind.MESSAGE_KIND_CONFLICT, to_agent_id=later.agent_id, content=_sentence(outline, conflict)
        ),
    )
    set_occurred(event, outline.recorded_us)
    return event


def _sentence(outline: Outline, conflict: Conflict) -> str:
    left = outline.event.state_change.new_state_hash[:12] or "nothing"
    return (
        f"Conflict at {conflict.resource!r}: {outline.event.agent_id} made {left} of {conflict.claimed[:12]}, but "
        f"{conflict.found[:12] or 'nothing'} stood there, and the two cannot be merged. Restore with --on-conflict "
        "ours|theirs|mark, or write the file anew."
    )
