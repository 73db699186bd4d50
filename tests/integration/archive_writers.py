"""Processes that write to one bucket at the same instants, and tell what they wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.manifest import Change
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.state import ArchiveState
from nervous_system.landing import Cursor
from nervous_system.settings import Settings
from tests.archives import entry
from tests.samples import STREAM

ROUNDS, ROUND_S, RACERS = 120, 0.06, 4
THREADS, CHANGES = 2, 25
# Until all processes have their clients.
STARTING_S = 8.0


def adding(number: int) -> Callable[[ArchiveState], Change]:
    """Adds file ``number``, and counts in the cursor how many were added."""

    def make(state: ArchiveState) -> Change:
        moved = {(STREAM, 0): Cursor(state.cursor(STREAM, 0).sequence + 1, number)}
        return Change((entry(number),), (), moved)

    return make


def run(what: str, each: Sequence[tuple[Settings, float]]) -> list[list[list[str]]]:
    """Runs a process for each of the settings, given a number, and gives what they printed."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.integration.archive_writers", what, str(number)],
            env={
                **os.environ,
                "ENCHANTED_HOME": str(settings.home),
                "ENCHANTED_S3_BUCKET": settings.s3_bucket,
                "ENCHANTED_S3_ENDPOINT": settings.s3_endpoint,
            },
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
        )
        for settings, number in each
    ]
    told = [writer.communicate(timeout=150)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * len(writers)
    return [json.loads(text) for text in told]


def race(store: ObjectStore, start_s: float) -> list[list[str]]:
    """Tries to be the first at each of the names, at the same instants as everybody else; the names won, and bodies."""
    won: list[list[str]] = []

    def run(thread: int) -> None:
        for number in range(ROUNDS):
            time.sleep(max(0.0, start_s + number * ROUND_S - time.time()))
            body = f"{os.getpid()} {thread} {number}"
            if store.put_new(f"race/{number}", body.encode()):
                won.append([f"race/{number}", body])

    with ThreadPoolExecutor(RACERS) as threads:
        list(threads.map(run, range(RACERS)))
    return won


def append(store: ObjectStore, writer: int) -> list[list[str]]:
    """Appends changes of its own to the archive's log from several threads, one of which shares a log."""
    shared = ArchiveLog(store)

    def run(thread: int) -> None:
        log = ArchiveLog(store) if thread == 0 else shared
        for number in range(CHANGES):
            log.append(adding((writer * THREADS + thread) * CHANGES + number))

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(run, range(THREADS)))
    return []


def _main(what: str, number: str) -> None:
    store = ObjectStore(Settings.load())
    store.check()
    print(json.dumps(race(store, float(number)) if what == "race" else append(store, int(float(number)))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
