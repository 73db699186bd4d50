"""``restore``: files put back from the ledger a second, into an empty folder and into one in use."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

from nervous_system.ledger.ledger import Ledger
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from replay import moments
from replay.contents import Contents, ReadAhead
from replay.keeping import Keeper
from replay.merging import tree_at
from replay.restoring.knowledge import Knowledge
from replay.restoring.plan import plan_restore
from replay.restoring.restore import act
from replay.restoring.steps import Action
from tests.benchmarks.material import PROJECT, batches, file_event, log_messages
from tests.benchmarks.report import Contender, compare

FILES = 10_000
CHANGED_FILES = 1_000
FILES_A_FOLDER = 50
BYTES = (20, 2_000)

_numbers = itertools.count()


def run(folder: Path) -> None:
    """The same trees from the ledger and from git: whole into a new folder each time, and from one to the next."""
    before, after = _trees()
    settings = Settings(home=folder, ledger=f"embedded://{folder}/ledger.sqlite")
    version = _record(settings, before, after)
    _commit(folder / "repository", before, after)
    compare(
        f"restore: {FILES:,} files of {BYTES[0]} to {BYTES[1]:,} bytes into an empty folder",
        "files",
        [
            Contender(
                "enchanted: each content checked, all on disk before it appears", FILES, lambda: _whole(settings)
            ),
            Contender("git checkout, then sync", FILES, lambda: _checkout(folder, sync=True)),
        ],
        Contender("git checkout", FILES, lambda: _checkout(folder, sync=False)),
    )
    compare(
        f"restore: {CHANGED_FILES:,} of {FILES:,} files changed in a folder in use",
        "files looked at",
        [
            Contender("enchanted: all hashed, what goes is kept for undo", FILES, lambda: _in_place(settings, version)),
        ],
        Contender("git read-tree -m -u: sizes and times compared, nothing kept", FILES, lambda: _switch(folder)),
    )


def _trees() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """A tree, and the same with some of its files changed."""
    chance = random.Random(1)

    def content() -> bytes:
        return chance.randbytes(chance.randint(*BYTES) // 2).hex().encode()

    before = {f"folder_{number // FILES_A_FOLDER}/file_{number}": content() for number in range(FILES)}
    return before, {**before, **{path: content() for path in chance.sample(sorted(before), CHANGED_FILES)}}


def _record(settings: Settings, before: dict[str, bytes], after: dict[str, bytes]) -> str:
    """Lands both trees; returns the version up to which only the first is there."""
    ledger = Ledger.open(settings)
    changed = {path: content for path, content in after.items() if content != before[path]}
    events = [file_event(path, content) for path, content in (*before.items(), *changed.items())]
    version = ""
    landed = 0
    for batch in batches(log_messages(events, 200), 1, StreamIdentity("SWARM", 1)):
        ledger.land("ledger", batch)
        landed += 200
        if landed == FILES:
            version = str(ledger.history(PROJECT).head().version)
    # As the stack's worker does it beside the ingestion.
    Keeper(ledger.history(PROJECT), ledger.snapshots(PROJECT)).advance()
    ledger.close()
    return version


def _whole(settings: Settings) -> Callable[[], None]:
    target = settings.home / f"restored-{next(_numbers)}"
    # What earlier runs left to be written must not be this one's affair.
    os.sync()
    return lambda: _restore(settings, target, "now")


def _in_place(settings: Settings, version: str) -> Callable[[], None]:
    target = settings.home / f"restored-{next(_numbers)}"
    _restore(settings, target, version)
    os.sync()
    return lambda: _restore(settings, target, "now")


def _restore(settings: Settings, target: Path, moment_text: str) -> None:
    ledger = Ledger.open(settings)
    history = ledger.history(PROJECT)
    moment, contents = moments.resolve(history, moment_text), Contents(history)
    plan = plan_restore(tree_at(history, moment, contents), target, contents, known=Knowledge(history))
    wanted = [step.entry.content_hash for step in plan.steps if step.entry and step.action is not Action.LEAVE]
    act(plan, ReadAhead(contents, wanted))
    ledger.close()


def _commit(repository: Path, *trees: dict[str, bytes]) -> None:
    repository.mkdir()
    _git(repository, "init", "--quiet")
    # Git must not tidy up behind our back while others are measured.
    settings = ("-c", "gc.auto=0", "-c", "user.name=bench", "-c", "user.email=bench@example.org")
    for tree in trees:
        for path, content in tree.items():
            place = repository / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        _git(repository, *settings, "add", ".")
        _git(repository, *settings, "commit", "--quiet", "--message", "tree")


def _checkout(folder: Path, *, sync: bool) -> Callable[[], None]:
    target, own = _work_tree(folder)
    os.sync()

    def work() -> None:
        _git(target, "--work-tree=.", "checkout", "--quiet", "HEAD", "--", ".", **own)
        if sync:
            os.sync()

    return work


def _switch(folder: Path) -> Callable[[], None]:
    target, own = _work_tree(folder)
    _git(target, "--work-tree=.", "read-tree", "--reset", "-u", "HEAD~1", **own)
    os.sync()
    return lambda: _git(target, "--work-tree=.", "read-tree", "-m", "-u", "HEAD~1", "HEAD", **own)


def _work_tree(folder: Path) -> tuple[Path, dict[str, str]]:
    """An empty folder, and the variables by which git takes it for a work tree with an index of its own."""
    number = next(_numbers)
    target = folder / f"checked-out-{number}"
    target.mkdir()
    return target, {"GIT_DIR": str(folder / "repository/.git"), "GIT_INDEX_FILE": str(folder / f"index-{number}")}


def _git(folder: Path, *arguments: str, **variables: str) -> None:
    subprocess.run(
        ["git", *arguments], cwd=folder, env={**os.environ, **variables}, check=True, stdout=subprocess.DEVNULL
    )
