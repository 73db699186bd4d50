"""An event's wire form: whether every reader of protobuf reads it the same.

Protobuf lets a field come twice (the last counts), with a foreign wire type (it is unknown) or in a group, and each
reader has its own way with these; ClickHouse's takes a text that came twice for empty, and stops at a foreign type. A
number wider than its field is cut by one reader and stops another. No writer makes such bytes but to deceive.
Source: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from nervous_system.contract import SwarmEvent, SwarmEventBatch
from nervous_system.errors import ContractError

# From here on fields belong to the stores, which put theirs behind the event's.
FIRST_FOREIGN_NUMBER = 1000

_VARINT, _FIXED_64, _LENGTH_DELIMITED, _FIXED_32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED_64: 8, _FIXED_32: 4}
_WIRE_TYPES = {FieldDescriptor.TYPE_DOUBLE: _FIXED_64} | dict.fromkeys(
    (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE), _LENGTH_DELIMITED
)
# What a varint may be: a negative number is written in 64 bits, whatever its field's width.
_NEGATIVE_32 = range(2**64 - 2**31, 2**64)
_VARINTS: dict[int, tuple[range, ...]] = {
    FieldDescriptor.TYPE_BOOL: (range(2),),
    FieldDescriptor.TYPE_UINT32: (range(2**32),),
    FieldDescriptor.TYPE_INT32: (range(2**31), _NEGATIVE_32),
    FieldDescriptor.TYPE_ENUM: (range(2**31), _NEGATIVE_32),
}
_ANY_VARINT = (range(2**64),)


def canonical_events(data: bytes) -> Sequence[SwarmEvent] | None:
    """The events of a batch, decoded at once, where each is beyond doubt: for each ``check_form`` would pass.

    None where the batch is not what protobuf itself would write of what this version knows, so that each event needs
    to be looked at alone.
    """
    try:
        batch = SwarmEventBatch.FromString(data)
    except DecodeError:
        return None
    batch.DiscardUnknownFields()
    return list(batch.events) if batch.SerializeToString(deterministic=True) == data else None


def check_form(data: bytes, event: SwarmEvent) -> None:
    """Raises ContractError where ``data``, which was decoded as ``event``, could be read in another way.

    The event loses the fields that this version does not know; its bytes keep them.
    """
    event.DiscardUnknownFields()
    # What protobuf would write itself is beyond doubt; the walk is for other writers, newer fields and large maps.
    if event.SerializeToString(deterministic=True) != data:
        _check_message(data, SwarmEvent.DESCRIPTOR)


def _check_message(data: bytes, descriptor: Any) -> None:
    fields = _fields(descriptor)
    seen: set[str] = set()
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        start, at = _value(data, at, number, wire_type)
        if number >= FIRST_FOREIGN_NUMBER:
            raise ContractError(f"It has a field {number}: those from {FIRST_FOREIGN_NUMBER} on are not for events.")
        if number not in fields:
            if descriptor.GetOptions().map_entry:
                raise ContractError(
                    f"An entry of its map {descriptor.name} has a field {number}: only 1 and 2 are known."
                )
            continue
        field, slot, expected = fields[number]
        if wire_type != expected:
            raise ContractError(f"Its field {field.name} has the wire type {wire_type}, not {expected}.")
        if slot in seen:
            raise ContractError(f"Its field {slot} comes twice.")
        if not field.is_repeated:
            seen.add(slot)
        if field.message_type is not None:
            _check_message(data[start:at], field.message_type)
        elif wire_type == _VARINT and not _fits(_varint(data, start)[0], field.type):
            raise ContractError(f"Its field {field.name} has a number that is too large for it.")


def _fits(value: int, kind: int) -> bool:
    return any(value in span for span in _VARINTS.get(kind, _ANY_VARINT))


@cache
def _fields(descriptor: Any) -> dict[int, tuple[Any, str, int]]:
    """By number: the field, what may come once only (its oneof, or itself), its wire type."""
    return {
        field.number: (
            field,
            field.containing_oneof.name if field.containing_oneof is not None else field.name,
            _WIRE_TYPES.get(field.type, _VARINT),
        )
        for field in descriptor.fields
    }


def _value(data: bytes, at: int, number: int, wire_type: int) -> tuple[int, int]:
    """Where a field's value begins and ends."""
    if wire_type == _VARINT:
        return at, _varint(data, at)[1]
    if wire_type == _LENGTH_DELIMITED:
        size_bytes, at = _varint(data, at)
        return at, at + size_bytes
    if wire_type not in _FIXED_BYTES:
        raise ContractError(f"Its field {number} is a group, which the contract does not know.")
    return at, at + _FIXED_BYTES[wire_type]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    # The bytes have been decoded once, so that they end where they should.
    value = shift = 0
    while data[at] & 0x80:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
    return value | data[at] << shift, at + 1
