"""Spans as findings: tool calls, messages and decisions. Pure.

An event's id comes out of its span's ids alone, so that a child, which is exported before its parent has ended, can
already name the parent's event as what led to it. Such an id has no time in it: it is a UUIDv8 (RFC 9562).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from nervous_system.capture.findings import Finding, Payload, limited, limited_attributes
from nervous_system.capture.otlp import conventions
from nervous_system.capture.otlp.conventions import Meaning, Reading, meaning
from nervous_system.capture.otlp.conversation import exchange, kept
from nervous_system.capture.otlp.spans import Moment, Span, as_text, as_texts
from nervous_system.contract import AgentDecision, AgentMessage, MessageKind, ToolCall

_PRIMARY, _ANSWER = "", "answer"
_INT32 = range(-(2**31), 2**31)


def span_event_id(trace_id: str, span_id: str, part: str = _PRIMARY) -> str:
    """The id of the event that a span becomes, or of a further ``part`` of it."""
    digest = hashlib.sha256(f"otlp\0{trace_id}\0{span_id}\0{part}".encode()).digest()
    value = int.from_bytes(digest[:16], "big")
    value = value & ~(0xF << 76) | 0x8 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def findings_of(spans: Iterable[Span], *, agent: str = "", all_spans: bool = False) -> list[Finding]:
    """What the spans of one request stand for, in the order in which they began.

    Args:
        spans: as they came.
        agent: who did it, where the spans do not name an agent.
        all_spans: whether those that are nothing of an agent's are kept too, as tool calls.
    """
    ordered = sorted(spans, key=lambda span: (span.start_us, span.span_id))
    unkept = {} if all_spans else {_key(span): span.parent_id for span in ordered if meaning(span) is Meaning.OTHER}
    return [
        finding
        for span in ordered
        if _key(span) not in unkept
        for finding in _Story(span, _cause(span, unkept), agent).findings()
    ]


def _key(span: Span) -> tuple[str, str]:
    return span.trace_id, span.span_id


def _cause(span: Span, unkept: dict[tuple[str, str], str]) -> str:
    parent, seen = span.parent_id, set[str]()
    while (span.trace_id, parent) in unkept and parent not in seen:
        seen.add(parent)
        parent = unkept[span.trace_id, parent]
    return span_event_id(span.trace_id, parent) if parent else ""


class _Story:
    """One span on its way to findings."""

    def __init__(self, span: Span, cause: str, agent: str) -> None:
        self._span, self._cause = span, cause
        self._reading = Reading(span.attributes)
        self._service = str(span.resource.get("service.name") or "")
        self._fallback = agent or self._service or "otlp"
        self._agent = str(self._reading.peek(conventions.AGENT_NAME) or self._fallback)
        self._id = span_event_id(span.trace_id, span.span_id)

    def findings(self) -> list[Finding]:
        match meaning(self._span):
            case Meaning.MODEL:
                return self._model()
            case Meaning.AGENT:
                return self._task()
            case Meaning.DECISION:
                return self._choice()
        return self._tool()

    def _model(self) -> list[Finding]:
        said, moments = exchange(self._reading, self._span.moments)
        model = self._reading.peek(conventions.MODEL_NAME)
        operation = self._reading.peek((conventions.OPERATION, "llm.request.type")) or "chat"
        call = self._call(f"{operation} {model}" if model else self._span.name, kept(said.told), kept(said.answered))
        answer = []
        if said.rationale:
            decision = AgentDecision(
                rationale=limited(said.rationale),
                input_trigger=limited(said.trigger),
                context_hash=hashlib.sha256(kept(said.told).encode("utf-8", "replace")).hexdigest()
                if said.told
                else "",
                attributes={"model": str(model)} if model else {},
            )
            answer = [self._finding(decision, self._span.end_us, part=_ANSWER)]
        return [self._finding(self._with_attributes(call, moments), self._span.start_us), *answer]

    def _tool(self) -> list[Finding]:
        name = str(self._reading.take(conventions.TOOL_NAME) or self._span.name)
        arguments, result = (self._reading.take(names) for names in (conventions.ARGUMENTS, conventions.RESULT))
        if result is None:
            result = self._reading.take_below("retrieval.documents.") or None
        call = self._call(
            name, "" if arguments is None else as_text(arguments), "" if result is None else as_text(result)
        )
        return [self._finding(self._with_attributes(call, self._span.moments), self._span.start_us)]

    def _task(self) -> list[Finding]:
        said, moments = exchange(self._reading, self._span.moments)
        workflow = self._reading.peek(conventions.WORKFLOW_NAME)
        agent = str(self._reading.peek(conventions.AGENT_NAME) or workflow or self._agent)
        order = AgentMessage(
            kind=MessageKind.MESSAGE_KIND_ORDER, to_agent_id=agent, content=limited(said.trigger or self._span.name)
        )
        found = [self._finding(self._with_attributes(order, moments), self._span.start_us, agent=self._fallback)]
        if said.rationale:
            answer = AgentMessage(kind=MessageKind.MESSAGE_KIND_INFORMATION, content=limited(said.rationale))
            found.append(self._finding(answer, self._span.end_us, agent=agent, part=_ANSWER))
        return found

    def _choice(self) -> list[Finding]:
        said, moments = exchange(self._reading, self._span.moments)
        decision = AgentDecision(
            rationale=limited(said.rationale or self._span.name), input_trigger=limited(said.trigger)
        )
        return [self._finding(self._with_attributes(decision, moments), self._span.start_us)]

    def _call(self, name: str, arguments: str, result: str) -> ToolCall:
        code = self._reading.peek(conventions.EXIT_CODE)
        if isinstance(code, int) and code in _INT32:
            self._reading.take(conventions.EXIT_CODE)
        else:
            code = None if self._span.failed is None else int(self._span.failed)
        return ToolCall(
            name=limited(name, 1_000),
            arguments=limited(arguments),
            result=limited(result or (_trouble(self._span) if self._span.failed else "")),
            exit_code=code,
            duration_ms=self._span.duration_ms,
            input_tokens=int(self._reading.number(conventions.INPUT_TOKENS)),
            output_tokens=int(self._reading.number(conventions.OUTPUT_TOKENS)),
            cost_usd=self._reading.number(conventions.COST),
        )

    def _with_attributes(self, payload: Any, moments: Sequence[Moment]) -> Any:
        payload.attributes.update(limited_attributes(_leftover(self._span, self._reading, moments)))
        return payload

    def _finding(self, payload: Payload, occurred_us: int, *, agent: str = "", part: str = _PRIMARY) -> Finding:
        span = self._span
        return Finding(
            event_id=span_event_id(span.trace_id, span.span_id, part),
            occurred_us=occurred_us,
            payload=payload,
            agent=agent or self._agent,
            session=str(_first(span, conventions.SESSION)),
            causation_id=self._id if part else self._cause,
            correlation_id=str(uuid.UUID(hex=span.trace_id)),
            trace_id=span.trace_id,
            span_id=span.span_id,
            user=str(_first(span, conventions.USER)),
        )


def _first(span: Span, names: Sequence[str]) -> Any:
    return Reading(span.attributes).peek(names) or Reading(span.resource).peek(names) or ""


def _trouble(span: Span) -> str:
    thrown = [moment for moment in span.moments if moment.name == "exception"]
    texts = [str(moment.attributes.get("exception.message") or "") for moment in thrown]
    return next((text for text in [*texts, span.status] if text), "")


def _leftover(span: Span, reading: Reading, moments: Sequence[Moment]) -> dict[str, str]:
    """Whatever the contract has no field for, by the instrumentation's own names."""
    own = {"otel.span.name": span.name, "otel.span.kind": span.kind, "otel.scope.name": span.scope}
    own["otel.status_description"] = span.status
    if moments:
        own["otel.events"] = as_text(
            [{"name": moment.name, "time_us": moment.time_us, **moment.attributes} for moment in moments]
        )
    if span.links:
        own["otel.links"] = as_text([{"trace_id": trace, "span_id": other} for trace, other in span.links])
    resource = {f"resource.{name}": value for name, value in span.resource.items()}
    return {name: text for name, text in as_texts({**reading.left, **own, **resource}).items() if text}
