"""``restore``: files put back from the ledger a second."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

from nervous_system.bus import StreamIdentity
from nervous_system.ledger.ledger import Ledger
from nervous_system.settings import Settings
from replay import moments
from replay.contents import Contents, ReadAhead
from replay.merging import tree_at
from replay.plan import plan_restore
from replay.restore import act
from tests.benchmarks.material import PROJECT, batches, file_event, log_messages
from tests.benchmarks.report import Contender, compare

FILES = 10_000
FILES_A_FOLDER = 50
BYTES = (20, 2_000)

_numbers = itertools.count()


def run(folder: Path) -> None:
    """The same tree from the ledger and from git, into a new folder each time."""
    tree = _tree()
    settings = Settings(home=folder, ledger=f"embedded://{folder}/ledger.sqlite")
    _record(settings, tree)
    _commit(folder / "repository", tree)
    compare(
        f"restore: {FILES:,} files of {BYTES[0]} to {BYTES[1]:,} bytes into an empty folder",
        "files",
        [
            Contender(
                "enchanted: each content checked, all on disk before it appears", FILES, lambda: _restore(settings)
            ),
            Contender("git checkout, then sync", FILES, lambda: _checkout(folder, sync=True)),
        ],
        Contender("git checkout", FILES, lambda: _checkout(folder, sync=False)),
    )


def _tree() -> dict[str, bytes]:
    chance = random.Random(1)
    return {
        f"folder_{number // FILES_A_FOLDER}/file_{number}": chance.randbytes(chance.randint(*BYTES) // 2).hex().encode()
        for number in range(FILES)
    }


def _record(settings: Settings, tree: dict[str, bytes]) -> None:
    ledger = Ledger.open(settings)
    events = [file_event(path, content) for path, content in tree.items()]
    for batch in batches(log_messages(events, 200), 1, StreamIdentity("SWARM", 1)):
        ledger.land("ledger", batch)
    ledger.close()


def _restore(settings: Settings) -> Callable[[], None]:
    target = settings.home / f"restored-{next(_numbers)}"
    # What earlier runs left to be written must not be this one's affair.
    os.sync()

    def work() -> None:
        ledger = Ledger.open(settings)
        history = ledger.history(PROJECT)
        moment, contents = moments.resolve(history, "now"), Contents(history)
        plan = plan_restore(tree_at(history, moment, contents), target, contents)
        act(plan, ReadAhead(history, contents, [step.entry.content_hash for step in plan.steps if step.entry]))
        ledger.close()

    return work


def _commit(repository: Path, tree: dict[str, bytes]) -> None:
    for path, content in tree.items():
        place = repository / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    _git(repository, "init", "--quiet")
    _git(repository, "add", ".")
    identity = ("-c", "user.name=bench", "-c", "user.email=bench@example.org")
    _git(repository, *identity, "commit", "--quiet", "--message", "tree")


def _checkout(folder: Path, *, sync: bool) -> Callable[[], None]:
    number = next(_numbers)
    target = folder / f"checked-out-{number}"
    target.mkdir()
    repository = folder / "repository"
    os.sync()

    def work() -> None:
        own = {"GIT_DIR": str(repository / ".git"), "GIT_INDEX_FILE": str(folder / f"index-{number}")}
        _git(target, "--work-tree=.", "checkout", "--quiet", "HEAD", "--", ".", **own)
        if sync:
            os.sync()

    return work


def _git(folder: Path, *arguments: str, **variables: str) -> None:
    subprocess.run(
        ["git", *arguments], cwd=folder, env={**os.environ, **variables}, check=True, stdout=subprocess.DEVNULL
    )
