"""A disaster: the log, ClickHouse and the ledger are destroyed; all comes back from the archive and the outboxes."""

from __future__ import annotations

import json
import random
import shutil
import signal
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

from infrastructure.cli.main import cli
from infrastructure.local import stack
from nervous_system.contract import SwarmEvent
from nervous_system.events import occurred_us as occurred
from nervous_system.events import utc
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from tests.chaos import holdings
from tests.chaos.journal import Told, name_of
from tests.chaos.verdict import judge
from tests.integration.command import Enchanted
from tests.integration.stack_process import PATIENCE_S, StackCommands, wait_until
from tests.integration.syncing import Edge

SERVERS = ("nats", "clickhouse", "s3")
WHOLE = (*SERVERS, "ingest-ledger", "ingest-clickhouse", "ingest-siphon", "sync")
FOLDER_OF = {"nats": "nats", "clickhouse": "clickhouse", "ledger": "ledger"}
PLACES = ("before-rebuild-land", "after-rebuild-land")
# Small batches, so that kills fall between many of them; small files, so that there are many.
LANDING = {
    "ENCHANTED_SIPHON_ROLL_AGE_S": "0.5",
    "ENCHANTED_BATCH_MAX_AGE_S": "0.05",
    "ENCHANTED_BATCH_MAX_EVENTS": "40",
}

