"""``enchanted otlp`` with OpenTelemetry's own SDK and exporter, and with plain HTTP."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status, StatusCode

from nervous_system.contract import SwarmEvent

Attributes = dict[str, str | int | float]

PROJECT = "acme/shop"
DEADLINE_S = 60
MAX_BODY_BYTES = 100_000


@contextmanager
def receiving(home: Path) -> Iterator[str]:
    """The address of a receiver on a free port."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "infrastructure.cli.main", "otlp", "--project", PROJECT, "--listen", "127.0.0.1:0"),
            *("--max-body-bytes", str(MAX_BODY_BYTES)),
        ],
        env={**os.environ, "ENCHANTED_HOME": str(home)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        match = re.search(r"http://\S+", line)
        assert match, line
        yield match[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_S)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("otlp")


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    with receiving(home) as url:
        yield url


def events(home: Path) -> list[SwarmEvent]:
    """What the outbox holds, in order."""
    connection = apsw.Connection(str(home / "outbox" / "acme" / "shop.db"))
    try:
        return [
            SwarmEvent.FromString(row[0])
            for row in connection.execute("SELECT data FROM rows WHERE kind = 'event' ORDER BY number")
        ]
    finally:
        connection.close()


class Twice(SpanExporter):
    """Exports every span twice, as one does whose first answer got lost."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.exporter = exporter
        self.results: list[SpanExportResult] = []

    def export(self, spans: Any) -> SpanExportResult:
        self.results += [self.exporter.export(spans), self.exporter.export(spans)]
        return self.results[-1]


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_spans_of_the_sdk_become_linked_events_once(address: str, home: Path, compression: Compression) -> None:
    exporter = Twice(OTLPSpanExporter(endpoint=address, compression=compression))
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    agent_facts = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
    with tracer.start_as_current_span("invoke_agent planner", attributes=agent_facts) as agent:
        told: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.input_tokens": 9,
        }
        told["gen_ai.output.messages"] = json.dumps(
            [{"role": "assistant", "parts": [{"type": "text", "content": "I look it up."}]}]
        )
        with tracer.start_as_current_span("chat gpt-4o", attributes=told):
            pass
        tool_facts: Attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "search",
            "own.fact": 1.5,
        }
        with tracer.start_as_current_span("execute_tool search", attributes=tool_facts) as tool:
            tool.set_status(Status(StatusCode.ERROR, "no network"))
    provider.shutdown()
    assert set(exporter.results) == {SpanExportResult.SUCCESS}
    assert isinstance(agent, ReadableSpan)
    trace_id = f"{agent.get_span_context().trace_id:032x}"
    recorded = [event for event in events(home) if event.trace_id == trace_id]
    kinds = [event.WhichOneof("payload") for event in recorded]
    # Children end, and are exported, before their parents.
    assert kinds == ["tool_call", "decision", "tool_call", "message"]
    chat, decision, search, order = recorded
    assert chat.causation_id == search.causation_id == order.event_id
    assert decision.causation_id == chat.event_id
    assert decision.decision.rationale == "I look it up."
    assert (search.tool_call.exit_code, search.tool_call.result) == (1, "no network")
    assert search.tool_call.attributes["own.fact"] == "1.5"
    assert search.tool_call.attributes["otel.span.name"] == "execute_tool search"
    assert order.message.to_agent_id == "planner"
    assert len({event.event_id for event in recorded}) == 4


def post(address: str, body: bytes, kind: str = "application/json", **headers: str) -> tuple[int, str, bytes]:
    request = urllib.request.Request(address, body, {"Content-Type": kind, **headers}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read()


def trace(span_id: str) -> bytes:
    facts = {"key": "gen_ai.tool.name", "value": {"stringValue": "t"}}
    span = {"traceId": "ab" * 16, "spanId": span_id, "startTimeUnixNano": "1700000000000000000", "attributes": [facts]}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()


def test_json_is_answered_in_json_and_gzip_is_undone(address: str, home: Path) -> None:
    status, kind, body = post(address, gzip.compress(trace("cd" * 8)), **{"Content-Encoding": "gzip"})
    assert (status, kind.partition(";")[0], json.loads(body)) == (200, "application/json", {})
    assert "cd" * 8 in {event.span_id for event in events(home)}


def test_a_span_that_cannot_be_kept_is_a_partial_success(address: str) -> None:
    status, _, body = post(address, trace("00" * 8))
    partial = json.loads(body)["partialSuccess"]
    assert (status, partial["rejectedSpans"]) == (200, "1")
    assert "span id" in partial["errorMessage"]


def test_an_empty_request_is_a_success(address: str) -> None:
    status, kind, body = post(address, b"", "application/x-protobuf")
    assert (status, kind, ExportTraceServiceResponse.FromString(body)) == (
        200,
        "application/x-protobuf",
        ExportTraceServiceResponse(),
    )


@pytest.mark.parametrize(
    ("body", "kind", "path", "status"),
    [
        (b"\xff\xff", "application/x-protobuf", "", 400),
        (b"{", "application/json", "", 400),
        (b"x", "text/plain", "", 415),
        (b"x" * (MAX_BODY_BYTES + 1), "application/x-protobuf", "", 413),
        (b"", "application/x-protobuf", "x", 404),
    ],
)
def test_what_sending_again_does_not_mend_is_refused_with_a_status(
    address: str, body: bytes, kind: str, path: str, status: int
) -> None:
    got, answered, told = post(address + path, body, kind)
    assert got == status
    if kind == "application/json":
        assert json.loads(told)["message"]
    else:
        assert answered == "application/x-protobuf"
        # A google.rpc.Status has the same fields.
        assert ExportTracePartialSuccess.FromString(told).error_message


def test_a_body_that_does_not_unpack_is_refused(address: str) -> None:
    status, _, _ = post(address, b"no gzip", "application/x-protobuf", **{"Content-Encoding": "gzip"})
    assert status == 400


def test_a_body_that_unpacks_to_more_than_is_allowed_is_refused(address: str) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    assert len(bomb) < MAX_BODY_BYTES
    assert post(address, bomb, "application/x-protobuf", **{"Content-Encoding": "gzip"})[0] == 413
