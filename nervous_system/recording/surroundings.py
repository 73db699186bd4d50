"""What a process is told by the one that started it: for whom it works, and because of what."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from nervous_system.recording.tracing import parse_traceparent


@dataclass(frozen=True, slots=True)
class Surroundings:
    """From the variables ``ENCHANTED_PROJECT``, ``…_AGENT``, ``…_ROLE``, ``…_SESSION``, ``…_CAUSATION`` and
    ``TRACEPARENT``; empty where they are not set."""

    project: str = ""
    agent: str = ""
    role: str = ""
    session: str = ""
    causation: str = ""
    trace_id: str = ""
    span_id: str = ""

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Surroundings:
        """Those of this process."""
        known = os.environ if environment is None else environment
        names = ("project", "agent", "role", "session", "causation")
        told = {name: known.get(f"ENCHANTED_{name.upper()}", "") for name in names}
        trace_id, span_id = parse_traceparent(known.get("TRACEPARENT", ""))
        return cls(**told, trace_id=trace_id, span_id=span_id)
