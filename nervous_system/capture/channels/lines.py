"""What an agent may say on a side channel, one JSON object a line; the schema that is published comes from here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nervous_system.contract import AgentStatus, MessageKind
from nervous_system.errors import ContractError

FILE_CHANGED = "file_changed"
DURABLE, ID = "durable", "id"
_INT32, _UINT64 = 2**31 - 1, 2**64 - 1

Schema = dict[str, Any]


class LineError(ContractError):
    """What came on a side channel cannot be understood, and is left out."""


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that an agent said.

    Args:
        kind: the recorder's method, or FILE_CHANGED: look at a path now.
        arguments: of the method.
        id: the agent's own name for it, given back in the reply.
    """

    kind: str
    arguments: dict[str, Any] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a line.

    Args:
        schema: what its value must be, in JSON Schema.
        is_required: whether it must be there.
    """

    schema: Schema
    is_required: bool = False


def _enum(kind: Any, prefix: str) -> Schema:
    return {"enum": [name.removeprefix(prefix) for name in list(kind.keys())[1:]]}


_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number", "minimum": 0}
_COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": _UINT64}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_ATTRIBUTES: Schema = {"type": "object", "additionalProperties": _TEXT}
_COMMON = {
    ID: Field({**_TEXT, "description": "Given back in the reply."}),
    DURABLE: Field({"type": "boolean", "description": "Whether the reply waits until the event is on disk."}),
    "causation_id": Field({**_TEXT, "description": "The event that led to this one."}),
    "correlation_id": Field({**_TEXT, "description": "The task that both serve."}),
    "trace_id": Field({"type": "string", "pattern": "^[0-9a-f]{32}$"}),
    "span_id": Field({"type": "string", "pattern": "^[0-9a-f]{16}$"}),
}
KINDS: Mapping[str, Mapping[str, Field]] = {
    "decision": {
        "rationale": Field(_TEXT, is_required=True),
        "input_trigger": Field(_TEXT),
        "rejected_alternatives": Field(_TEXTS),
        "confidence": Field({"type": "number", "minimum": 0, "maximum": 1}),
        "context_hash": Field(_TEXT),
        "memory_ids": Field(_TEXTS),
        "attributes": Field(_ATTRIBUTES),
        **_COMMON,
    },
    "message": {
        "content": Field(_TEXT, is_required=True),
        "to": Field(_TEXT),
        "kind": Field(_enum(MessageKind, "MESSAGE_KIND_")),
        "attributes": Field(_ATTRIBUTES),
        **_COMMON,
    },
    "tool_call": {
        "name": Field(_TEXT, is_required=True),
        "arguments": Field({"type": ["string", "object"]}),
        "result": Field(_TEXT),
        "exit_code": Field({"type": "integer", "minimum": -_INT32 - 1, "maximum": _INT32}),
        "duration_ms": Field(_NUMBER),
        "input_tokens": Field(_COUNT),
        "output_tokens": Field(_COUNT),
        "cost_usd": Field(_NUMBER),
        "attributes": Field(_ATTRIBUTES),
        **_COMMON,
    },
    "signal": {
        "status": Field(_enum(AgentStatus, "AGENT_STATUS_")),
        "cpu_load_percent": Field(_NUMBER),
        "memory_usage_mb": Field(_NUMBER),
        "detail": Field(_TEXT),
        **_COMMON,
    },
    "checkpoint": {"name": Field(_TEXT, is_required=True), "description": Field(_TEXT), **_COMMON},
    # No content: the work tree has it. What is found there follows the event that is named, or the last decision.
    FILE_CHANGED: {
        "path": Field({"type": "string", "minLength": 1}, is_required=True),
        ID: _COMMON[ID],
        "causation_id": _COMMON["causation_id"],
    },
}


def parse(line: bytes) -> Said:
    """Reads one line; raises LineError, whose text names what is wrong."""
    try:
        found = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise LineError(f"It is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise LineError("It is not a JSON object.")
    kind = found.pop("type", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise LineError(f"Its type {kind!r} is not one of {', '.join(KINDS)}.")
    _check(found, KINDS[kind])
    arguments = found.get("arguments")
    if isinstance(arguments, dict):
        found["arguments"] = json.dumps(arguments, ensure_ascii=False)
    for name, each in KINDS[kind].items():
        if name in found and each.schema.get("type") == "integer":
            found[name] = int(found[name])
    return Said(kind, found, found.pop(ID, ""))


def schema() -> Schema:
    """JSON Schema (2020-12) of a line."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line that an agent says to its Enchanted recorder",
        "oneOf": [_kind_schema(kind, fields) for kind, fields in KINDS.items()],
    }


def _kind_schema(kind: str, fields: Mapping[str, Field]) -> Schema:
    return {
        "title": kind,
        "type": "object",
        "properties": {"type": {"const": kind}, **{name: each.schema for name, each in fields.items()}},
        "required": ["type", *(name for name, each in fields.items() if each.is_required)],
        "additionalProperties": False,
    }


def _check(found: Mapping[str, Any], fields: Mapping[str, Field]) -> None:
    for name in sorted(found.keys() - fields.keys()):
        raise LineError(f"It has a field {name!r}: known are {', '.join(fields)}.")
    for name, each in fields.items():
        if name in found:
            if problem := _problem(found[name], each.schema):
                raise LineError(f"Its field {name!r} {problem}.")
        elif each.is_required:
            raise LineError(f"Its field {name!r} is missing.")


def _problem(value: Any, schema: Schema) -> str:
    """What is wrong with a value, by those words of JSON Schema that are used above; empty where nothing is."""
    if "enum" in schema:
        return "" if value in schema["enum"] else f"is not one of {', '.join(schema['enum'])}"
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(_is(value, kind) for kind in kinds):
        return f"is no {' or '.join(kinds)}"
    if isinstance(value, list):
        return "" if all(isinstance(each, str) for each in value) else "has an item that is no string"
    if isinstance(value, dict):
        is_free = "additionalProperties" not in schema
        return (
            "" if is_free or all(isinstance(each, str) for each in value.values()) else "has a value that is no string"
        )
    if isinstance(value, str):
        return _text_problem(value, schema)
    least, most = schema.get("minimum", value), schema.get("maximum", value)
    return "" if least <= value <= most else "is out of bounds"


def _text_problem(value: str, schema: Schema) -> str:
    length = {"^[0-9a-f]{32}$": 32, "^[0-9a-f]{16}$": 16}.get(schema.get("pattern", ""))
    if length is not None and (len(value) != length or set(value) - set("0123456789abcdef")):
        return f"is not {length} lower-case hex digits"
    return "is empty" if len(value) < schema.get("minLength", 0) else ""


def _is(value: Any, kind: str) -> bool:
    """Whether a value has a type of JSON Schema, for which 1.0 is an integer and true is no number."""
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
        case "integer":
            return not isinstance(value, bool) and (isinstance(value, int) or (_is_float(value) and value.is_integer()))
    return not isinstance(value, bool) and isinstance(value, int | float)


def _is_float(value: Any) -> bool:
    return isinstance(value, float)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")
