"""What an agent says, as an event that has nothing but its payload. Pure.

Every function raises ContractError for what no store would keep, so that the agent learns of it at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar, cast

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from nervous_system import changes, textdiff
from nervous_system.changes import PutPart
from nervous_system.checkpoint_names import check_checkpoint_name
from nervous_system.contract import (
    EXECUTABLE_MODE,
    FILE_MODE,
    SYMLINK_MODE,
    AgentDecision,
    AgentMessage,
    AgentRole,
    AgentStatus,
    Checkpoint,
    MessageKind,
    Operation,
    StateChange,
    SwarmEvent,
    SystemSignal,
    ToolCall,
)
from nervous_system.errors import ContractError
from nervous_system.events import content_hash
from nervous_system.inspection import RESOURCE_LIMIT_BYTES
from nervous_system.paths import check_link_target, check_resource

P = ParamSpec("P")
T = TypeVar("T")

_HASH = re.compile(r"[0-9a-f]{64}")


def refusing(make: Callable[P, T]) -> Callable[P, T]:
    """Has ``make`` raise ContractError where protobuf cannot hold what it is given."""

    @wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return make(*args, **kwargs)
        except (TypeError, ValueError) as error:
            raise unacceptable(error) from error

    return made


def unacceptable(error: Exception) -> ContractError:
    """What to tell of a value that protobuf does not take."""
    fault = "a text has a character that is no Unicode" if isinstance(error, UnicodeError) else str(error)
    return ContractError(f"The event cannot be kept: {fault}.")


def role_number(name: str) -> AgentRole:
    """A role by its name, with or without ``ROLE_``."""
    return cast(AgentRole, _number(AgentRole, "ROLE_", name, "role"))


@refusing
def decision(
    rationale: str,
    input_trigger: str,
    rejected_alternatives: Sequence[str],
    *,
    confidence: float | None,
    context_hash: str,
    memory_ids: Sequence[str],
    attributes: Mapping[str, str] | None,
) -> SwarmEvent:
    """A choice and why it was made."""
    if confidence is not None and not 0 <= confidence <= 1:
        raise ContractError(f"A confidence of {confidence} is not between 0 and 1.")
    return SwarmEvent(
        decision=AgentDecision(
            rationale=rationale,
            input_trigger=input_trigger,
            rejected_alternatives=rejected_alternatives,
            confidence_score=confidence,
            context_hash=context_hash,
            memory_ids=memory_ids,
            attributes=attributes,
        )
    )


@refusing
def file_changed(
    path: str,
    content: bytes | None,
    put_part: PutPart,
    *,
    previous: bytes | None,
    previous_hash: str,
    renamed_from: str,
    mode: int,
    attributes: Mapping[str, str] | None,
) -> SwarmEvent:
    """A file written, or deleted where ``content`` is None."""
    _check_path(path)
    if renamed_from:
        _check_path(renamed_from)
    if content is not None and mode == SYMLINK_MODE:
        check_link_target(path, content)
    if previous is not None:
        previous_hash = content_hash(previous)
    elif previous_hash and not _HASH.fullmatch(previous_hash):
        raise ContractError(f"{previous_hash[:80]!r} is not a SHA-256 in lower-case hex.")
    if content is None and renamed_from:
        raise ContractError(f"{path!r} cannot be both deleted and renamed from {renamed_from!r}.")
    # Checked before a large content is cut into parts, which are put at once.
    change = StateChange(attributes=attributes)
    change.MergeFrom(
        changes.deleted(path, mode=mode, previous_hash=previous_hash)
        if content is None
        else changes.written(
            path,
            content,
            put_part,
            mode=mode,
            operation=_operation(renamed_from, previous_hash),
            previous_hash=previous_hash,
            patch=None if previous is None or mode == SYMLINK_MODE else textdiff.unified_diff(previous, content),
            renamed_from=renamed_from,
        )
    )
    return SwarmEvent(state_change=change)


@refusing
def message(content: str, to: str, kind: str, attributes: Mapping[str, str] | None) -> SwarmEvent:
    """Something said to another agent, or to all."""
    number = cast(MessageKind, _number(MessageKind, "MESSAGE_KIND_", kind, "kind of message"))
    return SwarmEvent(message=AgentMessage(content=content, to_agent_id=to, kind=number, attributes=attributes))


@refusing
def tool_call(
    name: str,
    arguments: str,
    result: str,
    *,
    exit_code: int | None,
    duration_ms: float,
    input_tokens: int,
    output_tokens: int,
    cost_usd: float,
    attributes: Mapping[str, str] | None,
) -> SwarmEvent:
    """A tool that was used, and what came of it."""
    return SwarmEvent(
        tool_call=ToolCall(
            name=name,
            arguments=arguments,
            result=result,
            exit_code=exit_code,
            duration_ms=duration_ms,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cost_usd=cost_usd,
            attributes=attributes,
        )
    )


@refusing
def signal(status: str, cpu_load_percent: float, memory_usage_mb: float, detail: str) -> SwarmEvent:
    """A heartbeat."""
    return SwarmEvent(
        system_signal=SystemSignal(
            status=cast(AgentStatus, _number(AgentStatus, "AGENT_STATUS_", status, "status")),
            cpu_load_percent=cpu_load_percent,
            memory_usage_mb=memory_usage_mb,
            detail=detail,
        )
    )


@refusing
def checkpoint(name: str, description: str) -> SwarmEvent:
    """A name for this moment."""
    check_checkpoint_name(name)
    return SwarmEvent(checkpoint=Checkpoint(name=name, description=description))


def file_mode(*, executable: bool, symlink: bool) -> int:
    """The mode that git gives such a file."""
    return SYMLINK_MODE if symlink else EXECUTABLE_MODE if executable else FILE_MODE


def _operation(renamed_from: str, previous_hash: str) -> Operation:
    if renamed_from:
        return Operation.OPERATION_RENAME
    return Operation.OPERATION_MODIFY if previous_hash else Operation.OPERATION_CREATE


def _check_path(path: str) -> None:
    check_resource(path)
    if len(path.encode()) > RESOURCE_LIMIT_BYTES:
        raise ContractError(f"A path of more than {RESOURCE_LIMIT_BYTES:,} bytes cannot be kept.")


@lru_cache(maxsize=256)
def _number(enum: EnumTypeWrapper, prefix: str, name: str, what: str) -> int:
    full_name = prefix + name.upper().removeprefix(prefix)
    names = list(enum.keys())
    if full_name not in names:
        known = ", ".join(known.removeprefix(prefix) for known in names[1:])
        raise ContractError(f"{name!r} is no {what}: use one of {known}.")
    return int(enum.Value(full_name))
