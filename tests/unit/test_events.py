"""Events and batches: ids, times, the cut of a batch."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.contract import AgentRole, Operation, SwarmEvent, SwarmEventBatch
from nervous_system.errors import ContractError
from nervous_system.events import (
    cut_batch,
    decode,
    encode_batch,
    enum_name,
    event_type,
    occurred_us,
    set_occurred,
    utc,
    uuid7,
)
from tests.samples import event

# Year 1 to 9999, which is what both protobuf's Timestamp and Python's datetime can hold.
MOMENTS_US = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)


@given(st.integers(0, (1 << 48) - 1), st.binary(min_size=10, max_size=32))
def test_uuid7_has_the_form_of_rfc_9562(unix_ms: int, randomness: bytes) -> None:
    made = uuid.UUID(uuid7(unix_ms, randomness))
    assert (made.version, made.variant, made.int >> 80) == (7, uuid.RFC_4122, unix_ms)
    tail = int.from_bytes(randomness[:10], "big")
    assert made.int & (1 << 62) - 1 == tail & (1 << 62) - 1
    assert made.int >> 64 & 0xFFF == tail >> 64 & 0xFFF
    assert uuid7(unix_ms, randomness) == str(made)
    assert uuid7(unix_ms) != uuid7(unix_ms)


@given(st.tuples(st.integers(0, (1 << 48) - 1), st.integers(0, (1 << 48) - 1)))
def test_ids_sort_as_their_times(moments_ms: tuple[int, int]) -> None:
    earlier, later = sorted(moments_ms)
    assert earlier == later or uuid7(earlier, b"\xff" * 10) < uuid7(later, bytes(10))


@given(MOMENTS_US)
def test_times_survive_to_the_microsecond(moment_us: int) -> None:
    made = SwarmEvent()
    set_occurred(made, moment_us)
    assert occurred_us(decode(made.SerializeToString())) == moment_us
    assert 0 <= made.timestamp.nanos < 1_000_000_000
    assert utc(moment_us) - datetime(1970, 1, 1, tzinfo=UTC) == timedelta(microseconds=moment_us)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=30))
def test_a_batch_is_cut_into_the_very_bytes(events: list[bytes]) -> None:
    assert cut_batch(encode_batch(events)) == events


def test_a_batch_of_bytes_is_a_batch_of_events() -> None:
    events = [event(1), event(2)]
    data = SwarmEventBatch(events=events).SerializeToString()
    assert data == encode_batch([each.SerializeToString() for each in events])
    assert [decode(each) for each in cut_batch(data)] == events


@pytest.mark.parametrize("data", [b"", b"\x0a\x05abc", b"\xff\xff", b"\x10\x01"])
def test_what_is_no_batch_is_refused(data: bytes) -> None:
    with pytest.raises(ContractError):
        cut_batch(data)


def test_what_is_no_event_is_refused() -> None:
    with pytest.raises(ContractError, match="not a SwarmEvent"):
        decode(b"\x0a\xff")
    with pytest.raises(ContractError, match="not a SwarmEvent"):
        decode(b"\x0a\x01\xff")  # an id that is not UTF-8


def test_types_and_names() -> None:
    assert event_type(event(1)) == "CHECKPOINT"
    with pytest.raises(ContractError, match="no payload"):
        event_type(SwarmEvent(event_id="x"))
    assert enum_name(AgentRole, AgentRole.ROLE_CODER) == "ROLE_CODER"
    assert enum_name(Operation, 77) == "77"
