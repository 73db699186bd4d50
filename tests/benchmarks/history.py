"""``history``: what a restore costs as the history grows, in time and in memory."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from nervous_system.contract import FILE_MODE, Operation, StateChange, SwarmEvent
from nervous_system.events import content_hash
from nervous_system.ledger.ledger import Ledger
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from nervous_system.textdiff import unified_diff
from replay.keeping import Keeper
from tests.benchmarks.material import PROJECT, batches, file_event, finished, log_messages
from tests.benchmarks.report import Contender, compare
from tests.benchmarks.restore import _whole as restoring

FILES = 250
LINES = 60
CHANGES = 1_000
GROWTH = (1, 10, 100)

# Runs the command line, then prints the kernel's own line of its peak, in kB.
MEASURED = """
from infrastructure.cli.main import run
assert run() == 0
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def run(folder: Path) -> None:
    """The same number of files, after 1, 10 and 100 times as many changes of them."""
    settings = {growth: _grown(folder / f"times-{growth}", growth * CHANGES) for growth in GROWTH}
    contenders = [
        Contender(f"after {growth * CHANGES:>7,} changes", FILES, partial(restoring, settings[growth]))
        for growth in GROWTH
    ]
    compare(f"history: {FILES:,} files restored as they are now", "files", contenders[1:], contenders[0], rounds=5)
    print("\nhistory: memory of `enchanted restore` at its peak")
    for growth in GROWTH:
        print(f"  after {growth * CHANGES:>7,} changes {_peak_memory_mb(settings[growth]):>60.0f} MB")


def _grown(home: Path, changes: int) -> Settings:
    home.mkdir()
    settings = Settings(home=home, ledger=f"embedded://{home}/ledger.sqlite")
    ledger = Ledger.open(settings)
    messages = log_messages(list(_events(changes)), 500)
    for batch in batches(messages, 1, StreamIdentity("SWARM", 1)):
        ledger.land("ledger", batch)
    Keeper(ledger.history(PROJECT), ledger.snapshots(PROJECT)).advance()
    ledger.close()
    return settings


def _events(changes: int) -> Iterator[bytes]:
    """Each file as it was made, then changes of a line of one of them, as diffs."""
    chance = random.Random(1)
    files = {f"folder_{number % 20}/file_{number}": _text(chance) for number in range(FILES)}
    yield from (file_event(path, content) for path, content in files.items())
    for number in range(changes):
        path = chance.choice(list(files))
        lines = files[path].splitlines(keepends=True)
        lines[chance.randrange(LINES)] = b"line %d of this history\n" % number
        before, files[path] = files[path], b"".join(lines)
        yield _change(path, before, files[path])


def _change(path: str, before: bytes, after: bytes) -> bytes:
    change = StateChange(
        target_resource=path,
        operation=Operation.OPERATION_MODIFY,
        mode=FILE_MODE,
        diff_patch=unified_diff(before, after) or "",
        previous_state_hash=content_hash(before),
        new_state_hash=content_hash(after),
    )
    return finished(SwarmEvent(state_change=change))


def _text(chance: random.Random) -> bytes:
    return b"".join(b"line %d\n" % chance.randrange(1_000_000) for _ in range(LINES))


def _peak_memory_mb(settings: Settings) -> float:
    """The highest resident size of a process of its own; what ``wait4`` tells has this process's in it."""
    target = settings.home / "measured"
    environment = {**os.environ, "ENCHANTED_HOME": str(settings.home), "ENCHANTED_LEDGER": settings.ledger}
    command = [sys.executable, "-c", MEASURED, "restore", str(PROJECT), str(target)]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    shutil.rmtree(target)
    return int(printed.split()[-2]) / 1024
