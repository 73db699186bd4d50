"""Events as Arrow columns: what the archive's Parquet files hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import pyarrow as pa

from nervous_system.contract import AgentRole, Operation
from nervous_system.events import occurred_us
from nervous_system.landing import LandedEvent, LandedMessage

_MOMENT = pa.timestamp("us", tz="UTC")
_WORD = pa.dictionary(pa.int32(), pa.string())

Located = tuple[LandedMessage, LandedEvent]


class _Rows:
    """Rows, and what several columns need of them: each field of an event that is read makes an object."""

    def __init__(self, rows: Sequence[Located]) -> None:
        self.messages = [message for message, _ in rows]
        self.landed = [landed for _, landed in rows]
        self.events = [landed.event for landed in self.landed]
        self.payloads = [event.WhichOneof("payload") for event in self.events]
        self.decisions = self._of("decision")
        self.changes = self._of("state_change")

    def _of(self, payload: str) -> list[Any]:
        """That payload of each event; None for events with another one."""
        return [
            getattr(event, payload) if known == payload else None
            for event, known in zip(self.events, self.payloads, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, its type, and its values for rows."""

    name: str
    kind: pa.DataType
    values: Callable[[_Rows], list[Any]]


class _Names(dict[int, str]):
    """An enum's names by number, without their prefix; a number without a name stands for itself."""

    def __init__(self, enum: Any, prefix: str) -> None:
        super().__init__({number: name.removeprefix(prefix) for name, number in enum.items()})

    def __missing__(self, number: int) -> str:
        return str(number)


_ROLES = _Names(AgentRole, "ROLE_")
_OPERATIONS = _Names(Operation, "OPERATION_")


def _plain(name: str, kind: pa.DataType) -> Column:
    read = attrgetter(name)
    return Column(name, kind, lambda rows: list(map(read, rows.events)))


def _decision(name: str, kind: pa.DataType) -> Column:
    return Column(name, kind, lambda rows: [found and getattr(found, name) for found in rows.decisions])


def _change(name: str, kind: pa.DataType) -> Column:
    return Column(name, kind, lambda rows: [found and getattr(found, name) for found in rows.changes])


COLUMNS: tuple[Column, ...] = (
    Column("log_sequence", pa.uint64(), lambda rows: [message.sequence for message in rows.messages]),
    Column("log_index", pa.uint16(), lambda rows: [landed.index for landed in rows.landed]),
    Column("recorded", _MOMENT, lambda rows: [message.recorded_us for message in rows.messages]),
    Column("timestamp", _MOMENT, lambda rows: list(map(occurred_us, rows.events))),
    Column("event_type", _WORD, lambda rows: [payload.upper() for payload in rows.payloads]),
    _plain("event_id", pa.string()),
    _plain("tenant_id", _WORD),
    _plain("project_id", _WORD),
    _plain("session_id", _WORD),
    _plain("agent_id", _WORD),
    Column("agent_role", _WORD, lambda rows: [_ROLES[event.agent_role] for event in rows.events]),
    _plain("agent_sequence", pa.uint64()),
    _plain("trace_id", pa.string()),
    _plain("causation_id", pa.string()),
    _plain("correlation_id", pa.string()),
    _plain("related_commit_hash", pa.string()),
    _decision("rationale", pa.string()),
    _change("target_resource", pa.string()),
    Column("operation", _WORD, lambda rows: [found and _OPERATIONS[found.operation] for found in rows.changes]),
    _change("previous_state_hash", pa.string()),
    _change("new_state_hash", pa.string()),
    Column("event_bytes", pa.binary(), lambda rows: [landed.data for landed in rows.landed]),
)

SCHEMA = pa.schema([pa.field(column.name, column.kind) for column in COLUMNS])
WORDS = [column.name for column in COLUMNS if column.kind == _WORD]
"""The columns that say the same few words again and again."""


def located(messages: Iterable[LandedMessage]) -> Iterator[Located]:
    """Each event with the message that carried it, in stream order."""
    return ((message, landed) for message in messages for landed in message.events)


def table(rows: Sequence[Located]) -> pa.Table:
    """The events as columns, in the order given."""
    read = _Rows(rows)
    return pa.Table.from_arrays([pa.array(column.values(read), type=column.kind) for column in COLUMNS], schema=SCHEMA)
