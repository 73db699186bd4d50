"""CloudEvents: the rules of the specification, written down, hold for every event."""

from __future__ import annotations

import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from nervous_system.contract import AgentDecision, SwarmEvent
from nervous_system.ledger.history import StoredEvent
from nervous_system.ledger.versions import Version
from replay.export.cloudevents import cloud_event, raw_cloud_event, sequence
from tests.cloudevents import check_cloud_event
from tests.samples import BEGAN_US, PROJECT, event, write

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def stored(made: SwarmEvent, version: Version | None = None) -> StoredEvent:
    return StoredEvent(version or Version(1, bytes(12)), BEGAN_US + 5, made.SerializeToString())


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_whatever_an_agent_says_the_rules_hold(agent: str, cause: str, task: str, trace: str) -> None:
    made = event(1, decision=AgentDecision(rationale=agent))
    made.agent_id, made.causation_id, made.correlation_id = agent, cause, task
    made.trace_id, made.span_id = trace, trace
    for each in (raw_cloud_event(PROJECT, stored(made), made), cloud_event(PROJECT, stored(made), made, {"a": 1})):
        check_cloud_event(each)
        check_cloud_event(json.loads(json.dumps(each, ensure_ascii=False).encode()))


def test_an_event_s_facts() -> None:
    made = event(1, state_change=write("src/a.py", b"x"))
    made.trace_id, made.span_id = "ab" * 16, "cd" * 8
    data = {"whatever": None}
    version = Version(2, bytes(9) + b"\x0c\x00\x02")
    assert cloud_event(PROJECT, stored(made, version), made, data) == {
        "specversion": "1.0",
        "id": made.event_id,
        "source": "/acme/shop",
        "type": "dev.enchanted.swarm.state_change",
        "subject": "src/a.py",
        "time": "2023-11-14T22:13:21.000000Z",
        "sequence": "002-0000000000000000000c-0002",
        "partitionkey": "acme/shop",
        "recordedtime": "2023-11-14T22:13:20.000005Z",
        "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-00",
        "datacontenttype": "application/json",
        "data": data,
    }


def test_a_trace_that_is_not_valid_is_left_out() -> None:
    made = event(1)
    for trace_id, span_id in (("AB" * 16, "cd" * 8), ("0" * 32, "cd" * 8), ("ab" * 16, "0" * 16), ("ab" * 16, "")):
        made.trace_id, made.span_id = trace_id, span_id
        assert "traceparent" not in raw_cloud_event(PROJECT, stored(made), made)


@given(st.binary(max_size=40))
def test_raw_gives_the_bytes_back(extra: bytes) -> None:
    # A field that this version does not know, as another may have written.
    data = event(1).SerializeToString() + b"\xa2\x06" + bytes([len(extra)]) + extra
    kept = StoredEvent(Version(1, bytes(12)), 0, data)
    made = raw_cloud_event(PROJECT, kept, SwarmEvent.FromString(data))
    assert base64.b64decode(made["data_base64"]) == data
    assert made["datacontenttype"] == "application/protobuf"


@given(*[st.builds(Version, st.integers(1, 255), st.binary(min_size=12, max_size=12))] * 2)
def test_sequences_are_in_the_order_of_versions_and_are_versions(one: Version, other: Version) -> None:
    assert (sequence(one) < sequence(other)) == (one < other)
    assert Version.parse(sequence(one)) == one
