"""The drill of ``make chaos`` in small: log, ClickHouse and ledger are destroyed, and all comes back."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.drill import drill


def test_every_moment_comes_back_from_the_archive(tmp_path: Path) -> None:
    drill(tmp_path, projects=1, steps=40, rounds=[("nats", "clickhouse", "ledger")], kills=1, seed=7)
