"""The embedded file gets smaller once bytes are in the archive, whoever else is at work, and whatever ends the work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from nervous_system.ledger.embedded import EmbeddedEngine
from nervous_system.ledger.ledger import Ledger
from replay.verification import Verification
from tests.contract import offload_worker
from tests.contract.cold import ColdFile
from tests.contract.hub import Hub
from tests.contract.offload_worker import data_of, rows
from tests.samples import PROJECT, event

REPOSITORY = Path(__file__).parents[2]
WORKER = Path(offload_worker.__file__)
ROOT = "reclaim"
EVENTS = 400
MESSAGES_AT_ONCE = 200
LIMIT_S = 60


@pytest.fixture(params=["new", "made before"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file that can get smaller, and one that must learn it first."""
    made = tmp_path / "ledger.sqlite"
    if request.param == "made before":
        EmbeddedEngine(made).close()
        connection = apsw.Connection(str(made))
        connection.execute("PRAGMA auto_vacuum = NONE; VACUUM")
        connection.close()
    return made


@pytest.fixture
def hub(path: Path) -> Iterator[Hub]:
    with tempfile.TemporaryFile() as file:
        archive = ColdFile(file)
        ledger = Ledger(EmbeddedEngine(path), ROOT, lambda: archive)
        hub = Hub(ledger, ROOT, archive=archive)
        messages = [hub.message(data_of(number)) for number in range(EVENTS)]
        for start in range(0, EVENTS, MESSAGES_AT_ONCE):
            hub.land(*messages[start : start + MESSAGES_AT_ONCE])
        yield hub
        ledger.close()


def work(path: Path, failpoint: str = "") -> int:
    """A process of its own that offloads all and gives room back; how it ended."""
    return subprocess.run(
        [sys.executable, str(WORKER), f"embedded://{path}", ROOT, str(EVENTS)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "ENCHANTED_FAILPOINT": failpoint},
        timeout=LIMIT_S,
        check=False,
    ).returncode


def check(hub: Hub) -> None:
    """Every event is there, as it was landed, and one more can be landed."""
    assert hub.data()[:EVENTS] == [data_of(number) for number in range(EVENTS)]
    assert hub.put(event(EVENTS + hub.sequence)).events == 1


def test_the_file_gets_smaller(hub: Hub, path: Path) -> None:
    hub.ledger.reclaim()
    before = path.stat().st_size
    offloaded = hub.ledger.offload(PROJECT, rows(EVENTS))
    assert offloaded.events == EVENTS
    assert offloaded.bytes_freed > EVENTS * offload_worker.CONTENT_BYTES
    reclaimed = hub.ledger.reclaim()
    assert path.stat().st_size <= before - reclaimed
    assert reclaimed > offloaded.bytes_freed // 2
    assert hub.ledger.reclaim() == 0
    check(hub)
    assert list(Verification(hub.history(), hub.ledger.audit(PROJECT)).faults()) == []


@pytest.mark.parametrize("failpoint", ["after-offload:1", "after-offload:3", "after-reclaim:1"])
def test_killed_it_is_done_the_next_time(hub: Hub, path: Path, failpoint: str) -> None:
    assert work(path, failpoint) == -signal.SIGKILL
    check(hub)
    assert work(path) == 0
    check(hub)
    assert hub.ledger.offload(PROJECT, rows(EVENTS)).bytes_freed == 0


def test_others_read_and_land_meanwhile(hub: Hub, path: Path) -> None:
    worker = subprocess.Popen(
        [sys.executable, str(WORKER), f"embedded://{path}", ROOT, str(EVENTS)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    try:
        while worker.poll() is None:
            assert hub.data()[:EVENTS] == [data_of(number) for number in range(EVENTS)]
            assert hub.put(event(EVENTS + hub.sequence)).events == 1
        assert worker.returncode == 0
    finally:
        worker.kill()
        worker.wait(LIMIT_S)
    check(hub)
