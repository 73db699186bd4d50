"""What an agent's code calls to have its decisions, changes and messages kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self, TypedDict, Unpack

from nervous_system.authoring import Author
from nervous_system.contract import SwarmEvent
from nervous_system.errors import ContractError, UnavailableError
from nervous_system.events import EVENT_LIMIT_BYTES, now_us, uuid7
from nervous_system.inspection import FIRST_SECOND, LAST_SECOND
from nervous_system.projects import ProjectName
from nervous_system.recording import forks, payloads
from nervous_system.recording.recorded import Recorded, cause_in
from nervous_system.recording.surroundings import Surroundings
from nervous_system.recording.takers import LogTaker, OutboxTaker, Taker
from nervous_system.recording.tracing import current_span
from nervous_system.redaction.fields import add_marks
from nervous_system.redaction.placeholders import Redacted
from nervous_system.redaction.redactor import CONTENT_FIELD, Redactor
from nervous_system.settings import Settings


class Context(TypedDict, total=False):
    """What may be said of any event besides its payload.

    Attributes:
        occurred: when it happened; now where absent.
        causation_id: the event that led to this one; where absent, the one in whose ``with`` block this is recorded.
        correlation_id: the task that both serve; where absent, that of the same block.
        trace_id, span_id: OpenTelemetry's, lower-case hex; where absent, those of the active span.
        related_commit_hash: the commit that this belongs to.
        durable: whether to return only once the event is kept for good.
    """

    occurred: datetime
    causation_id: str
    correlation_id: str
    trace_id: str
    span_id: str
    related_commit_hash: str
    durable: bool


class Recorder:
    """Records one agent's events in one project.

    Each method returns the id of its event, which is on disk on this machine within ``outbox_commit_within_s``; where
    the method is given ``durable=True``, when it returns. The id is a context manager: what the same thread or task
    records in its block has it as cause. Nothing here touches the network, unless ``direct``.

    ``flush`` and leaving the ``with`` block return once everything is on disk. Safe to use from several threads, and
    after a fork, where the child goes on as a recorder of its own, in a session named after the parent's.

    Args:
        project: ``tenant/project``; ``ENCHANTED_PROJECT`` where absent.
        agent: the agent's id; ``ENCHANTED_AGENT`` where absent.
        role: a name of AgentRole, with or without ``ROLE_``; ``ENCHANTED_ROLE``, or CODER, where absent.
        session: groups one run's events; ``ENCHANTED_SESSION``, or made up, where absent.
        user: the person on whose behalf the agent acts.
        settings: folders and addresses; from the environment where absent.
        direct: sends events straight to the log; durable is then acknowledged by it. It does not outlive a fork.

    Raises:
        ContractError: the project, role, path, text or time cannot be accepted.
        SettingsError: the outbox cannot be used.
        UnavailableError: the disk is full or fails, when durability is asked for or no more can wait in memory; with
            ``direct``, the hub does not acknowledge.
        AccessError: the hub refuses the token.
    """

    def __init__(
        self,
        project: str = "",
        *,
        agent: str = "",
        role: str = "",
        session: str = "",
        user: str = "",
        settings: Settings | None = None,
        direct: bool = False,
    ) -> None:
        self._surroundings = told = Surroundings.load()
        self.project = ProjectName.parse(_known("project", project or told.project))
        self._author = Author(
            self.project,
            _known("agent", agent or told.agent),
            payloads.role_number(role or told.role or "CODER"),
            session or told.session or uuid7(now_us() // 1_000),
            user,
        )
        self._closed = False
        settings = settings or Settings.load()
        self._redactor = Redactor.of(settings)
        # Where its events go.
        self.taker: Taker = LogTaker(settings, self.project) if direct else OutboxTaker(settings, self.project)
        forks.register(self, rank=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What was recorded before a failure of the agent is what explains it: it is kept in either case.
        try:
            if not self._closed:
                self.flush()
        finally:
            self.close()

    @property
    def session(self) -> str:
        """The session that its events are in."""
        return self._author.session

    def flush(self) -> None:
        """Returns once every event recorded so far is on disk; with ``direct``, in the log."""
        self._check_open()
        self.taker.flush()

    @property
    def last_sequence(self) -> int:
        """With ``direct``, the stream sequence of the last message that was acknowledged; else 0."""
        return self.taker.last_sequence

    def close(self) -> None:
        """Ends. What an outbox's recorder has not flushed is written; with ``direct`` it is given up."""
        self._closed = True
        self.taker.close()

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
    ) -> Recorded:
        """A choice and why it was made; ``confidence`` is 0 to 1."""
        said = payloads.decision(
            rationale,
            input_trigger,
            rejected_alternatives,
            confidence=confidence,
            context_hash=context_hash,
            memory_ids=memory_ids,
            attributes=attributes,
        )
        return self._record(said, context)

    def file_changed(
        self,
        path: str,
        content: bytes | None,
        *,
        previous: bytes | None = None,
        previous_hash: str = "",
        renamed_from: str = "",
        executable: bool = False,
        symlink: bool = False,
        attributes: Mapping[str, str] | None = None,
        **context: Unpack[Context],
    ) -> Recorded:
        """A file written, or deleted where ``content`` is None.

        Args:
            path: relative to the project's root, parts joined by "/".
            content: the bytes afterwards; a symlink's target where ``symlink``.
            previous: the bytes before; None where there was no file or they are not known.
            previous_hash: SHA-256 of the bytes before, hex, where that is known and they are not. Of the bytes as they
                were on disk: where they were recorded without their secrets, what was recorded is meant.
            renamed_from: the path before, where the file was moved.
            executable: whether the file may be executed.
            symlink: whether it is a symbolic link.
            attributes: facts that have no field.
            context: what else is known of the event.
        """
        before = renamed_from or path
        # A link leads to a path, which is no secret.
        redacted = Redacted(content or b"") if symlink else self._redactor.content(content or b"", path)
        if previous is not None and not symlink:
            previous = self._redactor.content(previous, before).content
        said = payloads.file_changed(
            path,
            None if content is None else redacted.content,
            self._put_part,
            previous=previous,
            previous_hash=self._redactor.state_hash(previous_hash, before),
            renamed_from=renamed_from,
            mode=payloads.file_mode(executable=executable, symlink=symlink),
            attributes=attributes,
        )
        add_marks(said, CONTENT_FIELD, redacted.marks)
        return self._record(said, context)

    def message(
        self,
        content: str,
        *,
        to: str = "",
        kind: str = "INFORMATION",
        attributes: Mapping[str, str] | None = None,
        **context: Unpack[Context],
    ) -> Recorded:
        """Something said to another agent, or to all where ``to`` is empty; ``kind`` is a name of MessageKind."""
        return self._record(payloads.message(content, to, kind, attributes), context)

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
        attributes: Mapping[str, str] | None = None,
        **context: Unpack[Context],
    ) -> Recorded:
        """A tool that was used, and what came of it."""
        said = payloads.tool_call(
            name,
            arguments,
            result,
            exit_code=exit_code,
            duration_ms=duration_ms,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cost_usd=cost_usd,
            attributes=attributes,
        )
        return self._record(said, context)

    def signal(
        self,
        status: str = "BUSY",
        *,
        cpu_load_percent: float = 0.0,
        memory_usage_mb: float = 0.0,
        detail: str = "",
        **context: Unpack[Context],
    ) -> Recorded:
        """A heartbeat; ``status`` is a name of AgentStatus."""
        return self._record(payloads.signal(status, cpu_load_percent, memory_usage_mb, detail), context)

    def checkpoint(self, name: str, *, description: str = "", **context: Unpack[Context]) -> Recorded:
        """Gives this moment a name, by which it can be restored."""
        return self._record(payloads.checkpoint(name, description), context)

    def before_fork(self) -> None:
        """Keeps other threads from numbering events."""
        self._author.lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Lets them go on."""
        self._author.lock.release()

    def after_fork_in_child(self) -> None:
        """Goes on as a recorder of its own."""
        self._author = self._author.forked()

    def _record(self, event: SwarmEvent, context: Context) -> Recorded:
        self._check_open()
        told = self._surroundings
        cause = cause_in(self.project)
        correlation_id = context.get("correlation_id", "" if cause is None else cause.correlation_id)
        trace_id, span_id = current_span()
        if not trace_id:
            trace_id, span_id = told.trace_id, told.span_id
        self.taker.await_room()
        try:
            made = self._author.event(
                event,
                occurred_us=_occurred_us(context.get("occurred")),
                causation_id=context.get("causation_id", cause or told.causation),
                correlation_id=correlation_id,
                trace_id=context.get("trace_id", trace_id),
                span_id=context.get("span_id", span_id),
                related_commit_hash=context.get("related_commit_hash", ""),
                take=self._put,
            )
        except (TypeError, ValueError) as error:
            raise payloads.unacceptable(error) from error
        if context.get("durable"):
            self.taker.flush()
        return Recorded.of(made.event_id, self.project, correlation_id)

    def _put(self, event: SwarmEvent) -> None:
        event = self._redactor.event(event)
        data = event.SerializeToString()
        if len(data) > EVENT_LIMIT_BYTES:
            raise ContractError(
                f"An event of {len(data):,} bytes is above the {EVENT_LIMIT_BYTES:,} allowed: record its long texts "
                "as files, which may be of any size."
            )
        self.taker.put(data, event)

    def _put_part(self, part: bytes) -> bytes:
        self._check_open()
        return self.taker.put_part(part)

    def _check_open(self) -> None:
        if self._closed:
            raise UnavailableError("This recorder was closed: make another one.")


def _known(what: str, given: str) -> str:
    if not given:
        raise ContractError(f"The recorder is not told its {what}: give `{what}`, or set ENCHANTED_{what.upper()}.")
    return given


def _occurred_us(occurred: datetime | None) -> int | None:
    if occurred is None:
        return None
    if occurred.tzinfo is None:
        raise ContractError(f"The time {occurred} has no zone: give an aware datetime.")
    if not FIRST_SECOND <= occurred.timestamp() <= LAST_SECOND:
        raise ContractError(f"The time {occurred} cannot be kept: it must lie in 1900 to 2299.")
    return round(occurred.timestamp() * 1_000_000)
