"""Landing under kills: what producers were told was kept is in every store, once, in order."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from nats.js.errors import NotFoundError

from infrastructure.local.stack import running_stack
from nervous_system import bus, subjects
from nervous_system.contract import SwarmEvent, SystemSignal
from nervous_system.events import encode_batch, now_us, set_occurred, uuid7
from nervous_system.landed import wait_until_landed
from nervous_system.projects import ProjectName
from nervous_system.publisher import Publisher
from nervous_system.settings import Settings
from tests.integration.command import Enchanted
from tests.integration.stack_process import StackCommands, wait_until
from tests.integration.stores import in_archive, in_clickhouse, in_ledger

SINKS = {"ledger": in_ledger, "clickhouse": in_clickhouse, "siphon": in_archive}
_numbers = itertools.count(1)


@pytest.fixture
def project() -> ProjectName:
    """A project that no other test writes to."""
    return ProjectName("pump", f"p{next(_numbers)}-{random.randrange(10**9)}")


def signal_event(project: ProjectName, number: int) -> bytes:
    event = SwarmEvent(
        event_id=uuid7(now_us() // 1_000),
        agent_id="tester",
        tenant_id=project.tenant,
        project_id=project.project,
        agent_sequence=number,
        system_signal=SystemSignal(detail=f"signal {number}"),
    )
    set_occurred(event, now_us())
    return event.SerializeToString()


def publish(settings: Settings, project: ProjectName, count: int, batch: int = 10) -> tuple[list[bytes], int]:
    """Publishes events in small batches; returns them and the last sequence once all are acknowledged."""
    publisher = Publisher(settings, project)
    events = [signal_event(project, number) for number in range(1, count + 1)]
    for start in range(0, count, batch):
        for event in events[start : start + batch]:
            publisher.put(event)
        publisher.flush()
    publisher.close()
    return events, publisher.last_sequence


@pytest.fixture
def ingestor(servers: Settings) -> Iterator[Callable[..., object]]:
    """Starts ``enchanted ingest`` processes; stops those that still run."""
    command = Enchanted(servers.home, {"ENCHANTED_SIPHON_ROLL_AGE_S": "0.3", "ENCHANTED_BATCH_MAX_AGE_S": "0.05"})
    started = []

    def start(*arguments: str) -> object:
        process = command.start("ingest", *arguments)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


@pytest.mark.parametrize("sink", SINKS)
def test_a_worker_killed_again_and_again_lands_everything_once_and_in_order(
    servers: Settings, project: ProjectName, ingestor: Callable[..., object], sink: str
) -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    events: list[bytes] = []
    sequence = 0
    for _ in range(4):
        worker = ingestor(sink)
        more, sequence = publish(servers, project, 150)
        events += more
        try:
            worker.wait(timeout=chance.uniform(0.3, 1.5))  # type: ignore[attr-defined]
        except Exception:
            worker.kill()  # type: ignore[attr-defined]
    ingestor(sink)
    wait_until_landed(servers, [sink], sequence)
    assert SINKS[sink](servers, project) == events


def test_what_cannot_be_landed_is_buried_with_its_reason_and_the_rest_lands(
    servers: Settings, project: ProjectName, ingestor: Callable[..., object]
) -> None:
    good = signal_event(project, 1)
    stranger = signal_event(ProjectName("someone", "else"), 1)
    last = signal_event(project, 2)

    async def send() -> int:
        client = await bus.connect(servers)
        context = client.jetstream()
        await bus.ensure_stream(context, servers)
        subject = subjects.published(project, subjects.EVENTS)
        await bus.publish(context, subject, b"\xff\xff not protobuf", uuid7(1))
        await bus.publish(context, subject, encode_batch([good, stranger]), uuid7(2))
        acknowledgement = await bus.publish(context, subject, encode_batch([last]), uuid7(3))
        await client.close()
        return acknowledgement.seq

    async def buried(code: str) -> list[bytes]:
        client = await bus.connect(servers)
        context = client.jetstream()
        info = await context.stream_info(subjects.DEAD_LETTER_STREAM)
        found = []
        for number in range(info.state.first_seq, info.state.last_seq + 1):
            with contextlib.suppress(NotFoundError):  # another test may have dropped it
                message = await context.get_msg(subjects.DEAD_LETTER_STREAM, seq=number)
                if (message.headers or {}).get("Enchanted-Reason-Code") == code:
                    found.append(message.data or b"")
        await client.close()
        return found

    sequence = asyncio.run(send())
    ingestor("ledger")
    wait_until_landed(servers, ["ledger"], sequence)
    assert in_ledger(servers, project) == [good, last]
    assert b"\xff\xff not protobuf" in asyncio.run(buried("undecodable"))
    assert stranger in asyncio.run(buried("wrong_project"))


def test_a_server_that_restarts_is_waited_for(tmp_path: Path, project: ProjectName) -> None:
    home = tmp_path / "home"
    with running_stack(home, ["nats", "ingest-ledger"]) as settings:
        before, _ = publish(settings, project, 40)
        stack = StackCommands(home)
        # The supervisor starts the server again; the worker reconnects by itself.
        os.kill(stack.pid("nats"), signal.SIGKILL)
        answers: list[str] = []
        try:
            wait_until(lambda: is_healthy(stack, answers), "every component healthy again")
        except AssertionError as error:
            raise AssertionError(f"{error}; the last answer was\n{answers[-1]}") from error
        after, sequence = publish(settings, project, 40)
        wait_until_landed(settings, ["ledger"], sequence)
        assert in_ledger(settings, project) == before + after


def test_a_stream_made_with_other_partitions_is_refused(servers: Settings, ingestor: Callable[..., object]) -> None:
    publish(servers, ProjectName("pump", "first"), 1)
    wrong = Enchanted(servers.home, {"ENCHANTED_PARTITIONS": str(servers.partitions + 1)})
    assert "ENCHANTED_PARTITIONS" in wrong.refuse("ingest", "ledger")
    with pytest.raises(Exception, match="ENCHANTED_PARTITIONS"):
        Publisher(replace(servers, partitions=servers.partitions + 1), ProjectName("pump", "first"))


def is_healthy(stack: StackCommands, answers: list[str]) -> bool:
    done = stack.run("status")
    answers.append(done.stdout)
    return done.returncode == 0
