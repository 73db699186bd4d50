"""The rules of CloudEvents, written down from spec.md and formats/json-format.md (v1.0.2), for tests."""

from __future__ import annotations

import base64
import re
import unicodedata
from datetime import datetime
from typing import Any

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
RESERVED = {"data", "data_base64"}


def check_cloud_event(made: dict[str, Any]) -> None:
    """What spec.md 1.0.2 and the JSON format demand of an event."""
    for required in ("id", "source", "specversion", "type"):
        assert isinstance(made[required], str), required
    assert made["specversion"] == "1.0"
    assert not made.keys() >= RESERVED
    for name, value in made.items():
        if name in RESERVED:
            continue
        assert re.fullmatch(r"[a-z0-9]{1,20}", name), name
        assert isinstance(value, str)
        assert value, name
        assert all(is_allowed(character) for character in value), name
    assert re.fullmatch(r"[a-z]+/[a-z+.-]+", made["datacontenttype"])
    assert re.fullmatch(r"(/[A-Za-z0-9_-]+)+", made["source"])
    for time in ("time", "recordedtime"):
        assert RFC3339.fullmatch(made[time])
        assert datetime.fromisoformat(made[time]).tzinfo is not None
    if "traceparent" in made:
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", made["traceparent"])
    if "data_base64" in made:
        assert base64.b64decode(made["data_base64"], validate=True)


def is_allowed(character: str) -> bool:
    code = ord(character)
    is_noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return unicodedata.category(character) not in ("Cc", "Cs") and not is_noncharacter