Tree = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Drill:
    """A stack, and machines that record beside it.

    Args:
        settings: of the stack.
        edges: the machines, each with a project of its own.
        folder: where trees are restored to.
    """

    settings: Settings
    edges: Sequence[Edge]
    folder: Path

    @classmethod
    def of(cls, settings: Settings, projects: int, folder: Path) -> Drill:
        """With machines whose outboxes the stack's own syncer empties."""
        made = [Edge.of(settings, settings.home) for _ in range(projects)]
        return cls(settings, [replace(edge, settings=settings) for edge in made], folder)

    def work(self, edge: Edge, steps: int, seed: str) -> None:
        """What an agent does: it writes files, decides, and now and then commits or gives the moment a name."""
        chance = random.Random(seed)
        with Recorder(str(edge.project), agent="ada", settings=edge.settings) as recorder:
            for number in range(steps):
                commit = f"{chance.getrandbits(160):040x}" if number % 10 == 9 else ""
                recorder.file_changed(f"src/{chance.randrange(20)}.txt", chance.randbytes(chance.randint(1, 3_000)))
                recorder.decision(f"step {number} of {seed}", related_commit_hash=commit)
                if number % 25 == 24:
                    recorder.checkpoint(f"{seed}-{number}")

    def archived(self) -> None:
        """Returns once the archive has all that was recorded."""
        for edge in self.edges:
            wanted = {name_of(data) for data in edge.recorded()}
            wait_until(lambda p=str(edge.project), w=wanted: w <= set(self._held("archive", p)), "all in the archive")  # type: ignore[misc]

    def landed(self) -> None:
        """Returns once every store has all that was recorded."""
        self.archived()
        for edge in self.edges:
            last = name_of(edge.recorded()[-1])
            for name in ("ledger", "clickhouse"):
                wait_until(lambda n=name, p=str(edge.project), e=last: e in self._held(n, p), f"all in the {name}")  # type: ignore[misc]

    def moments(self, chance: random.Random, count: int) -> dict[tuple[Edge, str], Tree]:
        """Some moments of every project, by event, time, commit and name, and what each restores."""
        found = {}
        for edge in self.edges:
            events = [SwarmEvent.FromString(data) for data in edge.recorded()]
            texts = [each.event_id for each in chance.sample(events, count)]
            # A microsecond is written out, so that no other event falls into the same text.
            texts += [utc(occurred(each)).isoformat(timespec="microseconds") for each in chance.sample(events, count)]
            texts += [f"commit:{each.related_commit_hash}" for each in events if each.related_commit_hash][:count]
            texts += [each.checkpoint.name for each in events if each.HasField("checkpoint")][:count]
            found.update({(edge, text): self.restored(edge, text) for text in texts})
        return found

    def restored(self, edge: Edge, text: str) -> Tree:
        """The files of a moment."""
        target = self.folder / f"{random.getrandbits(64):x}"
        environment = {"ENCHANTED_HOME": str(self.settings.home)}
        done = CliRunner(env=environment).invoke(cli, ["restore", str(edge.project), "--at", text, str(target)])
        assert done.exit_code == 0, (text, done.output, done.exception)
        tree = {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}
        shutil.rmtree(target)
        return tree

    def destroy(self, *stores: str) -> None:
        """Kills every process of the stack at once, and takes away the stores' data."""
        everything = StackCommands(self.settings.home).survivors()
        for process in everything:
            process.kill()
        assert not psutil.wait_procs(everything, PATIENCE_S)[1]
        stack.stop(self.settings.home)
        for store in stores:
            shutil.rmtree(self.settings.home / FOLDER_OF[store])

    def rebuild(self, kills: int, chance: random.Random) -> None:
        """Rebuilds ledger and ClickHouse from the archive alone, killed so many times on the way."""
        stack.start(self.settings.home, SERVERS)
        command = Enchanted(self.settings.home, LANDING)
        for store in ("ledger", "clickhouse"):
            for _ in range(kills):
                place = f"{chance.choice(PLACES)}:{chance.randint(1, 4)}"
                done = command.run("rebuild", store, "--from-archive", ENCHANTED_FAILPOINT=place)
                assert done.returncode in (0, -signal.SIGKILL), done.stderr
            told = self.said("rebuild", store, "--from-archive", "--json")
            print(
                f"  {store} rebuilt: {told['archived']:,} archived, the last {told['events']:,} in {told['seconds']} s"
            )
        stack.stop(self.settings.home)

    def round(self, stores: Sequence[str], steps: int, kills: int, seed: str, chance: random.Random) -> None:
        """One disaster."""
        for edge in self.edges:
            self.work(edge, steps, seed)
        self.landed()
        before = self.moments(chance, 3)
        # What is recorded now is in outboxes only, or on its way.
        agents = [threading.Thread(target=self.work, args=(edge, steps, f"{seed}-late")) for edge in self.edges]
        for agent in agents:
            agent.start()
        self.destroy(*stores)
        self.rebuild(kills, chance)
        self.check(before, "after the rebuild")
        for agent in agents:
            agent.join()
        stack.start(self.settings.home, WHOLE)
        self.landed()
        self.check(before, "once the pipeline went on")
        faults = self.faults()
        print(f"  {' and '.join(stores)} destroyed: {len(before)} moments, {faults or 'nothing'} lost or doubled")
        assert faults == [], f"seed {seed}"
        self.verify()

    def check(self, before: dict[tuple[Edge, str], Tree], when: str) -> None:
        """Whether every moment restores what it did."""
        differing = [text for (edge, text), tree in before.items() if self.restored(edge, text) != tree]
        assert differing == [], f"restored otherwise {when}"

    def verify(self) -> None:
        """Whether the stores say themselves that they agree."""
        verdict = self.said("verify", "--archive", "--json")
        assert verdict["agrees"], verdict["differences"]

    def said(self, *arguments: str) -> dict[str, Any]:
        """What the command prints, run in this process, which spares its start."""
        environment = {"ENCHANTED_HOME": str(self.settings.home)}
        done = CliRunner(env=environment).invoke(cli, list(arguments))
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        document = json.loads(done.output)
        assert isinstance(document, dict)
        return document

    def faults(self) -> list[str]:
        """What ledger and ClickHouse lost, doubled, invented or misplaced; what the archive lost or invented."""
        found = []
        for edge in self.edges:
            told = Told(tuple(map(name_of, edge.recorded())), frozenset())
            for name in ("ledger", "clickhouse"):
                verdict = judge(told, self._held(name, str(edge.project)))
                found += [] if verdict.good else [f"{edge.project} in {name}: {verdict}"]
            # What outboxes sent again after the disaster is in the archive twice: it is the log's copy.
            verdict = judge(told, list(dict.fromkeys(self._held("archive", str(edge.project)))))
            found += [f"{edge.project} in the archive: {verdict}"] if verdict.lost or verdict.invented else []
        return found

    def _held(self, name: str, project: str) -> list[str]:
        read = {"ledger": holdings.in_ledger, "clickhouse": holdings.in_clickhouse, "archive": holdings.in_archive}
        try:
            return read[name](self.settings).get(project, [])
        except holdings.AWAY:
            return []


def drill(folder: Path, *, projects: int, steps: int, rounds: Sequence[Sequence[str]], kills: int, seed: int) -> None:
    """Disasters one after another, each of these stores at once, with agents at work all the time.

    Args:
        folder: for everything.
        projects: how many agents are at work.
        steps: what each does between two disasters; two or three events a step.
        rounds: which stores each disaster destroys.
        kills: how often each rebuild is killed.
        seed: of what is left to chance.
    """
    chance = random.Random(seed)
    with ExitStack() as held:
        patch = held.enter_context(pytest.MonkeyPatch.context())
        for name, value in LANDING.items():
            patch.setenv(name, value)
        settings = held.enter_context(stack.running_stack(folder / "home", WHOLE))
        made = Drill.of(settings, projects, folder)
        for number, stores in enumerate(rounds):
            made.round(stores, steps, kills, f"{seed}-{number}", chance)
