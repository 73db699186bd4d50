"""Events as rows that ClickHouse's own protobuf reader takes, and the schema that names their columns.

A row is the event's bytes with further fields behind them: protobuf reads fields in any order, so appending to a
message adds to it without its being decoded. In the row's schema the contract's fields keep their numbers and wire
types; what ClickHouse should not read as it stands gets another name: ``timestamp`` becomes ``occurred``, an enum a
number.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from nervous_system.contract import SwarmEvent
from nervous_system.events import BATCH_LIMIT_EVENTS
from nervous_system.landing import Batch

ROW_MESSAGE = "Row"

# What the log adds, numbered far above the contract: name, number, protobuf type.
_EVENT_BYTES, _EVENT_TYPE, _STREAM, _PARTITION, _SEQUENCE, _INDEX, _RECORDED = range(1001, 1008)
_LOG_FIELDS = (
    ("event_bytes", _EVENT_BYTES, "bytes"),
    ("event_type", _EVENT_TYPE, "string"),
    ("log_stream", _STREAM, "string"),
    ("log_partition", _PARTITION, "uint32"),
    ("log_sequence", _SEQUENCE, "uint64"),
    ("log_index", _INDEX, "uint32"),
    ("recorded_us", _RECORDED, "int64"),
)

_SCALARS = {
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
}
_RENAMED = {"timestamp": "occurred"}
_VARINT, _LENGTH_DELIMITED = 0, 2


@cache
def schema() -> str:
    """The row's protobuf schema, one line of text."""
    messages: dict[str, str] = {}
    fields = _fields(SwarmEvent.DESCRIPTOR, messages)
    fields += [f"{kind} {name}={number};" for name, number, kind in _LOG_FIELDS]
    messages[ROW_MESSAGE] = " ".join(fields)
    body = " ".join(f"message {name} {{{text}}}" for name, text in messages.items())
    return f'syntax="proto3"; {body}'


def frames(batch: Batch) -> Iterator[bytes]:
    """Each event of the batch as a row with its length before it."""
    standing = _field(_STREAM, str(batch.stream).encode()) + _number(_PARTITION, batch.partition)
    for message in batch.messages:
        # Behind the event: its bytes, its type, its place, and what it shares with its message.
        shared = standing + _number(_SEQUENCE, message.sequence) + _number(_RECORDED, message.recorded_us)
        for landed in message.events:
            data = landed.data
            size = _length(len(data))
            tail = _type(landed.event.WhichOneof("payload")) + _place(landed.index) + shared
            row_bytes = 2 * len(data) + len(_EVENT_BYTES_TAG) + len(size) + len(tail)
            yield b"".join((_length(row_bytes), data, _EVENT_BYTES_TAG, size, data, tail))


def varint(value: int) -> bytes:
    """A number below 2**64 in protobuf's variable-length form."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


@lru_cache(maxsize=16_384)
def _length(size_bytes: int) -> bytes:
    return varint(size_bytes)


@cache
def _type(payload: str) -> bytes:
    return _field(_EVENT_TYPE, payload.upper().encode())


@lru_cache(maxsize=BATCH_LIMIT_EVENTS)
def _place(index: int) -> bytes:
    return _number(_INDEX, index)


@cache
def _tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def _field(number: int, value: bytes) -> bytes:
    return _tag(number, _LENGTH_DELIMITED) + varint(len(value)) + value


def _number(number: int, value: int) -> bytes:
    return _tag(number, _VARINT) + varint(value)


_EVENT_BYTES_TAG = _tag(_EVENT_BYTES, _LENGTH_DELIMITED)


def _fields(descriptor: Any, messages: dict[str, str]) -> list[str]:
    # The descriptors of protobuf's two runtimes have no common type.
    return [_declaration(field, messages) for field in descriptor.fields]


def _declaration(field: Any, messages: dict[str, str]) -> str:
    name = _RENAMED.get(field.name, field.name)
    nested = field.message_type
    if nested is not None and nested.GetOptions().map_entry:
        return f"map<string,string> {name}={field.number};"
    if field.type == FieldDescriptor.TYPE_ENUM:
        # As a number, so that a name added later is no error.
        kind, name = "int32", f"{name}_number"
    elif nested is not None:
        kind = nested.name
        messages[kind] = " ".join(_fields(nested, messages))
    else:
        kind = _SCALARS[field.type]
    explicit = field.has_presence and nested is None and field.containing_oneof is not None
    label = "repeated " if field.is_repeated else "optional " if explicit else ""
    return f"{label}{kind} {name}={field.number};"
