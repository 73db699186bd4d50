import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AgentRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[AgentRole]
    ROLE_ARCHITECT: _ClassVar[AgentRole]
    ROLE_CODER: _ClassVar[AgentRole]
    ROLE_REVIEWER: _ClassVar[AgentRole]
    ROLE_OPERATOR: _ClassVar[AgentRole]
    ROLE_TESTER: _ClassVar[AgentRole]
    ROLE_RESEARCHER: _ClassVar[AgentRole]

class TargetType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TARGET_TYPE_UNSPECIFIED: _ClassVar[TargetType]
    TARGET_TYPE_FILE: _ClassVar[TargetType]
    TARGET_TYPE_SYMLINK: _ClassVar[TargetType]
    TARGET_TYPE_SUBMODULE: _ClassVar[TargetType]

class Operation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPERATION_UNSPECIFIED: _ClassVar[Operation]
    OPERATION_CREATE: _ClassVar[Operation]
    OPERATION_MODIFY: _ClassVar[Operation]
    OPERATION_DELETE: _ClassVar[Operation]
    OPERATION_RENAME: _ClassVar[Operation]

class AgentStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AGENT_STATUS_UNSPECIFIED: _ClassVar[AgentStatus]
    AGENT_STATUS_IDLE: _ClassVar[AgentStatus]
    AGENT_STATUS_BUSY: _ClassVar[AgentStatus]
    AGENT_STATUS_BLOCKED: _ClassVar[AgentStatus]
    AGENT_STATUS_ERROR: _ClassVar[AgentStatus]
    AGENT_STATUS_STOPPED: _ClassVar[AgentStatus]

class MessageKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MESSAGE_KIND_UNSPECIFIED: _ClassVar[MessageKind]
    MESSAGE_KIND_NEGOTIATION: _ClassVar[MessageKind]
    MESSAGE_KIND_WARNING: _ClassVar[MessageKind]
    MESSAGE_KIND_ORDER: _ClassVar[MessageKind]
    MESSAGE_KIND_INFORMATION: _ClassVar[MessageKind]
    MESSAGE_KIND_CONFLICT: _ClassVar[MessageKind]
ROLE_UNSPECIFIED: AgentRole
ROLE_ARCHITECT: AgentRole
ROLE_CODER: AgentRole
ROLE_REVIEWER: AgentRole
ROLE_OPERATOR: AgentRole
ROLE_TESTER: AgentRole
ROLE_RESEARCHER: AgentRole
TARGET_TYPE_UNSPECIFIED: TargetType
TARGET_TYPE_FILE: TargetType
TARGET_TYPE_SYMLINK: TargetType
TARGET_TYPE_SUBMODULE: TargetType
OPERATION_UNSPECIFIED: Operation
OPERATION_CREATE: Operation
OPERATION_MODIFY: Operation
OPERATION_DELETE: Operation
OPERATION_RENAME: Operation
AGENT_STATUS_UNSPECIFIED: AgentStatus
AGENT_STATUS_IDLE: AgentStatus
AGENT_STATUS_BUSY: AgentStatus
AGENT_STATUS_BLOCKED: AgentStatus
AGENT_STATUS_ERROR: AgentStatus
AGENT_STATUS_STOPPED: AgentStatus
MESSAGE_KIND_UNSPECIFIED: MessageKind
MESSAGE_KIND_NEGOTIATION: MessageKind
MESSAGE_KIND_WARNING: MessageKind
MESSAGE_KIND_ORDER: MessageKind
MESSAGE_KIND_INFORMATION: MessageKind
MESSAGE_KIND_CONFLICT: MessageKind

