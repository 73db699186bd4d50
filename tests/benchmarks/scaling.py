"""``scaling``: a backlog of several partitions landed by one process, and by three that share the partitions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from infrastructure.local.stack import running_stack
from nervous_system.landed import wait_until_landed
from nervous_system.projects import ProjectName
from nervous_system.publisher import Publisher
from nervous_system.settings import Settings
from tests.benchmarks.material import events
from tests.benchmarks.report import Contender, compare

SINKS = ("clickhouse", "siphon", "ledger")
ALONE, SHARED = ("0-3",), ("0-1", "2", "3")
# Enough of them that every partition has some.
PROJECTS = [ProjectName("scaling", f"p{number}") for number in range(16)]
EVENTS_A_PROJECT = 5_000
STOP_TIMEOUT_S = 30.0


def run(folder: Path) -> None:
    """One sink after the other; each run lands a backlog of its own."""
    with running_stack(folder / "home", ["nats", "clickhouse", "s3"]) as settings:
        for sink in SINKS:
            three, one = (
                Contender(f"{len(spans)} × enchanted ingest {sink}", _count(), partial(_ready, settings, sink, spans))
                for spans in (SHARED, ALONE)
            )
            compare(
                f"scaling: {_count():,} waiting events of {len(PROJECTS)} projects in 4 partitions into {sink}, the "
                f"processes' start included, on {os.cpu_count()} cores",
                "events",
                [three],
                one,
            )


def _count() -> int:
    return len(PROJECTS) * EVENTS_A_PROJECT


def _ready(settings: Settings, sink: str, spans: Sequence[str]) -> Callable[[], None]:
    sequences = [_backlog(settings, project) for project in PROJECTS]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ENCHANTED_")}
    environment = {**clean, "ENCHANTED_HOME": str(settings.home), "ENCHANTED_SIPHON_ROLL_AGE_S": "1"}
    command = [sys.executable, "-m", "infrastructure.cli.main", "ingest", sink, "--partitions"]

    def work() -> None:
        processes = [subprocess.Popen([*command, span], env=environment, stderr=subprocess.DEVNULL) for span in spans]
        try:
            for sequence in sequences:
                wait_until_landed(settings, [sink], sequence)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(STOP_TIMEOUT_S)

    return work


def _backlog(settings: Settings, project: ProjectName) -> int:
    publisher = Publisher(settings, project)
    for event in events(EVENTS_A_PROJECT, project):
        publisher.put(event)
    publisher.flush()
    publisher.close()
    return publisher.last_sequence
