"""The texts of an event: which of its fields may hold what an agent said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from nervous_system.contract import Redaction, SwarmEvent
from nervous_system.redaction.placeholders import Mark

# What has a form that every store checks, and what files' contents are carried in.
_KEPT_NAMES = (
    "event_id tenant_id project_id timestamp redactions target_resource previous_state_hash new_state_hash diff_patch "
    "renamed_from blob_hash through_event_id project_ids origin"
)
_KEPT = frozenset(_KEPT_NAMES.split())

# Takes a text, and its key in a map (empty elsewhere); gives what is left of it.
Replace = Callable[[str, str], tuple[str, Sequence[Mark]]]


def texts(event: SwarmEvent) -> list[str]:
    """All texts that may hold a secret, the keys and values of maps among them."""
    return [text for message in _messages(event) for text in _texts(message)]


def map_keys(event: SwarmEvent) -> list[str]:
    """The keys of all maps."""
    return [
        key
        for message in _messages(event)
        for name, form in _forms(message.DESCRIPTOR)
        if form == "map"
        for key in getattr(message, name)
    ]


def replace(event: SwarmEvent, by: Replace) -> None:
    """Replaces each text, in place, and adds the marks to the event."""
    payload = event.WhichOneof("payload")
    for message in _messages(event):
        prefix = "" if message is event else f"{payload}."
        for name, form in _forms(message.DESCRIPTOR):
            if form == "text":
                if value := getattr(message, name):
                    left, marks = by(value, "")
                    add_marks(event, prefix + name, marks)
                    if left is not value:
                        setattr(message, name, left)
            elif form == "texts":
                _replace_all(event, getattr(message, name), prefix + name, by)
            else:
                _replace_map(event, getattr(message, name), prefix + name, by)


def add_marks(event: SwarmEvent, field: str, marks: Sequence[Mark]) -> None:
    """Adds marks of one field to an event."""
    for mark in marks:
        event.redactions.append(
            Redaction(rule=mark.rule, field=field, offset_bytes=mark.offset_bytes, count=mark.count)
        )


def _messages(event: SwarmEvent) -> Iterator[Any]:
    yield event
    payload = event.WhichOneof("payload")
    if payload is not None:
        yield getattr(event, payload)


def _texts(message: Any) -> Iterator[str]:
    for name, form in _forms(message.DESCRIPTOR):
        value = getattr(message, name)
        if not value:
            continue
        if form == "text":
            yield value
        elif form == "texts":
            yield from value
        else:
            for pair in value.items():
                yield from pair


def _replace_all(event: SwarmEvent, values: Any, field: str, by: Replace) -> None:
    for index, value in enumerate(values):
        left, marks = by(value, "")
        add_marks(event, f"{field}[{index}]", marks)
        values[index] = left


def _replace_map(event: SwarmEvent, values: Any, field: str, by: Replace) -> None:
    for key in sorted(values):
        new_key, key_marks = by(key, "")
        left, marks = by(values[key], key)
        add_marks(event, f"{field} key", key_marks)
        add_marks(event, f"{field}[{new_key}]", marks)
        if key_marks:
            del values[key]
        if key_marks or marks:
            values[new_key] = left


@cache
def _forms(descriptor: Any) -> tuple[tuple[str, str], ...]:
    """The fields of a message that hold text, and how."""
    found = []
    for field in descriptor.fields:
        if field.name in _KEPT or (descriptor.name == "Checkpoint" and field.name == "name"):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            found.append((field.name, "map"))
        elif field.type == FieldDescriptor.TYPE_STRING:
            found.append((field.name, "texts" if field.is_repeated else "text"))
    return tuple(found)
