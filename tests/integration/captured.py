"""What the tests of capturing share: the command that records, and what its outbox gives back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import apsw

from nervous_system.contract import SwarmEvent
from nervous_system.events import decode
from nervous_system.ledger.engines import open_engine
from nervous_system.ledger.history import History
from nervous_system.projects import ProjectName
from replay.contents import Contents
from replay.moments import resolve
from replay.restoring.plan import plan_restore
from replay.restoring.restore import act
from replay.state import fold, tree_of
from replay.tree import SUBMODULE
from tests.contract.hub import opened_hub
from tests.integration.restoring import Model, standing

PROJECT = ProjectName("acme", "shop")
LIMIT_S = 60
LANDED_TOGETHER = 100


def enchanted(*arguments: str) -> list[str]:
    """The command line of one of our commands."""
    return [sys.executable, "-m", "infrastructure.cli.main", *arguments]


def environment(home: Path, **more: str) -> dict[str, str]:
    """Of a process that records below ``home``, and finds this source wherever it runs."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ENCHANTED_")}
    source = str(Path(__file__).parents[2])
    return {**ours, "ENCHANTED_HOME": str(home), "PYTHONPATH": source, "XDG_RUNTIME_DIR": "/tmp", **more}


def record(
    tree: Path, home: Path, command: list[str], *options: str, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Runs a command under ``enchanted record``, which may fail."""
    line = enchanted("record", "--project", str(PROJECT), "--agent", "ada", *options, "--", *command)
    return subprocess.run(
        line, cwd=tree, env=environment(home, **(more or {})), capture_output=True, timeout=LIMIT_S, check=False
    )


def rows(home: Path) -> list[tuple[str, bytes]]:
    """The outbox's rows: their kind and their bytes."""
    path = home / "outbox" / PROJECT.tenant / f"{PROJECT.project}.db"
    return list(apsw.Connection(str(path)).execute("SELECT kind, data FROM rows ORDER BY number"))


def events(home: Path) -> list[SwarmEvent]:
    """The outbox's events."""
    return [decode(data) for kind, data in rows(home) if kind == "event"]


def log_text(home: Path) -> str:
    """The recorder's own log."""
    return "".join(path.read_text() for path in sorted((home / "logs").glob("record-*.log")))


@contextmanager
def landed(home: Path) -> Iterator[History]:
    """The outbox's content in a ledger."""
    engine = open_engine(f"embedded://{home / 'ledger.sqlite'}")
    with opened_hub(engine, "embedded://") as hub:
        found = rows(home)
        for start in range(0, len(found), LANDED_TOGETHER):
            messages = [
                hub.part(data, PROJECT) if kind == "part" else hub.message(data, project=PROJECT)
                for kind, data in found[start : start + LANDED_TOGETHER]
            ]
            assert not hub.land(*messages).refusals
        yield hub.history(PROJECT)
    engine.close()


def restore(history: History, moment: str, target: Path) -> Path:
    """Restores a moment, all of whose changes must fit together, into a new folder."""
    at = resolve(history, moment)
    contents = Contents(history)
    tree = tree_of(fold(history.path_changes(through=at.through), at))
    target.parent.mkdir(parents=True, exist_ok=True)
    act(plan_restore(tree, target, contents), contents)
    return target


def files(root: Path) -> Model:
    """What stands below a folder; empty folders are nothing."""
    return {name: entry for name, entry in standing(root).items() if entry != (SUBMODULE, b"")}
