"""Spans as findings: today's names of the semantic conventions, earlier ones, and OpenInference's."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import pytest

from nervous_system.capture.findings import LEFT_OUT, Finding, to_event
from nervous_system.capture.otlp.mapping import findings_of, span_event_id
from nervous_system.capture.otlp.spans import Moment, RequestError, Span, read_json, read_protobuf, spans_of
from nervous_system.contract import AgentDecision, AgentMessage, MessageKind, ToolCall
from nervous_system.inspection import inspect
from nervous_system.projects import ProjectName

T = TypeVar("T")
TRACE = "0af7651916cd43dd8448eb211c80319c"
PROJECT = ProjectName("acme", "shop")


def span(span_id: str, attributes: dict[str, Any], *, parent: str = "", **facts: Any) -> Span:
    given: dict[str, Any] = {
        "name": "a span",
        "kind": "INTERNAL",
        "start_us": 1_700_000_000_000_000 + int(span_id, 16),
        "end_us": 1_700_000_001_000_000,
        "duration_ms": 12.5,
        "moments": (),
        "resource": {},
        "scope": "test",
        "failed": None,
        "status": "",
        "links": (),
        **facts,
    }
    return Span(
        trace_id=TRACE,
        span_id=span_id.rjust(16, "0"),
        parent_id=parent and parent.rjust(16, "0"),
        attributes=attributes,
        **given,
    )


def only(findings: list[Finding], kind: type[T]) -> T:
    (payload,) = [finding.payload for finding in findings if isinstance(finding.payload, kind)]
    return payload


TOLD = [
    {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
    {"role": "user", "parts": [{"type": "text", "content": "What is the weather in Paris?"}]},
]
ANSWERED = [
    {
        "role": "assistant",
        "parts": [
            {"type": "reasoning", "content": "It depends on the day."},
            {"type": "text", "content": "It rains."},
            {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Paris"}},
        ],
        "finish_reason": "stop",
    }
]
MODEL_SPANS = {
    "today": {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.input.messages": json.dumps(TOLD),
        "gen_ai.output.messages": json.dumps(ANSWERED),
    },
    "structured": {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.input.messages": TOLD,
        "gen_ai.output.messages": ANSWERED,
    },
    "earlier": {
        "gen_ai.system": "openai",
        "llm.request.type": "chat",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.prompt_tokens": 30,
        "gen_ai.usage.completion_tokens": 4,
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": "What is the weather in Paris?",
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": "It rains.",
        "gen_ai.completion.0.reasoning": "It depends on the day.",
    },
    "openinference": {
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-4o",
        "llm.token_count.prompt": 30,
        "llm.token_count.completion": 4,
        "llm.cost.total": 0.25,
        "llm.input_messages.10.message.role": "user",
        "llm.input_messages.10.message.content": "What is the weather in Paris?",
        "llm.input_messages.9.message.role": "user",
        "llm.input_messages.9.message.content": "Hello",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.contents.0.message_content.type": "reasoning",
        "llm.output_messages.0.message.contents.0.message_content.text": "It depends on the day.",
        "llm.output_messages.0.message.contents.1.message_content.type": "text",
        "llm.output_messages.0.message.contents.1.message_content.text": "It rains.",
        "input.value": "{}",
    },
}


@pytest.mark.parametrize("form", MODEL_SPANS)
def test_a_model_that_was_asked_is_a_call_and_the_decision_that_came_of_it(form: str) -> None:
    findings = findings_of([span("1", {**MODEL_SPANS[form], "my.own": [1, 2]}, parent="2")])
    call, decision = only(findings, ToolCall), only(findings, AgentDecision)
    assert (call.name, call.input_tokens, call.output_tokens, call.duration_ms) == ("chat gpt-4o", 30, 4, 12.5)
    assert call.cost_usd == (0.25 if form == "openinference" else 0.0)
    assert "Paris" in call.arguments
    assert "It rains." in call.result
    assert call.attributes["my.own"] == "[1, 2]"
    assert not [name for name in call.attributes if "messages" in name or "prompt.0" in name]
    assert decision.rationale == "It depends on the day.\n\nIt rains."
    assert decision.input_trigger == "What is the weather in Paris?"
    assert len(decision.context_hash) == 64
    first, second = findings
    assert (first.causation_id, second.causation_id) == (span_event_id(TRACE, "2".rjust(16, "0")), first.event_id)
    assert (first.trace_id, first.span_id) == (TRACE, "1".rjust(16, "0"))


def test_messages_told_as_moments_of_a_span_are_read() -> None:
    moments = (
        Moment("gen_ai.system.message", 1, {"content": "Be brief."}),
        Moment("gen_ai.user.message", 2, {"content": "Hi"}),
        Moment("gen_ai.choice", 3, {"index": 0, "message": '{"role": "assistant", "content": "Hello."}'}),
        Moment("own.event", 4, {"a": 1}),
    )
    findings = findings_of([span("1", {"gen_ai.system": "openai", "gen_ai.request.model": "m"}, moments=moments)])
    decision, call = only(findings, AgentDecision), only(findings, ToolCall)
    assert (decision.input_trigger, decision.rationale) == ("Hi", "Hello.")
    assert json.loads(call.attributes["otel.events"]) == [{"name": "own.event", "time_us": 4, "a": 1}]


@pytest.mark.parametrize(
    "attributes",
    [
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "weather",
            "gen_ai.tool.call.arguments": '{"city": "Paris"}',
            "gen_ai.tool.call.result": "rain",
        },
        {
            "openinference.span.kind": "TOOL",
            "tool.name": "weather",
            "input.value": '{"city": "Paris"}',
            "output.value": "rain",
        },
        {
            "traceloop.span.kind": "tool",
            "traceloop.entity.name": "weather",
            "traceloop.entity.input": '{"city": "Paris"}',
            "traceloop.entity.output": "rain",
        },
    ],
)
def test_a_tool_that_was_used_is_a_tool_call(attributes: dict[str, Any]) -> None:
    call = only(findings_of([span("1", attributes, failed=False)]), ToolCall)
    assert (call.name, call.arguments, call.result, call.exit_code) == ("weather", '{"city": "Paris"}', "rain", 0)


def test_a_failure_is_told_by_the_exit_code_and_its_message() -> None:
    thrown = Moment("exception", 1, {"exception.type": "ValueError", "exception.message": "no such city"})
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather"}
    call = only(findings_of([span("1", attributes, failed=True, status="failed", moments=(thrown,))]), ToolCall)
    assert (call.exit_code, call.result) == (1, "no such city")
    assert call.attributes["otel.status_description"] == "failed"


def test_an_agent_that_was_given_a_task_is_an_order_and_an_answer() -> None:
    attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "planner",
        "gen_ai.conversation.id": "talk-1",
        "gen_ai.input.messages": json.dumps(TOLD),
        "gen_ai.output.messages": json.dumps(ANSWERED),
    }
    order, answer = findings_of([span("1", attributes, resource={"service.name": "shop"})])
    assert isinstance(order.payload, AgentMessage)
    assert isinstance(answer.payload, AgentMessage)
    assert (order.payload.kind, order.payload.to_agent_id) == (MessageKind.MESSAGE_KIND_ORDER, "planner")
    assert (order.agent, answer.agent, answer.session) == ("shop", "planner", "talk-1")
    assert order.payload.content == "What is the weather in Paris?"
    assert order.payload.attributes["resource.service.name"] == "shop"


def test_spans_that_are_nothing_of_an_agents_are_passed_over_and_their_children_follow_the_nearest_kept() -> None:
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"}
    spans = [
        span("1", {"gen_ai.operation.name": "invoke_agent"}),
        span("2", {"http.method": "GET"}, parent="1"),
        span("3", {"db.system": "sqlite"}, parent="2"),
        span("4", tool, parent="3"),
    ]
    order, call = findings_of(spans)
    assert call.causation_id == order.event_id
    assert len(findings_of(spans, all_spans=True)) == 4
    assert findings_of(reversed(spans)) == [order, call]


def test_events_are_within_what_every_store_keeps_however_large_a_span_is() -> None:
    long = "\N{SNOWMAN}" * 400_000
    attributes = {**MODEL_SPANS["today"], "gen_ai.output.messages": long, "gen_ai.input.messages": long}
    attributes |= {f"own.{number}": long for number in range(40)}
    for finding in findings_of([span("1", attributes)]):
        event = to_event(finding, PROJECT, lambda _: b"")
        data = event.SerializeToString(deterministic=True)
        assert len(data) < 900_000
        inspect(data, PROJECT)
        if event.WhichOneof("payload") == "tool_call":
            assert int(event.tool_call.attributes[LEFT_OUT]) > 0
            assert "bytes left out" in event.tool_call.result


def request(**facts: Any) -> bytes:
    told = {
        "traceId": TRACE,
        "spanId": "00f067aa0ba902b7",
        "name": "chat",
        "kind": 3,
        "startTimeUnixNano": "1700000000000001000",
        "endTimeUnixNano": 1_700_000_000_250_001_000,
        "attributes": [
            {"key": "text", "value": {"stringValue": "a"}},
            {"key": "list", "value": {"arrayValue": {"values": [{"intValue": "7"}, {"boolValue": True}]}}},
            {"key": "raw", "value": {"bytesValue": "AAE="}},
        ],
        "status": {"code": 2, "message": "bad"},
        "tomorrow": {"unknown": 1},
        **facts,
    }
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"scope": {"name": "s"}, "spans": [told]}]}]}).encode()


def test_json_has_ids_in_hex_and_is_read_as_protobuf_is() -> None:
    message = read_json(request())
    (told,) = spans_of(read_protobuf(message.SerializeToString()))
    assert isinstance(told, Span)
    assert (told.trace_id, told.span_id, told.parent_id) == (TRACE, "00f067aa0ba902b7", "")
    assert (told.kind, told.failed, told.status, told.duration_ms) == ("CLIENT", True, "bad", 250.0)
    assert told.attributes == {"text": "a", "list": [7, True], "raw": "AAE="}


@pytest.mark.parametrize("facts", [{"traceId": "00" * 16}, {"spanId": "abcd"}, {"startTimeUnixNano": "0"}])
def test_a_span_that_breaks_the_protocol_is_told(facts: dict[str, Any]) -> None:
    (fault,) = spans_of(read_json(request(**facts)))
    assert isinstance(fault, str)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"resourceSpans": 7}', request(traceId="xyz"), b"[" * 100_000])
def test_json_that_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        read_json(body)
