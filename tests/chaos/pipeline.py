"""The whole pipeline as processes of this test: servers, ingestors, producers, every one of which can be killed.

The supervisor of ``enchanted up`` waits longer before each further restart, which would leave little to kill; so these
run without it, from the same commands.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from infrastructure.local.components import Component, choose, stack_variables
from infrastructure.local.credentials import load_secrets
from infrastructure.local.home import Home
from infrastructure.local.ports import assign
from infrastructure.local.site import Launch, Site
from nervous_system.settings import Settings
from tests.chaos.victims import Rhythm, Victim

SERVERS = ("nats", "clickhouse", "s3")
INGESTORS = ("ledger", "clickhouse", "siphon")
PROJECTS = ("chaos/red", "chaos/green", "chaos/blue", "other/red", "other/blue", "other/white")

# A killed server is given time to come back and be used before it dies again; an ingestor also dies while it starts.
SERVER_RHYTHM = Rhythm((2.0, 9.0))
INGESTOR_RHYTHM = Rhythm((0.5, 6.0))
PRODUCER_RHYTHM = Rhythm((5.0, 25.0))
SPARED = "s3"

# Small batches and files, so that kills fall between and into many of them.
LANDING = {"ENCHANTED_SIPHON_ROLL_AGE_S": "0.5", "ENCHANTED_BATCH_MAX_AGE_S": "0.05"}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """All processes, and where the producers' journals and the word to stop are."""

    settings: Settings
    victims: tuple[Victim, ...]
    producers: tuple[Victim, ...]
    folder: Path

    @property
    def stop_file(self) -> Path:
        return self.folder / "stop"

    def journals(self, project: str) -> list[Path]:
        """What the lives of a project's producers left, in order."""
        return sorted(self.folder.glob(f"{_plain(project)}.*.journal"))


@contextmanager
def running_pipeline(folder: Path, seed: int) -> Iterator[Pipeline]:
    """Every process started, for the length of a ``with`` block; stopped by process id."""
    home = Home.at(folder / "home")
    home.make()
    servers = choose(SERVERS)
    ports = assign([wish for server in servers for wish in server.ports], pinned={}, remembered={})
    secrets = load_secrets(home)
    variables = stack_variables(servers, Site(home, ports, secrets)) | {"ENCHANTED_HOME": str(home.root)} | LANDING
    site = Site(home, ports, secrets, variables)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ENCHANTED_")}
    environment = {**clean, **variables}
    victims = (
        *(_server(server, site) for server in servers),
        *(_ingestor(sink, environment, home) for sink in INGESTORS),
    )
    producers = tuple(_producer(project, environment, home, folder, seed) for project in PROJECTS)
    with ExitStack() as stack:
        for victim in (*victims, *producers):
            victim.start()
            stack.callback(victim.stop)
        yield Pipeline(Settings.load(variables), victims, producers, folder)


def _server(component: Component, site: Site) -> Victim:
    rhythm = None if component.name == SPARED else SERVER_RHYTHM
    return Victim(component.name, lambda _: component.launch(site), site.home.log_file(component.name), rhythm)


def _ingestor(sink: str, environment: dict[str, str], home: Home) -> Victim:
    launch = Launch((sys.executable, "-m", "infrastructure.cli.main", "ingest", sink), environment, home.folder("run"))
    return Victim(f"ingest-{sink}", lambda _: launch, home.log_file(f"ingest-{sink}"), INGESTOR_RHYTHM)


def _producer(project: str, environment: dict[str, str], home: Home, folder: Path, seed: int) -> Victim:
    def launch(life: int) -> Launch:
        journal = folder / f"{_plain(project)}.{life:03d}.journal"
        command = (sys.executable, "-m", "tests.chaos.producer", project, str(journal), str(folder / "stop"))
        return Launch((*command, f"{seed}/{project}/{life}"), environment, Path(__file__).parents[2])

    return Victim(f"producer-{project}", launch, home.log_file(f"producer-{_plain(project)}"), PRODUCER_RHYTHM)


def _plain(project: str) -> str:
    return project.replace("/", "-")
