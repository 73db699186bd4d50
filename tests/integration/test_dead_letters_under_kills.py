"""No refusal is lost on its way to the dead letters, wherever a worker is killed, whichever store refuses."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ingestors.clickhouse import REFUSED, ClickHouseSink, connect
from ingestors.ledger import LedgerSink
from nervous_system.contract import ToolCall
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from tests.integration.burying import dlq, land, listed, new_project, partition_of, send_events, start_worker
from tests.integration.stores import in_clickhouse, in_ledger
from tests.samples import event

# Killed, or started and stopped, again and again: behind `make chaos`.
pytestmark = pytest.mark.slow

PATIENCE_S = 60.0
# Whether the message is landed, and which of its refusals are buried, when a worker dies at a place. One of them is
# found in reading, the other only by the ledger, in its transaction.
READ, FOUND = "wrong_project", "same_id_other_bytes"
PLACES = {
    "after-fetch": (False, []),
    "after-bury": (False, [READ]),
    "before-land": (False, [READ]),
    "after-bury:2": (False, [READ, FOUND]),
    "after-share": (True, [READ, FOUND]),
    "after-land": (True, [READ, FOUND]),
    "after-mark": (True, [READ, FOUND]),
}


@pytest.fixture
def project() -> ProjectName:
    return new_project()


def die(settings: Settings, sink: str, partition: int, place: str, **variables: str) -> None:
    """Has a worker of one partition run into a failpoint."""
    worker = start_worker(settings, sink, "--partitions", str(partition), ENCHANTED_FAILPOINT=place, **variables)
    try:
        _, complaints = worker.communicate(timeout=PATIENCE_S)
    finally:
        worker.kill()
    assert worker.returncode == -signal.SIGKILL, complaints


@pytest.fixture
def ledger(servers: Settings) -> Iterator[LedgerSink]:
    sink = LedgerSink(replace(servers, batch_max_age_s=0.01))
    sink.open()
    yield sink
    sink.close()


@pytest.mark.parametrize("place", PLACES)
def test_wherever_the_ledgers_worker_is_killed(
    servers: Settings, project: ProjectName, ledger: LedgerSink, place: str
) -> None:
    good = [event(number, project).SerializeToString() for number in (1, 2)]
    refused = {
        FOUND: event(1, project, session_id="another").SerializeToString(),
        READ: event(3, ProjectName("dead", "another")).SerializeToString(),
    }
    land(servers, ledger, send_events(servers, project, good[:1]))
    sequence = send_events(servers, project, [*refused.values(), good[1]])
    die(servers, "ledger", partition_of(servers, sequence), place)
    is_landed, buried = PLACES[place]
    assert in_ledger(servers, project) == (good if is_landed else good[:1])
    assert [each["code"] for each in listed(servers, project)] == buried

    land(servers, ledger, sequence)
    assert in_ledger(servers, project) == good
    letters = listed(servers, project)
    assert {each["code"]: (each["sequence"], each["index"]) for each in letters} == {
        FOUND: (sequence, 0),
        READ: (sequence, 1),
    }
    assert len(letters) == len(refused)
    assert {each["code"]: dlq(servers, "show", str(each["id"]), "--raw") for each in letters} == refused


@pytest.fixture
def picky(servers: Settings) -> Iterator[Settings]:
    """A database of its own."""
    name = f"picky_{random.randrange(10**9)}"
    settings = replace(servers, clickhouse_database=name, batch_max_age_s=0.01)
    with connect(servers) as maker:
        maker.command(f"CREATE DATABASE {name}")
        yield settings
        maker.command(f"DROP DATABASE {name}")


@pytest.fixture
def clickhouse(picky: Settings) -> Iterator[ClickHouseSink]:
    """Lands in a table that takes no tool called "poison"."""
    sink = ClickHouseSink(picky)
    sink.open()
    alter(picky, "ADD CONSTRAINT no_poison CHECK tool_call_name != 'poison'")
    yield sink
    sink.close()


def test_what_clickhouse_refuses_outlives_a_kill_and_lands_once_its_fault_is_mended(
    picky: Settings, project: ProjectName, clickhouse: ClickHouseSink
) -> None:
    first, last = (event(number, project).SerializeToString() for number in (1, 3))
    poison = event(2, project, tool_call=ToolCall(name="poison")).SerializeToString()
    land(picky, clickhouse, send_events(picky, project, [first]))
    sequence = send_events(picky, project, [poison, last])
    variables = {"ENCHANTED_CLICKHOUSE_DATABASE": picky.clickhouse_database}
    die(picky, "clickhouse", partition_of(picky, sequence), "after-bury", **variables)
    assert in_clickhouse(picky, project) == [first]
    [letter] = listed(picky, project)
    assert (letter["code"], letter["sequence"], letter["index"]) == (REFUSED, sequence, 0)
    assert "no_poison" in letter["reason"]
    assert dlq(picky, "show", str(letter["id"]), "--raw") == poison

    land(picky, clickhouse, sequence)
    assert in_clickhouse(picky, project) == [first, last]
    assert listed(picky, project) == [letter]
    alter(picky, "DROP CONSTRAINT no_poison")
    dlq(picky, "retry", str(letter["id"]))
    # Behind all the others, where the log has it now.
    land(picky, clickhouse, sequence + 1)
    assert in_clickhouse(picky, project) == [first, last, poison]
    assert listed(picky, project) == []


def alter(settings: Settings, change: str) -> None:
    with connect(settings) as client:
        client.command(f"ALTER TABLE events {change}")
