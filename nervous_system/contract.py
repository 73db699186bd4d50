"""The contract's types, under short names: what ``protos/`` defines and nothing more."""

from __future__ import annotations

from nervous_system.generated.enchanted.events.v1.events_pb2 import (
    AgentDecision,
    AgentMessage,
    AgentRole,
    AgentStatus,
    Checkpoint,
    MessageKind,
    Operation,
    Origin,
    RawEventBatch,
    Redaction,
    StateChange,
    SwarmEvent,
    SwarmEventBatch,
    SystemSignal,
    TargetType,
    ToolCall,
)

__all__ = [
    "AgentDecision",
    "AgentMessage",
    "AgentRole",
    "AgentStatus",
    "Checkpoint",
    "MessageKind",
    "Operation",
    "Origin",
    "RawEventBatch",
    "Redaction",
    "StateChange",
    "SwarmEvent",
    "SwarmEventBatch",
    "SystemSignal",
    "TargetType",
    "ToolCall",
]

FILE_MODE = 0o100644
EXECUTABLE_MODE = 0o100755
SYMLINK_MODE = 0o120000
SUBMODULE_MODE = 0o160000
MODES = frozenset((FILE_MODE, EXECUTABLE_MODE, SYMLINK_MODE, SUBMODULE_MODE))
