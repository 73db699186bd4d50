"""Columns: every event's facts, and its very bytes, as Arrow has them."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.columns import EVENT_SCHEMA, SCHEMA, event_table, in_order, located, table
from nervous_system.contract import AgentDecision, AgentRole, Operation
from nervous_system.events import BATCH_LIMIT_EVENTS, utc
from nervous_system.inspection import FIRST_SECOND, LAST_SECOND
from nervous_system.projects import ProjectName
from tests.samples import BEGAN_US, STREAM, event, message, write


def test_each_column_has_its_value() -> None:
    messages = [
        message(
            7,
            [
                event(
                    1, agent_role=AgentRole.ROLE_CODER, agent_sequence=2**64 - 1, decision=AgentDecision(rationale="r")
                )
            ],
        ),
        message(
            9,
            [
                event(2, agent_role=77),
                event(3, state_change=write("a/b", b"x", b"y", operation=Operation.OPERATION_CREATE)),
            ],
        ),
        message(10, []),
    ]
    found = table(list(located(messages)), STREAM, 3)
    assert found.schema == SCHEMA
    rows = found.to_pylist()
    assert {(row["stream"], row["partition"]) for row in rows} == {(str(STREAM), 3)}
    assert [(row["log_sequence"], row["log_index"]) for row in rows] == [(7, 0), (9, 0), (9, 1)]
    assert [row["event_type"] for row in rows] == ["DECISION", "CHECKPOINT", "STATE_CHANGE"]
    assert [row["agent_role"] for row in rows] == ["CODER", "77", "UNSPECIFIED"]
    assert [row["rationale"] for row in rows] == ["r", None, None]
    assert [row["operation"] for row in rows] == [None, None, "CREATE"]
    assert [row["target_resource"] for row in rows] == [None, None, "a/b"]
    assert rows[0]["agent_sequence"] == 2**64 - 1
    assert [row["recorded"] - utc(BEGAN_US) for row in rows] == [timedelta(seconds=s) for s in (7, 9, 9)]
    assert [row["timestamp"] - utc(BEGAN_US) for row in rows] == [timedelta(seconds=s) for s in (1, 2, 3)]
    assert [row["event_bytes"] for row in rows] == [landed.data for _, landed in located(messages)]
    assert table([], STREAM, 0).schema == SCHEMA
    without_place = event_table(list(located(messages)))
    assert without_place.schema == EVENT_SCHEMA
    assert without_place.to_pylist() == found.select(EVENT_SCHEMA.names).to_pylist()


@given(st.integers(FIRST_SECOND * 1_000_000, LAST_SECOND * 1_000_000 + 999_999))
def test_every_time_that_may_be_kept_fits(moment_us: int) -> None:
    row = table(list(located([message(1, [event(1, occurred_us=moment_us)])])), STREAM, 0)
    assert row["timestamp"].cast(pa.int64()).to_pylist() == [moment_us]


def test_rows_are_ordered_by_tenant_project_and_place() -> None:
    names = [ProjectName("beta", "a"), ProjectName("acme", "b"), ProjectName("acme", "a")]
    messages = [message(n, [event(2 * n, name), event(2 * n + 1, name)], name) for n, name in enumerate(names * 2, 1)]
    rows = in_order(located(messages))
    found = [(row[1].event.tenant_id, row[1].event.project_id, row[0].sequence, row[1].index) for row in rows]
    assert found == sorted(found)
    assert len(found) == 12


def test_every_place_in_a_message_fits() -> None:
    assert 2 ** SCHEMA.field("log_index").type.bit_width > BATCH_LIMIT_EVENTS - 1
