"""What was recorded is in the ledger once and in order, however often the syncer is killed."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from infrastructure.local.site import Launch
from infrastructure.local.stack import running_stack
from tests.chaos.victims import Rhythm, Victim
from tests.integration.stack_process import StackCommands
from tests.integration.sync_worker import POINTS
from tests.integration.syncing import Edge

# Each ends by SIGKILL, from outside or at a named point.
LIVES = 100
SYNCER_RHYTHM = Rhythm((0.4, 1.2), (0.0, 0.2))
SERVER_KILLS = 4
TORMENT_LIMIT_S = 600.0
PROJECTS = 3


def test_a_syncer_killed_a_hundred_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(10**9))
    monkeypatch.setenv("ENCHANTED_BATCH_MAX_AGE_S", "0.05")
    with capsys.disabled(), running_stack(tmp_path / "home", ["nats", "ingest-ledger"]) as settings:
        print(f"\nCHAOS_SEED={seed}")
        edges = [Edge.of(settings, tmp_path) for _ in range(PROJECTS)]
        victim = Victim("syncer", lambda life: launch(edges[0], life, seed), tmp_path / "syncer.log", SYNCER_RHYTHM)
        over = threading.Event()
        recorders = [threading.Thread(target=record, args=(edge, over, f"{seed}/{edge.project}")) for edge in edges]
        for recorder in recorders:
            recorder.start()
        victim.start()
        victim.torment(seed, over)
        try:
            torment(victim, StackCommands(settings.home))
        finally:
            over.set()
            victim.rest()
            for recorder in recorders:
                recorder.join()
            victim.stop()
        with edges[0].watched():
            for edge in edges:
                edge.await_landed()
                edge.await_covered()
        recorded = sum(len(edge.recorded()) for edge in edges)
        print(f"  the syncer was killed {LIVES} times, {victim.kills} of them from outside; {recorded:,} events")


def torment(victim: Victim, server: StackCommands) -> None:
    """Waits until there were enough lives; the server dies now and then, too."""
    deadline_s = time.monotonic() + TORMENT_LIMIT_S
    pause = threading.Event()
    kills = 0
    while victim.lives <= LIVES:
        assert time.monotonic() < deadline_s, "the syncer was not killed often enough"
        if victim.lives * SERVER_KILLS // LIVES > kills:
            kills += 1
            os.kill(server.pid("nats"), signal.SIGKILL)
        pause.wait(0.2)


def record(edge: Edge, over: threading.Event, seed: str) -> None:
    """An agent at work."""
    chance = random.Random(seed)
    while not over.wait(chance.uniform(0.0, 0.5)):
        edge.record(chance.randint(1, 300), large=chance.random() < 0.1)


def launch(edge: Edge, life: int, seed: int) -> Launch:
    """Every second life ends by itself at a named point; the others are killed from outside."""
    chance = random.Random(f"{seed}/{life}")
    own = ("-m", "tests.integration.sync_worker", chance.choice(POINTS), str(chance.randint(1, 3)))
    command = edge.command()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ENCHANTED_")}
    environment = {**clean, "ENCHANTED_HOME": str(command.home), **command.variables}
    module = own if life % 2 else ("-m", "infrastructure.cli.main")
    return Launch((sys.executable, *module, "sync", "--watch"), environment, Path(__file__).parents[2])
