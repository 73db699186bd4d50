"""``size``: bytes that a history takes in the ledger, against what git packs it into."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import apsw

from infrastructure.local.home import Home
from infrastructure.local.stack import running_stack
from tests.benchmarks.imports import OWN_REPOSITORY

PARTS = ("nats", "clickhouse", "ingest-ledger", "ingest-clickhouse")


def run(folder: Path) -> None:
    """The first-parent history of the repository in BENCH_REPO, or of this one, with its snapshots."""
    repository = Path(os.environ.get("BENCH_REPO") or OWN_REPOSITORY).resolve()
    home = folder / "home"
    with running_stack(home, PARTS):
        environment = {**os.environ, "ENCHANTED_HOME": str(home)}
        for arguments in (["import", "git", str(repository), "--project", "bench/size"], ["snapshots", "--once"]):
            command = [sys.executable, "-m", "infrastructure.cli.main", *arguments]
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    ledger_bytes = _bytes_in_use(Home.at(home).ledger_file)
    packed_bytes = _packed_bytes(repository, folder / "packed")
    print(f"\nsize: {repository.name}, its first-parent history (bytes)")
    print(
        f"  ledger: events, all indexes, contents, snapshots {ledger_bytes:>37,}  {ledger_bytes / packed_bytes:>7.2f} x"
    )
    print(f"  git's pack of the same branch, all parents {packed_bytes:>43,}   baseline")


def _bytes_in_use(path: Path) -> int:
    """Of the file once its write-ahead log is in it; pages that are free again are not counted."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size, count, free = (
        next(connection.execute(f"PRAGMA {name}"))[0] for name in ("page_size", "page_count", "freelist_count")
    )
    connection.close()
    return int(size * (count - free))


def _packed_bytes(repository: Path, target: Path) -> int:
    clone = ["git", "clone", "--quiet", "--bare", "--single-branch", "--no-tags", repository.as_uri(), str(target)]
    subprocess.run(clone, check=True)
    subprocess.run(["git", "-C", str(target), "gc", "--quiet"], check=True)
    return sum(path.stat().st_size for path in target.glob("objects/pack/*.pack"))
