"""Rows for ClickHouse: the event as it was, what the log adds, and no event that can forge what the log says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import chdb
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st

from ingestors import rows
from ingestors.reading import LogMessage, read
from ingestors.rows import ROW_MESSAGE, frames, schema, varint
from nervous_system.contract import AgentDecision, AgentRole, SwarmEvent, ToolCall
from nervous_system.events import encode_batch, event_type
from nervous_system.landing import Batch
from tests.samples import STREAM, batch, event, message, write

LOG_FIELDS = {
    "event_bytes": 1001,
    "event_type": 1002,
    "log_stream": 1003,
    "log_partition": 1004,
    "log_sequence": 1005,
    "log_index": 1006,
    "recorded_us": 1007,
}


@pytest.fixture(scope="module")
def row_class(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The row's message, as protoc makes it of the schema's text."""
    folder = tmp_path_factory.mktemp("schema")
    (folder / "row.proto").write_text(schema())
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"-o{folder}/row.set", f"{folder}/row.proto"]
    subprocess.run(command, check=True)
    files = descriptor_pb2.FileDescriptorSet.FromString((folder / "row.set").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(ROW_MESSAGE))


def cut(data: bytes) -> list[bytes]:
    """Frames without their lengths."""
    found, at = [], 0
    while at < len(data):
        size = shift = 0
        while True:
            byte, at = data[at], at + 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        found.append(data[at : at + size])
        at += size
    return found


def sample() -> Batch:
    decision = AgentDecision(rationale="r" * 300, confidence_score=0.0, attributes={"b": "2", "a": "1"})
    return batch(
        message(2**40, [event(1, decision=decision, agent_role=77), event(2)]),
        message(2**40 + 3, []),
        message(2**40 + 5, [event(3, state_change=write("a", b"\0\xff")), event(4, tool_call=ToolCall(exit_code=-1))]),
        after=2**40 - 1,
        partition=3,
    )


def test_a_row_is_the_event_and_what_the_log_adds(row_class: Any) -> None:
    given_rows = [(each, landed) for each in sample().messages for landed in each.events]
    found = cut(b"".join(frames(sample())))
    assert len(found) == len(given_rows) == 4
    for body, (each, landed) in zip(found, given_rows, strict=True):
        assert body.startswith(landed.data)
        as_event = SwarmEvent.FromString(body)
        as_event.DiscardUnknownFields()
        assert as_event == landed.event
        row = row_class.FromString(body)
        assert {name: getattr(row, name) for name in LOG_FIELDS} == {
            "event_bytes": landed.data,
            "event_type": event_type(landed.event),
            "log_stream": str(STREAM),
            "log_partition": 3,
            "log_sequence": each.sequence,
            "log_index": landed.index,
            "recorded_us": each.recorded_us,
        }
        assert (row.event_id, row.occurred.seconds) == (landed.event.event_id, landed.event.timestamp.seconds)
        assert row.agent_role_number == landed.event.agent_role
        size_bytes = row.ByteSize()
        row.DiscardUnknownFields()
        assert row.ByteSize() == size_bytes, "the row's schema leaves something out"


def numbered(descriptor: Any) -> Iterator[tuple[Any, Any]]:
    for field in descriptor.fields:
        yield descriptor, field
        if field.message_type is not None:
            yield from numbered(field.message_type)


def test_the_schema_has_every_field_of_the_contract_by_its_number_and_wire_form(row_class: Any) -> None:
    contract = SwarmEvent.DESCRIPTOR
    row = row_class.DESCRIPTOR
    assert {name: row.fields_by_name[name].number for name in LOG_FIELDS} == LOG_FIELDS
    names = {
        contract.full_name: ROW_MESSAGE,
        **{
            field.message_type.full_name: field.message_type.name
            for _, field in numbered(contract)
            if field.message_type
        },
    }
    count = 0
    for owner, field in numbered(contract):
        if owner.GetOptions().map_entry:
            continue
        mirror = row.file.message_types_by_name[names[owner.full_name]].fields_by_number[field.number]
        is_enum = field.type == FieldDescriptor.TYPE_ENUM
        expected = {"timestamp": "occurred"}.get(field.name, field.name) + ("_number" if is_enum else "")
        assert mirror.name == expected
        assert mirror.type == (FieldDescriptor.TYPE_INT32 if is_enum else field.type)
        assert mirror.is_repeated == field.is_repeated
        if field.message_type is None and field.containing_oneof is not None:
            assert mirror.has_presence
        count += 1
    assert count == sum(len(each.fields) for each in row.file.message_types_by_name.values()) - len(LOG_FIELDS)


