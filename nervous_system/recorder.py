"""What an agent's code calls to have its decisions, changes and messages kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TypedDict, Unpack, cast

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from nervous_system import changes, textdiff
from nervous_system.authoring import Author
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
    SwarmEvent,
    SystemSignal,
    ToolCall,
)
from nervous_system.errors import ContractError
from nervous_system.events import content_hash, now_us, uuid7
from nervous_system.paths import check_link_target, check_resource
from nervous_system.projects import ProjectName
from nervous_system.publisher import Publisher
from nervous_system.settings import Settings


class Context(TypedDict, total=False):
    """What may be said of any event besides its payload."""

    occurred: datetime
    causation_id: str
    correlation_id: str
    trace_id: str
    span_id: str
    related_commit_hash: str


class Recorder:
    """Records one agent's events in one project.

    Each method returns the id of its event once the event is queued; ``flush`` and leaving the ``with`` block return
    once the log has every event on disk. Safe to use from several threads.

    Args:
        project: ``tenant/project``.
        agent: the agent's id.
        role: a name of AgentRole, with or without ``ROLE_``.
        session: groups one run's events; made up where absent.
        user: the person on whose behalf the agent acts.
        settings: addresses; from the environment where absent.

    Raises:
        ContractError: the project, role, path or time cannot be accepted.
        UnavailableError: the hub does not acknowledge.
        AccessError: the hub refuses the token.
    """

    def __init__(
        self,
        project: str,
        *,
        agent: str,
        role: str = "CODER",
        session: str = "",
        user: str = "",
        settings: Settings | None = None,
    ) -> None:
        name = ProjectName.parse(project)
        role_value = cast(AgentRole, AgentRole.Value(_enum_name(AgentRole, "ROLE_", role, "role")))
        self._author = Author(name, agent, role_value, session or uuid7(now_us() // 1_000), user)
        self._publisher = Publisher(settings or Settings.load(), name)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What was recorded before a failure of the agent is what explains it: it is sent in either case.
        try:
            self.flush()
        finally:
            self._publisher.close()

    def flush(self) -> None:
        """Returns once every event recorded so far is on disk in the log."""
        self._publisher.flush()

    @property
    def last_sequence(self) -> int:
        """Stream sequence of the last message that was acknowledged; 0 before the first."""
        return self._publisher.last_sequence

    def close(self) -> None:
        """Disconnects; what was not flushed is given up."""
        self._publisher.close()

    def decision(
        self,
        rationale: str,
        *,
        input_trigger: str = "",
        rejected_alternatives: Sequence[str] = (),
        confidence: float | None = None,
        context_hash: str = "",
        memory_ids: Sequence[str] = (),
        attributes: Mapping[str, str] | None = None,
        **context: Unpack[Context],
    ) -> str:
        """A choice and why it was made; ``confidence`` is 0 to 1."""
        if confidence is not None and not 0 <= confidence <= 1:
            raise ContractError(f"A confidence of {confidence} is not between 0 and 1.")
        decision = AgentDecision(
            rationale=rationale,
            input_trigger=input_trigger,
            rejected_alternatives=rejected_alternatives,
            confidence_score=confidence,
            context_hash=context_hash,
            memory_ids=memory_ids,
            attributes=attributes,
        )
        return self._record(SwarmEvent(decision=decision), context)

    def file_changed(
        self,
        path: str,
        content: bytes | None,
        *,
        previous: bytes | None = None,
        renamed_from: str = "",
        executable: bool = False,
        symlink: bool = False,
        **context: Unpack[Context],
    ) -> str:
        """A file written, or deleted where ``content`` is None.

        Args:
            path: relative to the project's root, parts joined by "/".
            content: the bytes afterwards; a symlink's target where ``symlink``.
            previous: the bytes before; None where there was no file or they are not known.
            renamed_from: the path before, where the file was moved.
            executable: whether the file may be executed.
            symlink: whether it is a symbolic link.
            context: what else is known of the event.
        """
        check_resource(path)
        if renamed_from:
            check_resource(renamed_from)
        if symlink and content is not None:
            check_link_target(path, content)
        mode = SYMLINK_MODE if symlink else EXECUTABLE_MODE if executable else FILE_MODE
        previous_hash = "" if previous is None else content_hash(previous)
        if content is None:
            if renamed_from:
                raise ContractError(f"{path!r} cannot be both deleted and renamed from {renamed_from!r}.")
            change = changes.deleted(path, mode=mode, previous_hash=previous_hash)
            return self._record(SwarmEvent(state_change=change), context)
        operation = Operation.OPERATION_CREATE if previous is None else Operation.OPERATION_MODIFY
        change = changes.written(
            path,
            content,
            self._publisher.put_part,
            mode=mode,
            operation=Operation.OPERATION_RENAME if renamed_from else operation,
            previous_hash=previous_hash,
            patch=None if previous is None or symlink else textdiff.unified_diff(previous, content),
            renamed_from=renamed_from,
        )
        return self._record(SwarmEvent(state_change=change), context)

    def message(self, content: str, *, to: str = "", kind: str = "INFORMATION", **context: Unpack[Context]) -> str:
        """Something said to another agent, or to all where ``to`` is empty; ``kind`` is a name of MessageKind."""
        message = AgentMessage(
            content=content, to_agent_id=to, kind=_enum_name(MessageKind, "MESSAGE_KIND_", kind, "kind of message")
        )
        return self._record(SwarmEvent(message=message), context)

    def tool_call(
        self,
        name: str,
        *,
        arguments: str = "",
        result: str = "",
        exit_code: int | None = None,
        duration_ms: float = 0.0,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cost_usd: float = 0.0,
        **context: Unpack[Context],
    ) -> str:
        """A tool that was used, and what came of it."""
        call = ToolCall(
            name=name,
            arguments=arguments,
            result=result,
            exit_code=exit_code,
            duration_ms=duration_ms,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cost_usd=cost_usd,
        )
        return self._record(SwarmEvent(tool_call=call), context)

    def signal(
        self,
        status: str = "BUSY",
        *,
        cpu_load_percent: float = 0.0,
        memory_usage_mb: float = 0.0,
        detail: str = "",
        **context: Unpack[Context],
    ) -> str:
        """A heartbeat; ``status`` is a name of AgentStatus."""
        signal = SystemSignal(
            status=_enum_name(AgentStatus, "AGENT_STATUS_", status, "status"),
            cpu_load_percent=cpu_load_percent,
            memory_usage_mb=memory_usage_mb,
            detail=detail,
        )
        return self._record(SwarmEvent(system_signal=signal), context)

    def checkpoint(self, name: str, *, description: str = "", **context: Unpack[Context]) -> str:
        """Gives this moment a name, by which it can be restored."""
        check_checkpoint_name(name)
        return self._record(SwarmEvent(checkpoint=Checkpoint(name=name, description=description)), context)

    def _record(self, event: SwarmEvent, context: Context) -> str:
        occurred = context.get("occurred")
        if occurred is not None and occurred.tzinfo is None:
            raise ContractError(f"The time {occurred} has no zone: give an aware datetime.")
        made = self._author.event(
            event,
            occurred_us=None if occurred is None else round(occurred.timestamp() * 1_000_000),
            causation_id=context.get("causation_id", ""),
            correlation_id=context.get("correlation_id", ""),
            trace_id=context.get("trace_id", ""),
            span_id=context.get("span_id", ""),
            related_commit_hash=context.get("related_commit_hash", ""),
            take=self._put,
        )
        return made.event_id

    def _put(self, event: SwarmEvent) -> None:
        self._publisher.put(event.SerializeToString())


def _enum_name(enum: EnumTypeWrapper, prefix: str, name: str, what: str) -> str:
    full_name = prefix + name.upper().removeprefix(prefix)
    names = list(enum.keys())
    if full_name not in names:
        known = ", ".join(known.removeprefix(prefix) for known in names[1:])
        raise ContractError(f"{name!r} is no {what}: use one of {known}.")
    return full_name
