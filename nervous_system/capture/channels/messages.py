"""What an agent may say on a side channel as a SwarmEvent in protobuf: its payload and what it belongs to.

Who says it, when, in which project and as which event is the recorder's to say, and passed over here.
"""

from __future__ import annotations

from typing import Any

from nervous_system.capture.channels.lines import FILE_CHANGED, LineError, Said
from nervous_system.contract import AgentStatus, MessageKind, SwarmEvent
from nervous_system.errors import ContractError
from nervous_system.events import decode, enum_name

_CONTEXT = ("causation_id", "correlation_id", "trace_id", "span_id")


def parse(data: bytes) -> Said:
    """Reads one message; raises LineError."""
    try:
        event = decode(data)
    except ContractError as error:
        raise LineError(str(error)) from error
    kind = event.WhichOneof("payload")
    context = {name: value for name in _CONTEXT if (value := getattr(event, name))}
    match kind:
        case "state_change":
            cause = {"causation_id": event.causation_id} if event.causation_id else {}
            return Said(FILE_CHANGED, {"path": event.state_change.target_resource, **cause})
        case "system_signal":
            return Said("signal", _signal(event) | context)
        case "message":
            return Said("message", _message(event) | context)
        case "decision":
            return Said("decision", _decision(event) | context)
        case "tool_call":
            return Said("tool_call", _tool_call(event) | context)
        case "checkpoint":
            said = {"name": event.checkpoint.name, "description": event.checkpoint.description}
            return Said("checkpoint", said | context)
    raise LineError("It has no payload that this version knows.")


def _decision(event: SwarmEvent) -> dict[str, Any]:
    said = event.decision
    return {
        "rationale": said.rationale,
        "input_trigger": said.input_trigger,
        "rejected_alternatives": list(said.rejected_alternatives),
        "confidence": said.confidence_score if said.HasField("confidence_score") else None,
        "context_hash": said.context_hash,
        "memory_ids": list(said.memory_ids),
        "attributes": dict(said.attributes),
    }


def _message(event: SwarmEvent) -> dict[str, Any]:
    said = event.message
    kind = enum_name(MessageKind, said.kind) if said.kind else "INFORMATION"
    return {"content": said.content, "to": said.to_agent_id, "kind": kind, "attributes": dict(said.attributes)}


def _signal(event: SwarmEvent) -> dict[str, Any]:
    said = event.system_signal
    return {
        "status": enum_name(AgentStatus, said.status) if said.status else "BUSY",
        "cpu_load_percent": said.cpu_load_percent,
        "memory_usage_mb": said.memory_usage_mb,
        "detail": said.detail,
    }


def _tool_call(event: SwarmEvent) -> dict[str, Any]:
    said = event.tool_call
    return {
        "name": said.name,
        "arguments": said.arguments,
        "result": said.result,
        "exit_code": said.exit_code if said.HasField("exit_code") else None,
        "duration_ms": said.duration_ms,
        "input_tokens": said.input_tokens,
        "output_tokens": said.output_tokens,
        "cost_usd": said.cost_usd,
        "attributes": dict(said.attributes),
    }
