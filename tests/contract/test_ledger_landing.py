"""Landing on every engine: once each, in order, with the cursor, whatever happens on the way."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nervous_system.contract import AgentDecision
from nervous_system.errors import NotFoundError
from nervous_system.events import decode, occurred_us
from nervous_system.landing import Cursor
from nervous_system.ledger import ledger as ledger_module
from nervous_system.ledger.append import CursorMovedError, Landed
from nervous_system.ledger.ledger import Ledger, RefusedError
from nervous_system.ledger.transaction import Engine
from nervous_system.projects import ProjectName
from nervous_system.streams import StreamIdentity
from tests.contract import ledger_worker
from tests.contract.hub import SINK, ForgetfulEngine, Hub, opened_hub
from tests.samples import BEGAN_US, PROJECT, STREAM, batch, delete, event, message, write

REPOSITORY = Path(__file__).parents[2]
OTHER = ProjectName("acme", "other")
ELSEWHERE = ProjectName("umbrella", "shop")


@pytest.fixture
def hub(engine: Engine, address: str) -> Iterator[Hub]:
    with opened_hub(engine, address) as opened:
        yield opened


def chain_of(data: list[bytes]) -> bytes:
    chain = bytes(32)
    for each in data:
        chain = hashlib.sha256(chain + each).digest()
    return chain


def altered(number: int) -> bytes:
    """An event with the id of sample event ``number`` and other bytes."""
    return event(number, decision=AgentDecision(rationale="another")).SerializeToString()


def test_batches_land_verbatim_in_order_with_head_chain_and_cursor(hub: Hub) -> None:
    # A field that this version does not know, and fields out of order: the bytes stay as they came.
    strange = event(4).SerializeToString()
    strange = strange[38:] + strange[:38] + b"\xa2\x1f\x01x"
    assert hub.cursor() == Cursor()
    data: list[bytes] = []
    for numbers in ([1, 2], [0], [], [5, 3]):
        sent = [event(number).SerializeToString() for number in numbers] + ([strange] if numbers == [0] else [])
        assert hub.put(*sent) == Landed(events=len(sent))
        data += sent
        assert hub.data() == data
        head, last = hub.history().head(), list(hub.history().events())[-1]
        assert (head.count, head.chain, head.version) == (len(data), chain_of(data), last.version)
        assert head.first_occurred_us == min(occurred_us(decode(each)) for each in data)
        assert hub.cursor() == Cursor(hub.sequence, BEGAN_US + hub.sequence * 1_000_000)
    assert head.last_recorded_us == BEGAN_US + hub.sequence * 1_000_000
    events = list(hub.history().events())
    assert [each.recorded_us - BEGAN_US for each in events] == [
        1_000_000,
        1_000_000,
        2_000_000,
        2_000_000,
        4_000_000,
        4_000_000,
    ]
    assert [hub.history().version_of_event(event(n).event_id) for n in (1, 2, 0, 4, 5, 3)] == [
        e.version for e in events
    ]
    assert hub.history().version_of_event(event(9).event_id) is None


def test_what_comes_twice_lands_once(hub: Hub) -> None:
    data = [event(number).SerializeToString() for number in range(4)]
    assert hub.put(data[0], data[0], data[1]) == Landed(events=2, duplicates=1)
    assert hub.put(data[2], data[1]) == Landed(events=1, duplicates=1)
    assert hub.land(hub.message(data[3], data[0]), hub.message(data[3])) == Landed(events=1, duplicates=2)
    assert hub.put(*data) == Landed(duplicates=4)
    assert hub.data() == data
    assert (hub.history().head().count, hub.history().head().chain) == (4, chain_of(data))
    assert hub.cursor().sequence == 5


def test_the_same_id_with_other_bytes_is_refused_and_the_rest_lands(hub: Hub) -> None:
    first, third = event(1).SerializeToString(), event(3).SerializeToString()
    within = hub.put(first, altered(1))
    across = hub.land(hub.message(event(2)), hub.message(altered(2), third, altered(1)))
    assert (within.events, across.events) == (1, 2)
    found = [(each.code, each.data, each.sequence, each.index) for each in within.refusals + across.refusals]
    assert found == [("same_id_other_bytes", altered(n), s, i) for n, s, i in ((1, 1, 1), (2, 3, 0), (1, 3, 2))]
    assert hub.data() == [first, event(2).SerializeToString(), third]
    assert hub.history().head().chain == chain_of(hub.data())
    assert hub.cursor().sequence == 3


def test_a_batch_that_must_land_whole_leaves_nothing_where_an_event_is_refused(hub: Hub) -> None:
    hub.put(event(1))
    before = hub.data(), hub.cursor()
    refused = batch(hub.message(event(2), altered(1)), hub.message(altered(2), event(3)), after=1)
    with pytest.raises(RefusedError, match="Nothing was landed") as refusal:
        hub.ledger.land(SINK, refused, whole=True)
    found = [(each.code, each.data, each.sequence, each.index) for each in refusal.value.refusals]
    assert found == [("same_id_other_bytes", altered(1), 2, 1), ("same_id_other_bytes", altered(2), 3, 0)]
    assert (hub.data(), hub.cursor()) == before

    rest = refused.without(refusal.value.refusals)
    assert hub.ledger.land(SINK, rest, whole=True) == Landed(events=2)
    assert hub.data() == [event(number).SerializeToString() for number in (1, 2, 3)]
    assert hub.cursor() == refused.cursor
    # As after an unknown outcome: all is there, and what was refused is still told.
    with pytest.raises(RefusedError):
        hub.ledger.land(SINK, refused, whole=True)


def test_landing_a_batch_again_changes_nothing(hub: Hub) -> None:
    messages = [hub.message(event(1), event(2), altered(1)), hub.message(event(3))]
    first = hub.land(*messages)
    before = hub.data(), hub.history().head(), hub.cursor()
    again = hub.land(*messages)
    assert (hub.data(), hub.history().head(), hub.cursor()) == before
    # What was refused is reported again: the first report may never have arrived.
    assert (again.events, again.duplicates, again.refusals) == (0, 3, first.refusals)
    assert len(first.refusals) == 1


def test_a_batch_that_does_not_continue_is_not_landed(hub: Hub) -> None:
    hub.put(event(1))
    for after, sequence in ((0, 2), (2, 3), (7, 9)):
        with pytest.raises(CursorMovedError, match="at 1"):
            hub.ledger.land(SINK, batch(message(sequence, [event(2)]), after=after))
    assert hub.data() == [event(1).SerializeToString()]
    assert hub.cursor().sequence == 1


def test_cursors_are_apart_by_sink_stream_and_partition(hub: Hub) -> None:
    hub.put(event(1))
    anew = StreamIdentity(STREAM.name, STREAM.created_us + 1)
    for sink, stream, partition in (("other", STREAM, 0), (SINK, anew, 0), (SINK, STREAM, 1)):
        assert hub.ledger.cursor(sink, stream, partition) == Cursor()
    assert Hub(hub.ledger, hub.root, partition=1).put(event(1), event(2)) == Landed(events=1, duplicates=1)
    assert hub.cursor().sequence == 1


def test_several_projects_in_one_batch(hub: Hub) -> None:
    sent = {
        project: [
            event(number, project, state_change=write("a", b"x" * 300)).SerializeToString() for number in range(3)
        ]
        for project in (PROJECT, OTHER, ELSEWHERE)
    }
    hub.land(*(hub.message(data[number], project=project) for number in range(3) for project, data in sent.items()))
    versions = []
    for project, data in sent.items():
        assert hub.data(project) == data
        assert hub.history(project).head().chain == chain_of(data)
        versions += [each.version for each in hub.history(project).events()]
    assert len(set(versions)) == 9
    assert hub.ledger.projects() == sorted(sent)


def test_a_project_that_is_not_there_is_not_made_by_asking(hub: Hub) -> None:
    hub.put(event(1))
    with pytest.raises(NotFoundError, match=r"no project acme/other.*acme/shop"):
        hub.history(OTHER)
    assert hub.ledger.projects() == [PROJECT]
    hub.land(hub.message(project=OTHER))
    assert hub.ledger.projects() == [PROJECT]


def test_a_batch_too_large_for_one_transaction_lands_in_several(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "TRANSACTION_EVENTS", 7)
    sent = [[event(10 * m + n).SerializeToString() for n in range(size)] for m, size in enumerate((5, 2, 9, 0, 3, 5))]
    landed = hub.land(*(hub.message(*data) for data in sent))
    assert landed == Landed(events=24)
    assert hub.data() == [data for message_data in sent for data in message_data]
    by_transaction = [each.version.stamp[:10] for each in hub.history().events()]
    assert [by_transaction.count(stamp) for stamp in sorted(set(by_transaction))] == [7, 9, 3, 5]
    assert hub.cursor().sequence == 6


def test_a_deletion_that_carries_content_stays_verbatim(hub: Hub) -> None:
    """What is not this event's own content by its hash is never cut out of it."""
    change = delete("a")
    change.content = b"x" * 5_000
    hub.put(event(1, state_change=change))
    assert hub.data() == [event(1, state_change=change).SerializeToString()]


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_commit_of_unknown_outcome_lands_once(engine: Engine, address: str, is_committed: bool) -> None:
    with opened_hub(engine, address) as hub:
        hub.put(event(0))
        forgetful = ForgetfulEngine(engine, is_committed=is_committed)
        worker = Hub(Ledger(forgetful, hub.root), hub.root, sequence=hub.sequence)
        # What a worker does before it lands is not what is to be forgotten.
        forgetful.attempts = 1
        assert worker.cursor() == hub.cursor()
        forgetful.attempts = 0
        sent = worker.message(event(1), event(1), altered(0), event(2, state_change=write("a", b"x" * 999)))
        landed = worker.land(sent)
        assert forgetful.attempts == 2
        assert [each.data for each in landed.refusals] == [altered(0)]
        expected = [event(0), event(1), event(2, state_change=write("a", b"x" * 999))]
        assert hub.data() == [each.SerializeToString() for each in expected]
        assert (hub.history().head().count, hub.history().head().chain) == (3, chain_of(hub.data()))
        assert hub.cursor() == Cursor(2, sent.recorded_us)


def test_two_processes_that_race_land_everything_once(address: str, hub: Hub) -> None:
    count = 60
    command = [sys.executable, ledger_worker.__file__, address, hub.root, str(count)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    try:
        landed = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    expected = [event(0).SerializeToString()]
    for sequence in range(1, count + 1):
        expected += ledger_worker.events_of(sequence)[1:]
    assert hub.data() == expected
    assert sum(landed) == len(expected)
    assert (hub.history().head().count, hub.history().head().chain) == (len(expected), chain_of(expected))
    assert hub.cursor().sequence == count
