"""What is found in a record that another tool made, and the event that it becomes.

Whoever reads the same record again must make the same events, byte for byte, so that importing twice adds nothing: an
event's id comes out of a hash of where it was found, and nothing of this machine or this moment goes into it. No
recorder numbered these events, so their ``agent_sequence`` is 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from nervous_system import changes, textdiff
from nervous_system.contract import (
    FILE_MODE,
    AgentDecision,
    AgentMessage,
    AgentRole,
    Operation,
    StateChange,
    SwarmEvent,
    SystemSignal,
    ToolCall,
)
from nervous_system.events import content_hash, set_occurred, uuid7
from nervous_system.projects import ProjectName

# What one text of an event may weigh; three of them and the attributes stay below EVENT_LIMIT_BYTES.
TEXT_LIMIT_BYTES = 200_000
ATTRIBUTE_LIMIT_BYTES = 32_000
ATTRIBUTES_LIMIT_BYTES = 200_000
LEFT_OUT = "enchanted.attributes_left_out"


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as an agent's tool left it.

    Args:
        resource: the path's text form, relative to the project's root.
        content: the bytes afterwards; None where the file was deleted.
        previous: the bytes before; None where there was no file or they are not known.
        renamed_from: the path before a rename.
        mode: as in git.
        attributes: what else is known of the change.
    """

    resource: str
    content: bytes | None
    previous: bytes | None = None
    renamed_from: str = ""
    mode: int = FILE_MODE
    attributes: Mapping[str, str] = field(default_factory=dict)


Payload = AgentDecision | AgentMessage | ToolCall | SystemSignal | FileState


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that an agent decided, said or did, as another tool's record tells it.

    Args:
        event_id: from ``found_id``.
        occurred_us: when it happened by that record, microseconds since 1970.
        payload: what happened.
        agent: who did it.
        session: groups one run.
        causation_id: the event that led to this one; empty where the record does not say.
        correlation_id: the task that both serve.
        trace_id: OpenTelemetry's, lower-case hex.
        span_id: OpenTelemetry's, lower-case hex.
        user: on whose behalf.
        commit: that this belongs to, hex.
    """

    event_id: str
    occurred_us: int
    payload: Payload
    agent: str
    session: str = ""
    causation_id: str = ""
    correlation_id: str = ""
    trace_id: str = ""
    span_id: str = ""
    user: str = ""
    commit: str = ""


def found_id(occurred_us: int, *place: str) -> str:
    """A UUIDv7 that is the same whenever the same thing is found at the same place."""
    return uuid7(occurred_us // 1_000, _digest(place))


def _digest(place: tuple[str, ...]) -> bytes:
    return hashlib.sha256("\0".join(place).encode("utf-8", "surrogatepass")).digest()


def to_event(
    finding: Finding, project: ProjectName, put_part: changes.PutPart, role: AgentRole = AgentRole.ROLE_CODER
) -> SwarmEvent:
    """The event of a finding; ``put_part`` is called for each part of a large content before this returns."""
    event = SwarmEvent(
        event_id=finding.event_id,
        trace_id=finding.trace_id,
        span_id=finding.span_id,
        agent_role=role,
        agent_id=clean(finding.agent),
        tenant_id=project.tenant,
        project_id=project.project,
        session_id=clean(finding.session),
        user_id=clean(finding.user),
        causation_id=finding.causation_id,
        correlation_id=finding.correlation_id,
        related_commit_hash=finding.commit,
    )
    set_occurred(event, finding.occurred_us)
    match finding.payload:
        case AgentDecision():
            event.decision.CopyFrom(finding.payload)
        case AgentMessage():
            event.message.CopyFrom(finding.payload)
        case ToolCall():
            event.tool_call.CopyFrom(finding.payload)
        case SystemSignal():
            event.system_signal.CopyFrom(finding.payload)
        case FileState():
            event.state_change.CopyFrom(_state_change(finding.payload, put_part))
    return event


def _state_change(state: FileState, put_part: changes.PutPart) -> StateChange:
    previous_hash = "" if state.previous is None else content_hash(state.previous)
    if state.content is None:
        change = changes.deleted(state.resource, mode=state.mode, previous_hash=previous_hash)
    else:
        operation = Operation.OPERATION_CREATE if state.previous is None else Operation.OPERATION_MODIFY
        change = changes.written(
            state.resource,
            state.content,
            put_part,
            mode=state.mode,
            operation=Operation.OPERATION_RENAME if state.renamed_from else operation,
            previous_hash=previous_hash,
            patch=None if state.previous is None else textdiff.unified_diff(state.previous, state.content),
            renamed_from=state.renamed_from,
        )
    change.attributes.update(state.attributes)
    return change


def clean(text: str) -> str:
    """Text as protobuf takes it: half of a surrogate pair, which JSON can carry, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def limited(text: str, max_bytes: int = TEXT_LIMIT_BYTES) -> str:
    """The text, cut in its middle where it is larger than an event may carry, which the text then says itself."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= max_bytes:
        return raw.decode()
    half = max_bytes // 2
    kept = raw[:half].decode(errors="ignore"), raw[-half:].decode(errors="ignore")
    return f"{kept[0]}\n[… {len(raw) - 2 * half:,} of {len(raw):,} bytes left out …]\n{kept[1]}"


def limited_attributes(attributes: Mapping[str, str]) -> dict[str, str]:
    """The attributes that fit into an event, each cut to size; how many did not is told by LEFT_OUT."""
    kept: dict[str, str] = {}
    room_bytes = ATTRIBUTES_LIMIT_BYTES
    for name, value in attributes.items():
        short = limited(value, ATTRIBUTE_LIMIT_BYTES)
        room_bytes -= len(name.encode("utf-8", "replace")) + len(short.encode())
        if room_bytes >= 0:
            kept[clean(name)] = short
    if len(kept) < len(attributes):
        kept[LEFT_OUT] = str(len(attributes) - len(kept))
    return kept
