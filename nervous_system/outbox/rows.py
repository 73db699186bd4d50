"""An event or a part as a row of the outbox."""

from __future__ import annotations

from nervous_system.contract import SwarmEvent
from nervous_system.events import occurred_us
from nervous_system.outbox.outbox import Row

_SUMMARY_LETTERS = 100


def event_row(event: SwarmEvent, data: bytes) -> Row:
    """The row of an event whose bytes are ``data``."""
    payload = event.WhichOneof("payload")
    resource, said = _described(event, payload or "")
    summary = " ".join(said[:_SUMMARY_LETTERS].split()) if said else ""
    return Row(
        "event",
        event.event_id,
        occurred_us(event),
        event.agent_id,
        event.session_id,
        payload or "",
        resource,
        summary,
        len(data),
        data,
    )


def part_row(part: bytes, part_hash: str) -> Row:
    """The row of one part of a large content; ``part_hash`` is its SHA-256, hex."""
    return Row("part", "", 0, "", "", "", part_hash, "", len(part), part)


def _described(event: SwarmEvent, payload: str) -> tuple[str, str]:
    """What the event is about, such as a path, and what it says."""
    match payload:
        case "state_change":
            return event.state_change.target_resource, ""
        case "decision":
            return "", event.decision.rationale
        case "tool_call":
            return event.tool_call.name, event.tool_call.arguments
        case "message":
            return event.message.to_agent_id, event.message.content
        case "checkpoint":
            return event.checkpoint.name, event.checkpoint.description
    return "", event.system_signal.detail
