"""Several processes on one ledger: no lost update, one order, waking each other, and death at any moment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.contract.conftest import END, Space
from tests.contract.engine_worker import KEYS_OF_A_BATCH

REPOSITORY = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("engine_worker.py")
LIMIT_S = 60


@contextmanager
def started(address: str, prefix: bytes, command: str, number: int) -> Iterator[subprocess.Popen[str]]:
    """A worker, which is dead when the block ends."""
    process = subprocess.Popen(
        [sys.executable, str(WORKER), address, prefix.hex(), command, str(number)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=LIMIT_S)


def run_side_by_side(address: str, space: Space, command: str, number: int, processes: int) -> list[str]:
    """What each of several workers printed."""
    if processes == 0:
        return []
    with started(address, space.prefix, command, number) as process:
        others = run_side_by_side(address, space, command, number, processes - 1)
        output, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0
        return [output, *others]


def output_of(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def test_no_update_is_lost(address: str, space: Space) -> None:
    run_side_by_side(address, space, "increment", 50, processes=3)
    assert space.read(b"n") == b"150"


def test_additions_add_up(address: str, space: Space) -> None:
    run_side_by_side(address, space, "add", 50, processes=3)
    assert space.read(b"n") == (150).to_bytes(8, "little")


def test_versionstamps_ascend_across_processes(address: str, space: Space) -> None:
    outputs = [output.split() for output in run_side_by_side(address, space, "stamps", 50, processes=3)]
    assert all(stamps == sorted(set(stamps)) for stamps in outputs)
    together = sorted(stamp for stamps in outputs for stamp in stamps)
    assert len(set(together)) == 150
    assert [key[:10].hex() for key, _ in space.everything()] == together


def test_a_watch_wakes_another_process(address: str, space: Space) -> None:
    with started(address, space.prefix, "watch", LIMIT_S) as process:
        assert output_of(process).readline() == "watching\n"
        space.put(w=b"1")
        assert output_of(process).readline() == "True\n"


def test_killed_while_committing_leaves_whole_commits(address: str, space: Space) -> None:
    following = 1
    for round_number in range(5):
        with started(address, space.prefix, "batches", following) as process:
            landed = [int(output_of(process).readline()) for _ in range(5 + 3 * round_number)]
            # Into the midst of a commit, at a different place each time.
            give_up_at = time.monotonic() + 0.0007 * round_number
            while time.monotonic() < give_up_at:
                pass
            process.kill()
            landed += [int(line) for line in output_of(process).read().split()]
        found = [key for key, _ in space.everything()]
        last = len(found) // KEYS_OF_A_BATCH
        assert landed == list(range(following, landed[-1] + 1))
        # What was acknowledged is there, and at most the one commit that was under way besides.
        assert landed[-1] <= last <= landed[-1] + 1
        assert found == [b"%08d/%02d" % (n, part) for n in range(1, last + 1) for part in range(KEYS_OF_A_BATCH)]
        following = last + 1
    assert space.begin().get_range(b"", END, limit=1)
