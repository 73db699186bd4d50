"""Messages sent as anyone could, workers that land them, and what ``enchanted dlq`` says, for tests."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from infrastructure.cli.main import cli
from ingestors.pump import PartitionWorker
from ingestors.sink import Sink
from nervous_system import bus, subjects
from nervous_system.events import encode_batch, uuid7
from nervous_system.landed import wait_until_landed
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.subjects import StoredSubject
from tests.integration.command import Enchanted
from tests.integration.submitting import on_log


def new_project() -> ProjectName:
    """A project that no other test writes to."""
    return ProjectName("dead", f"p{random.randrange(10**12)}")


@dataclass(frozen=True, slots=True)
class Sent:
    """Where the log has what was sent, and what of it is to be refused."""

    sequence: int
    index: int | None
    data: bytes


def send(settings: Settings, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> int:
    """Publishes one message as anyone could; gives its sequence."""

    async def run(context: Any) -> int:
        await bus.ensure_stream(context, settings)
        return int((await bus.publish(context, subject, payload, uuid7(1), headers)).seq)

    return on_log(settings, run)


def send_events(settings: Settings, project: ProjectName, events: Sequence[bytes]) -> int:
    return send(settings, subjects.published(project, subjects.EVENTS), encode_batch(list(events)))


def run_workers(settings: Settings, sinks: Sequence[str], sequence: int) -> None:
    """Runs ``enchanted ingest`` of each sink until it has landed the message at ``sequence``."""
    workers = [start_worker(settings, sink) for sink in sinks]
    try:
        wait_until_landed(settings, sinks, sequence)
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.communicate(timeout=30)


def partition_of(settings: Settings, sequence: int) -> int:
    async def read(context: Any) -> int:
        message = await context.get_msg(settings.stream, seq=sequence)
        return StoredSubject.parse(str(message.subject)).partition

    return on_log(settings, read)


def land(settings: Settings, sink: Sink, sequence: int) -> None:
    """Runs a worker in this process until ``sink``, which is open, has landed the message at ``sequence``."""
    partition = partition_of(settings, sequence)

    async def run(context: Any) -> None:
        stream, stopping = bus.identity(await context.stream_info(settings.stream)), asyncio.Event()
        worker = PartitionWorker(context, stream, partition, sink, stopping)
        running = asyncio.create_task(worker.run())
        try:
            await asyncio.to_thread(wait_until_landed, settings, [sink.name], sequence)
        finally:
            stopping.set()
            await running

    on_log(settings, run)


def start_worker(settings: Settings, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    quick = {"ENCHANTED_SIPHON_ROLL_AGE_S": "0.3", "ENCHANTED_BATCH_MAX_AGE_S": "0.05"}
    return Enchanted(settings.home, quick).start("ingest", *arguments, **variables)


def dlq(settings: Settings, *arguments: str, code: int = 0) -> bytes:
    """What ``enchanted dlq`` prints on stdout when it ends with ``code``."""
    done = CliRunner(env={"ENCHANTED_HOME": str(settings.home)}).invoke(cli, ["dlq", *arguments])
    assert done.exit_code == code, (arguments, done.output, done.exception)
    return done.stdout_bytes


def listed(settings: Settings, project: ProjectName, *arguments: str) -> list[dict[str, Any]]:
    lines = dlq(settings, "list", "--json", "--project", str(project), *arguments).splitlines()
    return [json.loads(line) for line in lines]
