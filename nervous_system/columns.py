"""Events as Arrow columns: what the archive's Parquet files hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from nervous_system.contract import AgentRole, Operation, SwarmEvent
from nervous_system.events import enum_name, event_type, occurred_us
from nervous_system.landing import LandedEvent, LandedMessage

_MOMENT = pa.timestamp("us", tz="UTC")
_WORD = pa.dictionary(pa.int32(), pa.string())

Located = tuple[LandedMessage, LandedEvent]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, its type, and its value for an event where the log has it."""

    name: str
    kind: pa.DataType
    value: Callable[[LandedMessage, LandedEvent], Any]


def _plain(name: str, kind: pa.DataType) -> Column:
    return Column(name, kind, lambda _, landed: getattr(landed.event, name))


def _inner(name: str, kind: pa.DataType, payload: str, member: str) -> Column:
    """A column of one payload's member; null for events with another payload."""

    def value(_: LandedMessage, landed: LandedEvent) -> Any:
        event: SwarmEvent = landed.event
        return getattr(getattr(event, payload), member) if event.WhichOneof("payload") == payload else None

    return Column(name, kind, value)


def _operation(_: LandedMessage, landed: LandedEvent) -> str | None:
    change = landed.event.state_change
    known = landed.event.WhichOneof("payload") == "state_change"
    return enum_name(Operation, change.operation).removeprefix("OPERATION_") if known else None


COLUMNS: tuple[Column, ...] = (
    Column("log_sequence", pa.uint64(), lambda message, _: message.sequence),
    Column("log_index", pa.uint16(), lambda _, landed: landed.index),
    Column("recorded", _MOMENT, lambda message, _: message.recorded_us),
    Column("timestamp", _MOMENT, lambda _, landed: occurred_us(landed.event)),
    Column("event_type", _WORD, lambda _, landed: event_type(landed.event)),
    _plain("event_id", pa.string()),
    _plain("tenant_id", _WORD),
    _plain("project_id", _WORD),
    _plain("session_id", _WORD),
    _plain("agent_id", _WORD),
    Column("agent_role", _WORD, lambda _, landed: enum_name(AgentRole, landed.event.agent_role).removeprefix("ROLE_")),
    _plain("agent_sequence", pa.uint64()),
    _plain("trace_id", pa.string()),
    _plain("causation_id", pa.string()),
    _plain("correlation_id", pa.string()),
    _plain("related_commit_hash", pa.string()),
    _inner("rationale", pa.string(), "decision", "rationale"),
    _inner("target_resource", pa.string(), "state_change", "target_resource"),
    Column("operation", _WORD, _operation),
    _inner("previous_state_hash", pa.string(), "state_change", "previous_state_hash"),
    _inner("new_state_hash", pa.string(), "state_change", "new_state_hash"),
    Column("event_bytes", pa.binary(), lambda _, landed: landed.data),
)

SCHEMA = pa.schema([pa.field(column.name, column.kind) for column in COLUMNS])


def located(messages: Iterable[LandedMessage]) -> Iterator[Located]:
    """Each event with the message that carried it, in stream order."""
    return ((message, landed) for message in messages for landed in message.events)


def table(rows: list[Located]) -> pa.Table:
    """The events as columns, in the order given."""
    arrays = [
        pa.array([column.value(message, landed) for message, landed in rows], type=column.kind) for column in COLUMNS
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)
