"""Events as Arrow columns: what Parquet files of events hold.

Beside an event's verbatim bytes stand the facts that people ask for. Not ``previous_state_hash``: it is the hash of the
path's change before, and would cost every event a tenth of what the compressed bytes of an event take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import pyarrow as pa

from nervous_system.contract import AgentRole, Operation
from nervous_system.events import occurred_us
from nervous_system.landing import LandedEvent, LandedMessage
from nervous_system.streams import StreamIdentity

_MOMENT = pa.timestamp("us", tz="UTC")

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


# Where the log has an event. Of one partition's messages the first two are the same in all rows.
_PLACE = (pa.field("stream", pa.string()), pa.field("partition", pa.uint16()))
_LOG: tuple[Column, ...] = (
    Column("log_sequence", pa.uint64(), lambda rows: [message.sequence for message in rows.messages]),
    Column("log_index", pa.uint16(), lambda rows: [landed.index for landed in rows.landed]),
)
_EVENT: tuple[Column, ...] = (
    Column("recorded", _MOMENT, lambda rows: [message.recorded_us for message in rows.messages]),
    Column("timestamp", _MOMENT, lambda rows: list(map(occurred_us, rows.events))),
    Column("event_type", pa.string(), lambda rows: [payload.upper() for payload in rows.payloads]),
    _plain("event_id", pa.string()),
    _plain("tenant_id", pa.string()),
    _plain("project_id", pa.string()),
    _plain("session_id", pa.string()),
    _plain("agent_id", pa.string()),
    Column("agent_role", pa.string(), lambda rows: [_ROLES[event.agent_role] for event in rows.events]),
    _plain("agent_sequence", pa.uint64()),
    _plain("trace_id", pa.string()),
    _plain("causation_id", pa.string()),
    _plain("correlation_id", pa.string()),
    _plain("related_commit_hash", pa.string()),
    _decision("rationale", pa.string()),
    _change("target_resource", pa.string()),
    Column("operation", pa.string(), lambda rows: [found and _OPERATIONS[found.operation] for found in rows.changes]),
    _change("new_state_hash", pa.string()),
    Column("event_bytes", pa.binary(), lambda rows: [landed.data for landed in rows.landed]),
)

EVENT_SCHEMA = pa.schema([pa.field(column.name, column.kind) for column in _EVENT])
"""What is told of an event wherever it is kept."""
SCHEMA = pa.schema([*_PLACE, *(pa.field(column.name, column.kind) for column in _LOG), *EVENT_SCHEMA])
"""The same after its place in the log: the archive's files."""
ORDER = ("tenant_id", "project_id", "stream", "log_sequence", "log_index")
"""What the rows of the archive's files are sorted by."""


def located(messages: Iterable[LandedMessage]) -> Iterator[Located]:
    """Each event with the message that carried it, in stream order."""
    return ((message, landed) for message in messages for landed in message.events)


def in_order(rows: Iterable[Located]) -> list[Located]:
    """The rows of one stream as the archive's files have them."""
    return sorted(
        rows, key=lambda row: (row[1].event.tenant_id, row[1].event.project_id, row[0].sequence, row[1].index)
    )


def table(rows: Sequence[Located], stream: StreamIdentity, partition: int) -> pa.Table:
    """The events as columns, in the order given.

    Args:
        rows: of one partition.
        stream: that the messages' sequences count in.
        partition: of it.
    """
    read = _Rows(rows)
    place = [
        pa.repeat(pa.scalar(value, field.type), len(rows))
        for value, field in zip((str(stream), partition), _PLACE, strict=True)
    ]
    return pa.Table.from_arrays([*place, *_arrays(_LOG, read), *_arrays(_EVENT, read)], schema=SCHEMA)


def event_table(rows: Sequence[Located]) -> pa.Table:
    """The events as columns without their place in the log, in the order given."""
    return pa.Table.from_arrays(_arrays(_EVENT, _Rows(rows)), schema=EVENT_SCHEMA)


def _arrays(columns: Iterable[Column], rows: _Rows) -> list[pa.Array]:
    return [pa.array(column.values(rows), type=column.kind) for column in columns]
