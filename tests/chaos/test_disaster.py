"""Disasters under load: whatever is destroyed beside the archive and the outboxes comes back, every moment the same."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.chaos.drill import drill

ROUNDS = (("ledger",), ("clickhouse", "ledger"), ("nats", "clickhouse", "ledger"), ("nats", "clickhouse", "ledger"))


def test_every_moment_comes_back_from_the_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(10**9))
    with capsys.disabled():
        print(f"\nCHAOS_SEED={seed}")
        drill(tmp_path, projects=4, steps=400, rounds=ROUNDS, kills=6, seed=seed)
