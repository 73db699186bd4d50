"""``why``: a file's lines explained a second."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from nervous_system.contract import FILE_MODE, AgentDecision, Operation, StateChange, SwarmEvent
from nervous_system.events import content_hash, set_occurred, uuid7
from nervous_system.ledger.ledger import Ledger
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from nervous_system.textdiff import unified_diff
from replay import moments
from replay.why import explain
from tests.benchmarks.material import PROJECT, batches, log_messages
from tests.benchmarks.report import Contender, compare

CHANGES = 1_000
LINES = 1_000
PATH = "prices.py"
BEGAN_S = 1_700_000_000


def run(folder: Path) -> None:
    """The same file, changed as often, explained by the ledger and by git."""
    contents = _contents()
    settings = Settings(home=folder, ledger=f"embedded://{folder}/ledger.sqlite")
    _record(settings, contents)
    _commit(folder / "repository", contents)
    _command(settings)()
    lines = len(contents[-1].splitlines())
    compare(
        f"why: the {lines:,} lines of a file that was changed {CHANGES:,} times",
        "lines",
        [
            Contender("enchanted: each line's change and decision", lines, lambda: _explain(settings)),
            Contender("enchanted why --json, with the start of the process", lines, lambda: _command(settings)),
            Contender("enchanted --version: the start of a process alone", lines, lambda: _start(settings)),
        ],
        Contender("git blame --first-parent", lines, lambda: _blame(folder / "repository")),
    )
    compare(
        "why: one line of it",
        "questions",
        [Contender("enchanted: the line's change and decision", 1, lambda: _explain(settings, LINES // 2))],
        Contender("git blame --first-parent -L", 1, lambda: _blame(folder / "repository", LINES // 2)),
    )


def _contents() -> list[bytes]:
    """The file's contents, each with a few lines more, fewer or others than the one before."""
    chance = random.Random(1)
    lines = [f"price_{number} = {chance.randrange(10_000)}\n" for number in range(LINES)]
    contents = ["".join(lines).encode()]
    for change in range(1, CHANGES):
        place = chance.randrange(len(lines))
        lines[place : place + chance.randint(0, 3)] = [
            f"price_{change}_{number} = {chance.randrange(10_000)}\n" for number in range(chance.randint(1, 3))
        ]
        contents.append("".join(lines).encode())
    return contents


def _record(settings: Settings, contents: list[bytes]) -> None:
    ledger = Ledger.open(settings)
    events = [_finished(event, number) for number, event in enumerate(_events(contents))]
    for batch in batches(log_messages(events, 200), 1, StreamIdentity("SWARM", 1)):
        ledger.land("ledger", batch)
    ledger.close()


def _events(contents: list[bytes]) -> list[SwarmEvent]:
    """For each content a decision and the change that follows it."""
    first = StateChange(content=contents[0], operation=Operation.OPERATION_CREATE)
    changes = [first, *(_diffed(before, after) for before, after in pairwise(contents))]
    events = []
    for number, (change, content) in enumerate(zip(changes, contents, strict=True)):
        change.target_resource, change.mode, change.new_state_hash = PATH, FILE_MODE, content_hash(content)
        events.append(SwarmEvent(decision=AgentDecision(rationale=f"Price list {number}")))
        events.append(SwarmEvent(state_change=change, causation_id=_id(2 * number)))
    return events


def _diffed(before: bytes, after: bytes) -> StateChange:
    return StateChange(
        diff_patch=unified_diff(before, after) or "",
        previous_state_hash=content_hash(before),
        operation=Operation.OPERATION_MODIFY,
    )


def _id(number: int) -> str:
    return uuid7(BEGAN_S * 1_000, number.to_bytes(10, "big"))


def _finished(event: SwarmEvent, number: int) -> bytes:
    event.event_id, event.agent_id, event.session_id = _id(number), "coder-7", "s"
    event.tenant_id, event.project_id = PROJECT.tenant, PROJECT.project
    set_occurred(event, (BEGAN_S + number) * 1_000_000)
    return event.SerializeToString()


def _explain(settings: Settings, line: int | None = None) -> Callable[[], None]:
    def work() -> None:
        ledger = Ledger.open(settings)
        history = ledger.history(PROJECT)
        explain(history, PATH, moments.resolve(history, "now"), asked=None if line is None else (line, line))
        ledger.close()

    return work


def _command(settings: Settings) -> Callable[[], None]:
    return lambda: _enchanted(settings, "why", str(PROJECT), PATH, "--json")


def _start(settings: Settings) -> Callable[[], None]:
    return lambda: _enchanted(settings, "--version")


def _enchanted(settings: Settings, *arguments: str) -> None:
    variables = {
        "ENCHANTED_HOME": str(settings.home),
        "ENCHANTED_LEDGER": settings.require("ledger"),
        # Modules are compiled once, as they are where the package is installed.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(settings.home / "compiled"),
    }
    _quietly(str(Path(sys.executable).parent / "enchanted"), *arguments, **variables)


def _commit(repository: Path, contents: list[bytes]) -> None:
    repository.mkdir()
    _quietly("git", "-C", str(repository), "init", "--quiet")
    stream = b"".join(
        b"commit refs/heads/main\ncommitter bench <bench@example.org> %d +0000\ndata 5\nprice\n"
        b"M 100644 inline %s\ndata %d\n%s\n" % (BEGAN_S + number, PATH.encode(), len(content), content)
        for number, content in enumerate(contents)
    )
    subprocess.run(["git", "-C", str(repository), "fast-import", "--quiet"], input=stream, check=True)
    # As a repository is that has been cloned.
    _quietly("git", "-C", str(repository), "gc", "--quiet")


def _blame(repository: Path, line: int | None = None) -> Callable[[], None]:
    lines = [] if line is None else ["-L", f"{line},{line}"]
    return lambda: _quietly("git", "-C", str(repository), "blame", "--first-parent", *lines, "main", "--", PATH)


def _quietly(*command: str, **variables: str) -> None:
    subprocess.run(command, env={**os.environ, **variables}, check=True, stdout=subprocess.DEVNULL)
