"""Events as CloudEvents 1.0 in their JSON format (CNCF CloudEvents, spec.md and formats/json-format.md, v1.0.2). Pure.

Beyond what every CloudEvent has, each carries attributes of these extensions: sequence, partitioning (partitionkey),
recordedtime, distributed tracing (traceparent) and correlation (causationid, correlationid).
"""

from __future__ import annotations

import base64
import re
from typing import Any

from nervous_system.contract import SwarmEvent
from nervous_system.events import event_type, occurred_us, utc
from nervous_system.ledger.history import StoredEvent
from nervous_system.ledger.versions import Version
from nervous_system.projects import ProjectName

SPECVERSION = "1.0"
TYPE_PREFIX = "dev.enchanted.swarm."
JSON_TYPE, PROTOBUF_TYPE = "application/json", "application/protobuf"

# What a String of CloudEvents may not have: control characters and what Unicode calls noncharacters.
_NOT_IN_STRINGS = re.compile(
    "[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17))
    + "]"
)
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_SPAN_ID = re.compile(r"(?!0{16})[0-9a-f]{16}")


def cloud_event(project: ProjectName, stored: StoredEvent, event: SwarmEvent, data: Any) -> dict[str, Any]:
    """An event with ``data``, its form in JSON."""
    return {**_attributes(project, stored, event), "datacontenttype": JSON_TYPE, "data": data}


def raw_cloud_event(project: ProjectName, stored: StoredEvent, event: SwarmEvent) -> dict[str, Any]:
    """An event with its own bytes, verbatim."""
    data = base64.b64encode(stored.data).decode("ascii")
    return {**_attributes(project, stored, event), "datacontenttype": PROTOBUF_TYPE, "data_base64": data}


def _attributes(project: ProjectName, stored: StoredEvent, event: SwarmEvent) -> dict[str, str]:
    attributes = {
        "specversion": SPECVERSION,
        "id": event.event_id,
        "source": f"/{project}",
        "type": TYPE_PREFIX + event_type(event).lower(),
        "subject": event.state_change.target_resource or event.agent_id,
        "time": _timestamp(occurred_us(event)),
        "sequence": sequence(stored.version),
        "partitionkey": str(project),
        "recordedtime": _timestamp(stored.recorded_us),
        "traceparent": _traceparent(event),
        "causationid": event.causation_id,
        "correlationid": event.correlation_id,
    }
    cleaned = ((name, _NOT_IN_STRINGS.sub("\N{REPLACEMENT CHARACTER}", value)) for name, value in attributes.items())
    # No attribute may be empty.
    return {name: value for name, value in cleaned if value}


def sequence(version: Version) -> str:
    """A version as text that is ordered as the events are; read back as any other version."""
    return f"{version.incarnation:03d}-{version.stamp[:10].hex()}-{version.stamp[10:].hex()}"


def _timestamp(moment_us: int) -> str:
    """RFC 3339, in UTC."""
    return utc(moment_us).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _traceparent(event: SwarmEvent) -> str:
    """W3C Trace Context; empty where the ids are not valid. Whether the trace was sampled is not known."""
    valid = _TRACE_ID.fullmatch(event.trace_id) and _SPAN_ID.fullmatch(event.span_id)
    return f"00-{event.trace_id}-{event.span_id}-00" if valid else ""