class AgentDecision(_message.Message):
    __slots__ = ("context_hash", "input_trigger", "rationale", "rejected_alternatives", "memory_ids", "confidence_score", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CONTEXT_HASH_FIELD_NUMBER: _ClassVar[int]
    INPUT_TRIGGER_FIELD_NUMBER: _ClassVar[int]
    RATIONALE_FIELD_NUMBER: _ClassVar[int]
    REJECTED_ALTERNATIVES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_IDS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_SCORE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    context_hash: str
    input_trigger: str
    rationale: str
    rejected_alternatives: _containers.RepeatedScalarFieldContainer[str]
    memory_ids: _containers.RepeatedScalarFieldContainer[str]
    confidence_score: float
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, context_hash: _Optional[str] = ..., input_trigger: _Optional[str] = ..., rationale: _Optional[str] = ..., rejected_alternatives: _Optional[_Iterable[str]] = ..., memory_ids: _Optional[_Iterable[str]] = ..., confidence_score: _Optional[float] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class StateChange(_message.Message):
    __slots__ = ("target_type", "target_resource", "previous_state_hash", "new_state_hash", "diff_patch", "is_reversible", "operation", "mode", "renamed_from", "content", "blob_hash", "blob_parts", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TARGET_TYPE_FIELD_NUMBER: _ClassVar[int]
    TARGET_RESOURCE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_STATE_HASH_FIELD_NUMBER: _ClassVar[int]
    NEW_STATE_HASH_FIELD_NUMBER: _ClassVar[int]
    DIFF_PATCH_FIELD_NUMBER: _ClassVar[int]
    IS_REVERSIBLE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    RENAMED_FROM_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    BLOB_HASH_FIELD_NUMBER: _ClassVar[int]
    BLOB_PARTS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    target_type: TargetType
    target_resource: str
    previous_state_hash: str
    new_state_hash: str
    diff_patch: str
    is_reversible: bool
    operation: Operation
    mode: int
    renamed_from: str
    content: bytes
    blob_hash: str
    blob_parts: _containers.RepeatedScalarFieldContainer[bytes]
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, target_type: _Optional[_Union[TargetType, str]] = ..., target_resource: _Optional[str] = ..., previous_state_hash: _Optional[str] = ..., new_state_hash: _Optional[str] = ..., diff_patch: _Optional[str] = ..., is_reversible: _Optional[bool] = ..., operation: _Optional[_Union[Operation, str]] = ..., mode: _Optional[int] = ..., renamed_from: _Optional[str] = ..., content: _Optional[bytes] = ..., blob_hash: _Optional[str] = ..., blob_parts: _Optional[_Iterable[bytes]] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SystemSignal(_message.Message):
    __slots__ = ("status", "cpu_load_percent", "memory_usage_mb", "detail")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CPU_LOAD_PERCENT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_USAGE_MB_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    status: AgentStatus
    cpu_load_percent: float
    memory_usage_mb: float
    detail: str
    def __init__(self, status: _Optional[_Union[AgentStatus, str]] = ..., cpu_load_percent: _Optional[float] = ..., memory_usage_mb: _Optional[float] = ..., detail: _Optional[str] = ...) -> None: ...

class AgentMessage(_message.Message):
    __slots__ = ("kind", "to_agent_id", "content", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    TO_AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    kind: MessageKind
    to_agent_id: str
    content: str
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, kind: _Optional[_Union[MessageKind, str]] = ..., to_agent_id: _Optional[str] = ..., content: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ToolCall(_message.Message):
    __slots__ = ("name", "arguments", "result", "exit_code", "duration_ms", "input_tokens", "output_tokens", "cost_usd", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_USD_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    arguments: str
    result: str
    exit_code: int
    duration_ms: float
    input_tokens: int
    output_tokens: int
    cost_usd: float
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., arguments: _Optional[str] = ..., result: _Optional[str] = ..., exit_code: _Optional[int] = ..., duration_ms: _Optional[float] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cost_usd: _Optional[float] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("name", "description", "through_event_id", "project_ids", "origin")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    THROUGH_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_IDS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    through_event_id: str
    project_ids: _containers.RepeatedScalarFieldContainer[str]
    origin: Origin
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., through_event_id: _Optional[str] = ..., project_ids: _Optional[_Iterable[str]] = ..., origin: _Optional[_Union[Origin, _Mapping]] = ...) -> None: ...

class Origin(_message.Message):
    __slots__ = ("project_id", "through_event_id", "chain", "incarnation", "occurred_by_us", "recorded_by_us")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    THROUGH_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_BY_US_FIELD_NUMBER: _ClassVar[int]
    RECORDED_BY_US_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    through_event_id: str
    chain: bytes
    incarnation: int
    occurred_by_us: int
    recorded_by_us: int
    def __init__(self, project_id: _Optional[str] = ..., through_event_id: _Optional[str] = ..., chain: _Optional[bytes] = ..., incarnation: _Optional[int] = ..., occurred_by_us: _Optional[int] = ..., recorded_by_us: _Optional[int] = ...) -> None: ...

class SwarmEvent(_message.Message):
    __slots__ = ("event_id", "timestamp", "trace_id", "span_id", "agent_role", "agent_id", "decision", "state_change", "system_signal", "message", "tool_call", "checkpoint", "tenant_id", "user_id", "is_encrypted", "project_id", "session_id", "causation_id", "correlation_id", "agent_sequence", "related_commit_hash", "redactions")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ROLE_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    STATE_CHANGE_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    IS_ENCRYPTED_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CAUSATION_ID_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RELATED_COMMIT_HASH_FIELD_NUMBER: _ClassVar[int]
    REDACTIONS_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    timestamp: _timestamp_pb2.Timestamp
    trace_id: str
    span_id: str
    agent_role: AgentRole
    agent_id: str
    decision: AgentDecision
    state_change: StateChange
    system_signal: SystemSignal
    message: AgentMessage
    tool_call: ToolCall
    checkpoint: Checkpoint
    tenant_id: str
    user_id: str
    is_encrypted: bool
    project_id: str
    session_id: str
    causation_id: str
    correlation_id: str
    agent_sequence: int
    related_commit_hash: str
    redactions: _containers.RepeatedCompositeFieldContainer[Redaction]
    def __init__(self, event_id: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., trace_id: _Optional[str] = ..., span_id: _Optional[str] = ..., agent_role: _Optional[_Union[AgentRole, str]] = ..., agent_id: _Optional[str] = ..., decision: _Optional[_Union[AgentDecision, _Mapping]] = ..., state_change: _Optional[_Union[StateChange, _Mapping]] = ..., system_signal: _Optional[_Union[SystemSignal, _Mapping]] = ..., message: _Optional[_Union[AgentMessage, _Mapping]] = ..., tool_call: _Optional[_Union[ToolCall, _Mapping]] = ..., checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ..., tenant_id: _Optional[str] = ..., user_id: _Optional[str] = ..., is_encrypted: _Optional[bool] = ..., project_id: _Optional[str] = ..., session_id: _Optional[str] = ..., causation_id: _Optional[str] = ..., correlation_id: _Optional[str] = ..., agent_sequence: _Optional[int] = ..., related_commit_hash: _Optional[str] = ..., redactions: _Optional[_Iterable[_Union[Redaction, _Mapping]]] = ...) -> None: ...

class Redaction(_message.Message):
    __slots__ = ("rule", "field", "offset_bytes", "count")
    RULE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    OFFSET_BYTES_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    rule: str
    field: str
    offset_bytes: int
    count: int
    def __init__(self, rule: _Optional[str] = ..., field: _Optional[str] = ..., offset_bytes: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class SwarmEventBatch(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[SwarmEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[SwarmEvent, _Mapping]]] = ...) -> None: ...

class RawEventBatch(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, events: _Optional[_Iterable[bytes]] = ...) -> None: ...
