"""Log lines: text for a person, or one JSON object a line for a machine."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

from google.protobuf.message import DecodeError

from nervous_system.contract import SwarmEvent
from nervous_system.settings import Settings

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# What a line may say beside its message: set with ``extra=``, or for a whole task with ``concerning``.
FIELDS = ("sink", "partition", "stream_sequence", "event_index", "reason_code", "query_id", "trace_id")

_TRACE = re.compile(r"[0-9a-f]{1,32}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_concern: ContextVar[dict[str, object]] = ContextVar("concern", default={})  # noqa: B039 (never changed, but replaced)


class JsonFormatter(logging.Formatter):
    """One object a line: time (ISO 8601, UTC), level, logger, message, those of FIELDS that are known, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        own = {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_concern.get(),
            **own,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(settings: Settings) -> None:
    """Lets this process log to stderr as the settings say."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else logging.Formatter(TEXT_FORMAT))
    logging.basicConfig(level=settings.log_level, handlers=[handler])


@contextmanager
def concerning(**fields: object) -> Iterator[None]:
    """Every line logged meanwhile by this task, and by threads that it waits for, has these of FIELDS."""
    token = _concern.set({**_concern.get(), **fields})
    try:
        yield
    finally:
        _concern.reset(token)


def parent_trace_id(header: str) -> str:
    """The trace that an HTTP request's ``traceparent`` names; empty where it names none.

    Source: W3C Trace Context, https://www.w3.org/TR/trace-context/#traceparent-header
    """
    match = _TRACEPARENT.fullmatch(header)
    return match[1] if match and match[1].strip("0") else ""


def trace_id(event: bytes) -> str:
    """The trace that an event's bytes name; empty where they name none, or cannot be read."""
    try:
        named = SwarmEvent.FromString(event).trace_id
    except DecodeError:
        return ""
    # An agent may write anything there, line breaks as well.
    return named if _TRACE.fullmatch(named) else ""
