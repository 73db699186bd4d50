"""``import``: commits of a git history recorded and landed a second."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from infrastructure.local.stack import running_stack
from tests.benchmarks.report import ROUNDS, Contender, compare

OWN_REPOSITORY = Path(__file__).resolve().parents[2]
PARTS = ("nats", "clickhouse", "ingest-ledger", "ingest-clickhouse")
MANY_COMMITS = 2_000

_numbers = itertools.count()


def run(folder: Path) -> None:
    """The repository in BENCH_REPO, or this one; a short history mostly measures the start of a process."""
    repository = Path(os.environ.get("BENCH_REPO") or OWN_REPOSITORY).resolve()
    counted = ["git", "-C", str(repository), "rev-list", "--count", "--first-parent", "HEAD"]
    commits = int(subprocess.run(counted, check=True, capture_output=True, text=True).stdout)
    home = folder / "home"
    with running_stack(home, PARTS):
        compare(
            f"import: {repository.name}, {commits:,} commits by first parents",
            "commits",
            [
                Contender(
                    "enchanted import git, until ledger and ClickHouse have all",
                    commits,
                    lambda: _import(home, repository),
                ),
                Contender(
                    "enchanted import git --no-wait, until the log has all",
                    commits,
                    lambda: _import(home, repository, "--no-wait"),
                ),
            ],
            Contender("git log -p --first-parent > /dev/null", commits, lambda: _log(repository)),
            rounds=ROUNDS if commits <= MANY_COMMITS else 1,
        )


def _import(home: Path, repository: Path, *options: str) -> Callable[[], None]:
    project = f"bench/import-{next(_numbers)}"
    command = [sys.executable, "-m", "infrastructure.cli.main", "import", "git", str(repository), "--project", project]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ENCHANTED_")}

    def work() -> None:
        environment = {**clean, "ENCHANTED_HOME": str(home)}
        subprocess.run([*command, *options], env=environment, check=True, stdout=subprocess.DEVNULL)

    return work


def _log(repository: Path) -> Callable[[], object]:
    command = ["git", "-C", str(repository), "log", "-p", "--first-parent"]
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