@given(st.integers(0, 2**64 - 1))
def test_varints_are_protobufs(value: int) -> None:
    made = SwarmEvent(agent_sequence=value).SerializeToString()
    assert made == (b"\xd8\x01" + varint(value) if value else b"")


@cache
def types_of_log_columns() -> str:
    return (
        "event_id String, tenant_id String, agent_sequence UInt64, is_encrypted Bool, agent_role_number Int32, "
        "event_bytes String, event_type String, log_stream String, log_partition UInt32, log_sequence UInt64, "
        "log_index UInt32, recorded_us Int64, occurred_seconds Int64, decision_rationale String, "
        "decision_rejected_alternatives Array(String), decision_attributes Map(String, String)"
    )


def as_clickhouse_reads(data: bytes, folder: Path) -> list[dict[str, Any]]:
    """The rows, by ClickHouse's own reader."""
    file = folder / "rows.bin"
    file.write_bytes(data)
    query: Any = chdb.query
    answer = query(
        f"SELECT * REPLACE(hex(event_bytes) AS event_bytes) FROM file('{file}', Protobuf, '{types_of_log_columns()}') "
        f"SETTINGS format_schema_source='string', format_schema='{schema()}', "
        f"format_schema_message_name='{ROW_MESSAGE}', output_format_json_quote_64bit_integers=0",
        "JSONEachRow",
    )
    return [json.loads(line) for line in str(answer).splitlines()]


def test_clickhouse_reads_what_protobuf_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever may be kept, in whatever order and with whatever fields to come, is the same to both readers."""
    # The engine keeps schemas in a folder of the one it works in.
    monkeypatch.chdir(tmp_path)
    plain = event(1, agent_sequence=7, agent_role=AgentRole.ROLE_CODER)
    plain.decision.MergeFrom(
        AgentDecision(rationale="r", rejected_alternatives=["x", "y"], attributes={"a": "1", "b": "2"})
    )
    data = plain.SerializeToString()
    odd = [
        data,
        data[38:] + data[:38],
        data + varint(22 << 3) + b"\x00",
        data + varint(500 << 3 | 2) + b"\x01x" + varint(501 << 3) + b"\x05" + varint(502 << 3 | 1) + bytes(8),
    ]
    # Ids must differ, and are of one length.
    odd = [each.replace(plain.event_id.encode(), event(n).event_id.encode()) for n, each in enumerate(odd)]
    found = as_clickhouse_reads(b"".join(frames(batch(message(9, odd), partition=3))), tmp_path)
    assert len(found) == len(odd)
    for number, (row, bytes_of_event) in enumerate(zip(found, odd, strict=True)):
        assert row == {
            "event_id": event(number).event_id,
            "tenant_id": "acme",
            "agent_sequence": 7,
            "is_encrypted": False,
            "agent_role_number": 2,
            "event_bytes": bytes_of_event.hex().upper(),
            "event_type": "DECISION",
            "log_stream": str(STREAM),
            "log_partition": 3,
            "log_sequence": 9,
            "log_index": number,
            "recorded_us": message(9, []).recorded_us,
            "occurred_seconds": plain.timestamp.seconds,
            "decision_rationale": "r",
            "decision_rejected_alternatives": ["x", "y"],
            "decision_attributes": {"a": "1", "b": "2"},
        }


@pytest.mark.parametrize("number", LOG_FIELDS.values())
@pytest.mark.parametrize("is_text", [True, False])
def test_no_event_forges_what_the_log_says(number: int, is_text: bool) -> None:
    """Such an event is refused when it is read, so that no row is ever made of it."""
    forged = varint(number << 3 | 2) + b"\x04evil" if is_text else varint(number << 3) + b"\x63"
    sound = event(2).SerializeToString()
    for data in (forged + event(1).SerializeToString(), event(1).SerializeToString() + forged):
        landed, refusals = read(LogMessage("swarm.3.acme.shop.events", 9, 1, {}, encode_batch([data, sound])), 0)
        assert [each.code for each in refusals] == ["bad_form"]
        (body,) = cut(b"".join(rows.frames(batch(landed, partition=3))))
        assert body.startswith(sound)
        assert b"evil" not in body
