"""The promise under kills: what producers were told is kept is in every store, once and in order, and nothing else."""

from __future__ import annotations

import os
import random
import threading
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from nervous_system.errors import EnchantedError
from nervous_system.settings import Settings
from tests.chaos import holdings, journal
from tests.chaos.holdings import Holdings
from tests.chaos.journal import Told
from tests.chaos.pipeline import PROJECTS, Pipeline, running_pipeline
from tests.chaos.verdict import judge

LEAST_KILLS = 120
LEAST_KILLS_EACH = 3
LEAST_ACKNOWLEDGED = 1_000
TORMENT_LIMIT_S = 240.0
LANDING_LIMIT_S = 120.0
POLL_S = 0.5

STORES: dict[str, Callable[[Settings], Holdings]] = {
    "ledger": holdings.in_ledger,
    "clickhouse": holdings.in_clickhouse,
    "archive": holdings.in_archive,
}


def test_kills_lose_double_invent_and_misplace_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(10**9))
    with capsys.disabled():
        print(f"\nCHAOS_SEED={seed}")
        with running_pipeline(tmp_path, seed) as pipeline:
            torment(pipeline, seed)
            told = {project: journal.read(pipeline.journals(project)) for project in PROJECTS}
            assert sum(len(each.acknowledged) for each in told.values()) >= LEAST_ACKNOWLEDGED
            held = {name: settled(name, pipeline.settings, told) for name in STORES}
            report(pipeline, told, held)
        verdicts = {(name, project): judge(told[project], held[name][project]) for name in STORES for project in told}
        bad = [f"{project} in {name}: {verdict}" for (name, project), verdict in verdicts.items() if not verdict.good]
        print("  lost, doubled, invented or misplaced:", "; ".join(bad) or "none")
    assert bad == [], f"CHAOS_SEED={seed}"
    assert all(set(held[name]) == set(told) for name in STORES)


def torment(pipeline: Pipeline, seed: int) -> None:
    """Kills until there were enough kills; then lets the producers finish, all servers and ingestors running."""
    everyone, over = (*pipeline.victims, *pipeline.producers), threading.Event()
    for victim in everyone:
        victim.torment(seed, over)
    deadline_s = time.monotonic() + TORMENT_LIMIT_S
    hunted = [victim for victim in pipeline.victims if victim.rhythm is not None]
    while sum(victim.kills for victim in hunted) < LEAST_KILLS or min(v.kills for v in hunted) < LEAST_KILLS_EACH:
        assert time.monotonic() < deadline_s, "the processes were not killed often enough"
        over.wait(POLL_S)
    over.set()
    for victim in everyone:
        victim.rest()
    pipeline.stop_file.touch()
    for producer in pipeline.producers:
        assert producer.process is not None
        assert producer.process.wait(LANDING_LIMIT_S) == 0, f"{producer.name} failed: see {producer.log}"


def settled(name: str, settings: Settings, told: dict[str, Told]) -> Holdings:
    """What a store holds once it has each project's last acknowledged event, before which all others must stand."""
    deadline_s = time.monotonic() + LANDING_LIMIT_S
    pause = threading.Event()
    held: Holdings = {}
    while not all(each.acknowledged[-1] in held.get(project, ()) for project, each in told.items()):
        assert time.monotonic() < deadline_s, f"{name} does not have the last events after {LANDING_LIMIT_S:.0f} s"
        pause.wait(POLL_S)
        try:
            held = STORES[name](settings)
        except (EnchantedError, OSError, urllib.error.URLError, BotoCoreError, ClientError) as error:
            print(f"{name} does not answer yet: {error}")
    return held


def report(pipeline: Pipeline, told: dict[str, Told], held: dict[str, Holdings]) -> None:
    """Prints what was killed and what is where."""
    for victim in (*pipeline.victims, *pipeline.producers):
        print(f"  {victim.name:<22} killed {victim.kills:3} times")
    acknowledged = sum(len(each.acknowledged) for each in told.values())
    print(f"  {acknowledged:,} events acknowledged, {sum(len(each.unknown) for each in told.values()):,} unknown")
    for name, projects in held.items():
        print(f"  {name:<12} holds {sum(map(len, projects.values())):,}")
    print(f"  {'(its table':<12} has {holdings.rows_in_table(pipeline.settings):,} rows below the view)")
