"""Several processes for one sink: they share the partitions, or get in each other's way without harm."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from nats.js import JetStreamContext

from nervous_system import subjects
from nervous_system.projects import ProjectName
from nervous_system.publisher import Publisher
from nervous_system.settings import Settings
from nervous_system.subjects import StoredSubject
from tests.chaos import holdings
from tests.chaos.holdings import Holdings
from tests.integration.command import Enchanted
from tests.integration.stack_process import wait_until
from tests.integration.submitting import on_log
from tests.samples import event

# Killed, or started and stopped, again and again: behind `make chaos`.
pytestmark = pytest.mark.slow

STORES = {"ledger": holdings.in_ledger, "clickhouse": holdings.in_clickhouse, "siphon": holdings.in_archive}
PROJECTS = 8
EVENTS = 60
STOP_LIMIT_S = 30.0

Sent = Mapping[str, list[str]]
Start = Callable[..., subprocess.Popen[str]]
_numbers = itertools.count(1)


@pytest.fixture
def projects() -> list[ProjectName]:
    """Projects that no other test writes to, enough to be in several partitions."""
    return [ProjectName("scale", f"p{next(_numbers)}-{random.randrange(10**9)}") for _ in range(PROJECTS)]


@pytest.fixture
def start(servers: Settings, tmp_path: Path) -> Iterator[Start]:
    """Starts ``enchanted ingest`` processes, each at work when it is given back; stops those that still run."""
    command = Enchanted(servers.home, {"ENCHANTED_SIPHON_ROLL_AGE_S": "0.3", "ENCHANTED_BATCH_MAX_AGE_S": "0.05"})
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        health = tmp_path / f"{len(started)}.json"
        started.append(command.start("ingest", *arguments, ENCHANTED_HEALTH_FILE=str(health)))
        wait_until(health.exists, f"process {len(started)} at work")
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def send(settings: Settings, project: ProjectName, first: int) -> list[str]:
    """Sends some events in messages of two; gives their names."""
    publisher = Publisher(settings, project)
    events = [event(number, project).SerializeToString() for number in range(first, first + EVENTS)]
    for one, other in zip(events[::2], events[1::2], strict=True):
        publisher.put(one)
        publisher.put(other)
        publisher.flush()
    publisher.close()
    return [sha256(data).hexdigest() for data in events]


def send_all(settings: Settings, projects: list[ProjectName], first: int = 0) -> Sent:
    """Some events for all projects, several of them at a time."""
    with ThreadPoolExecutor(4) as pool:
        names = pool.map(lambda project: send(settings, project, first), projects)
        return dict(zip(map(str, projects), names, strict=True))


def holds_all(settings: Settings, sink: str, sent: Sent) -> bool:
    try:
        held = STORES[sink](settings)
    except holdings.AWAY:
        return False
    return all(set(names) <= set(held.get(project, ())) for project, names in sent.items())


def check(held: Holdings, sent: Sent) -> None:
    """Nothing lost, doubled, invented or out of order."""
    assert {project: held[project] for project in sent} == sent


def stop(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        out, err = process.communicate(timeout=STOP_LIMIT_S)
        assert process.returncode == 0, out + err


def partitions_of(settings: Settings, projects: list[ProjectName]) -> set[int]:
    async def find(context: JetStreamContext) -> set[int]:
        found = set()
        for project in projects:
            filtered = subjects.anywhere(project, subjects.EVENTS)
            message = await context.get_msg(settings.stream, seq=1, subject=filtered, next=True)
            found.add(StoredSubject.parse(str(message.subject)).partition)
        return found

    return on_log(settings, find)


@pytest.mark.parametrize("sink", STORES)
def test_two_processes_on_the_same_partitions_do_no_harm(
    servers: Settings, projects: list[ProjectName], start: Start, sink: str
) -> None:
    workers = [start(sink), start(sink)]
    sent = send_all(servers, projects)
    wait_until(lambda: holds_all(servers, sink, sent), f"all events in the store of {sink}")
    assert [worker.poll() for worker in workers] == [None, None]
    stop(*workers)
    check(STORES[sink](servers), sent)


def test_three_processes_share_the_partitions(servers: Settings, projects: list[ProjectName], start: Start) -> None:
    """And hand two over while events come: their process is stopped, others take them."""
    sink = "clickhouse"
    leaving, *staying = [start(sink, "--partitions", span) for span in ("0-1", "2", "3")]
    first = send_all(servers, projects)
    assert len(partitions_of(servers, projects)) > 1
    wait_until(lambda: holds_all(servers, sink, first), f"the first events in the store of {sink}")
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send_all, servers, projects, first=10_000)
        stop(leaving)
        staying += [start(sink, "--partitions", "0"), start(sink, "--partitions", "1")]
        second = sending.result()
    sent = {project: names + second[project] for project, names in first.items()}
    wait_until(lambda: holds_all(servers, sink, sent), f"all events in the store of {sink}")
    stop(*staying)
    check(STORES[sink](servers), sent)
