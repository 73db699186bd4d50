"""OpenTelemetry spans as plain values, out of an export request in protobuf or JSON.

Source: OpenTelemetry Protocol 1.x, https://opentelemetry.io/docs/specs/otlp/.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from nervous_system.errors import ContractError

Attributes = dict[str, Any]
_HEX_FIELDS = ("traceId", "spanId", "parentSpanId")
_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8


class RequestError(ContractError):
    """The body is no export request."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened within a span.

    Args:
        name: what.
        time_us: microseconds since 1970.
        attributes: as the instrumentation gave them.
    """

    name: str
    time_us: int
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Span:
    """One span.

    Args:
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        parent_id: 16 hex digits; empty for a root.
        name: as the instrumentation gave it.
        kind: INTERNAL, SERVER, CLIENT, PRODUCER or CONSUMER.
        start_us: microseconds since 1970.
        end_us: microseconds since 1970.
        duration_ms: between the two, as exact as the span gives it.
        attributes: as the instrumentation gave them.
        moments: what happened within it.
        resource: what made it.
        scope: the instrumentation's name.
        failed: whether its status is an error; None where it has none.
        status: the status' description.
        links: other spans it names, as trace id and span id.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start_us: int
    end_us: int
    duration_ms: float
    attributes: Attributes
    moments: tuple[Moment, ...]
    resource: Attributes
    scope: str
    failed: bool | None
    status: str
    links: tuple[tuple[str, str], ...]


def read_protobuf(body: bytes) -> ExportTraceServiceRequest:
    """Reads a binary request; raises RequestError where it is none."""
    try:
        return ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise RequestError(f"The body is not an ExportTraceServiceRequest: {error}.") from error


def read_json(body: bytes) -> ExportTraceServiceRequest:
    """Reads a JSON request, in which OTLP writes ids in hex; raises RequestError where it is none."""
    try:
        document = json.loads(body)
        for span in _json_spans(document):
            for place in (span, *span.get("links", ())):
                for name in _HEX_FIELDS:
                    if place.get(name):
                        place[name] = base64.b64encode(bytes.fromhex(place[name])).decode()
        return ParseDict(document, ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except (ValueError, ParseError, AttributeError, TypeError, RecursionError) as error:
        raise RequestError(f"The body is not an ExportTraceServiceRequest in JSON: {error}.") from error


def _json_spans(document: Any) -> Iterator[dict[str, Any]]:
    for resource in document.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            yield from scope.get("spans", ())


def spans_of(request: ExportTraceServiceRequest) -> Iterator[Span | str]:
    """Each span of a request; for one that cannot be kept, why."""
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield _fault(span) or _span(span, resource, scope_spans.scope.name)


def _fault(span: trace_pb2.Span) -> str:
    if len(span.trace_id) != _TRACE_ID_BYTES or not any(span.trace_id):
        return f"The span {span.name!r} has no valid trace id."
    if len(span.span_id) != _SPAN_ID_BYTES or not any(span.span_id):
        return f"The span {span.name!r} has no valid span id."
    if not span.start_time_unix_nano:
        return f"The span {span.span_id.hex()} has no start time."
    return ""


def _span(span: trace_pb2.Span, resource: Attributes, scope: str) -> Span:
    end_ns = max(span.end_time_unix_nano, span.start_time_unix_nano)
    code = span.status.code
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() if any(span.parent_span_id) else "",
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_") if 0 <= span.kind <= 5 else "",
        start_us=span.start_time_unix_nano // 1_000,
        end_us=end_ns // 1_000,
        duration_ms=(end_ns - span.start_time_unix_nano) / 1_000_000,
        attributes=_attributes(span.attributes),
        moments=tuple(
            Moment(each.name, each.time_unix_nano // 1_000, _attributes(each.attributes)) for each in span.events
        ),
        resource=resource,
        scope=scope,
        failed={trace_pb2.Status.STATUS_CODE_OK: False, trace_pb2.Status.STATUS_CODE_ERROR: True}.get(code),
        status=span.status.message,
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
    )


def _attributes(pairs: Any) -> Attributes:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    match kind:
        case None:
            return None
        case "array_value":
            return [_value(each) for each in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
    return getattr(value, kind)


def as_text(value: Any) -> str:
    """An attribute's value as text: a string as it stands, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def as_texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Attributes with their values as text, in the order of their names."""
    return {name: as_text(attributes[name]) for name in sorted(attributes)}
