"""A siphon on a bucket of its own, batches for it, and a process that lands or merges until it is killed."""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ingestors.siphon import SiphonSink
from ingestors.siphon.compaction import Compacted, Compactor
from ingestors.siphon.workspace import Workspace
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.state import ArchiveState
from nervous_system.failpoints import VARIABLE
from nervous_system.landing import Batch
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from tests.samples import BEGAN_US, batch, event, message, part, write

PROJECTS = [ProjectName(tenant, project) for tenant in ("acme", "beta", "gamma") for project in ("shop", "site")]
PARTS = (b"first part", b"second part")
_buckets = itertools.count(1)


def own_bucket(servers: Settings, folder: Path) -> Settings:
    """Settings with a bucket that nobody else uses, and without merging by itself."""
    name = f"siphon-{os.getpid()}-{next(_buckets)}"
    return replace(servers, s3_bucket=name, siphon_folder=str(folder), siphon_compact_every_s=0.0)


def batches(count: int, partition: int = 0, days: int = 1, messages: int = 6) -> list[Batch]:
    """Batches that follow each other, of events of several tenants, spread over some days long ago."""
    numbers = itertools.count(1 + 1_000_000 * partition)
    found, sequence = [], 0
    for number in range(count):
        after, made = sequence, []
        for _ in range(messages):
            sequence += 1
            project = PROJECTS[(sequence + partition) % len(PROJECTS)]
            recorded_us = BEGAN_US + sequence * 1_000 + (number * days // count) * 86_400_000_000
            events = [
                event(next(numbers), project, state_change=write(f"file{sequence}", b"x" * sequence)) for _ in range(2)
            ]
            made.append(message(sequence, events, project, recorded_us=recorded_us))
        found.append(batch(*made, after=after, partition=partition))
    return found


def with_parts(first: Batch) -> Batch:
    """The same batch behind two parts of a large content."""
    shifted = tuple(replace(each, sequence=each.sequence + len(PARTS)) for each in first.messages)
    parts = (replace(part(number, data), recorded_us=BEGAN_US) for number, data in enumerate(PARTS, 1))
    return replace(first, messages=(*parts, *shifted))


@contextmanager
def opened(settings: Settings) -> Iterator[SiphonSink]:
    """A sink for the length of a ``with`` block."""
    sink = SiphonSink(settings)
    try:
        sink.open()
        yield sink
    finally:
        sink.close()


@functools.cache
def store_of(settings: Settings) -> ObjectStore:
    """The bucket; one client a test, since to make one takes long."""
    return ObjectStore(settings)


def state_of(settings: Settings) -> ArchiveState:
    """The archive as anyone finds it."""
    return ArchiveLog(store_of(settings)).state()


def compact(settings: Settings, target_bytes: int = 10_000_000) -> Compacted:
    """Merges what there is to merge."""
    store = store_of(settings)
    workspace = Workspace(settings.siphon_files)
    try:
        return Compactor(store, ArchiveLog(store), workspace, target_bytes, threading.Event()).run()
    finally:
        workspace.close()


def run_until(failpoint: str, settings: Settings, what: str, numbers: Sequence[int] = ()) -> int:
    """What a process that lands those of ``batches(4)`` or merges ends with, told to die at ``failpoint``."""
    environment = {
        **os.environ,
        "ENCHANTED_HOME": str(settings.home),
        "ENCHANTED_S3_BUCKET": settings.s3_bucket,
        "ENCHANTED_SIPHON_FOLDER": settings.siphon_folder,
        "ENCHANTED_SIPHON_COMPACT_EVERY_S": "0",
        VARIABLE: failpoint,
    }
    command = [sys.executable, "-m", "tests.integration.siphoning", what, *map(str, numbers)]
    return subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], timeout=120, check=False).returncode


def _main(what: str, *numbers: str) -> None:
    settings = Settings.load()
    if what == "compact":
        compact(settings)
        return
    with opened(settings) as sink:
        made = batches(4)
        for number in map(int, numbers):
            sink.land(with_parts(made[0]) if what == "parts" else made[number])


if __name__ == "__main__":
    _main(*sys.argv[1:])
