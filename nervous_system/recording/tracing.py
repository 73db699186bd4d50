"""Which OpenTelemetry span is active, asked without having OpenTelemetry installed."""

from __future__ import annotations

import re
import sys

_NO_SPAN = ("", "")
# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


def current_span() -> tuple[str, str]:
    """The trace id and span id of this thread's or task's span, lower-case hex; empty where there is none."""
    # Who has a span has loaded this.
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return _NO_SPAN
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return _NO_SPAN
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def parse_traceparent(text: str) -> tuple[str, str]:
    """The trace id and span id of a W3C ``traceparent``; empty where it is not one."""
    found = _TRACEPARENT.fullmatch(text.strip())
    return (found[1], found[2]) if found else _NO_SPAN
