"""The whole pipeline as processes of this test: servers, workers, producers, every one of which can be killed.

The supervisor of ``enchanted up`` waits longer before each further restart, which would leave little to kill; so these
run without it, from the same commands. Workers and producers reach the servers on wires that are cut now and then; the
servers and the ledger keep what they have on small disks, where the machine permits to mount them.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from infrastructure.local.components import Component, choose, stack_variables
from infrastructure.local.credentials import load_secrets
from infrastructure.local.home import Home
from infrastructure.local.ports import assign, is_free
from infrastructure.local.site import Launch, Site
from infrastructure.local.state import Phase
from nervous_system import bus
from nervous_system.settings import Settings
from tests.chaos.cuts import FrayedWire
from tests.chaos.disks import Famine, small_disk
from tests.chaos.victims import Rhythm, Victim

SERVERS = ("nats", "clickhouse", "s3")
INGESTORS = ("ledger", "clickhouse", "siphon")
PROJECTS = ("chaos/red", "chaos/green", "chaos/blue", "other/red", "other/blue", "other/white")
WIRED = ("ENCHANTED_NATS_URL", "ENCHANTED_CLICKHOUSE_URL", "ENCHANTED_S3_ENDPOINT")

# A killed server is given time to come back and be used before it dies again; an ingestor also dies while it starts.
SERVER_RHYTHM = Rhythm((1.0, 8.0), long_life_s=25.0)
INGESTOR_RHYTHM = Rhythm((0.5, 5.0))
SNAPSHOTS_RHYTHM = Rhythm((1.0, 8.0))
PRODUCER_RHYTHM = Rhythm((5.0, 25.0))
# Of one sink, by a second process beside the one that has them all.
RIVAL_PARTITIONS = "0-1"

FAILPOINTS = ("after-fetch", "before-land", "after-share", "after-land", "after-mark")
FAILPOINTS_OF = {
    "ledger": FAILPOINTS,
    "clickhouse": (*FAILPOINTS, "after-insert"),
    "siphon": (*FAILPOINTS, "after-part", "before-upload", "after-upload", "before-manifest", "after-manifest"),
}

# How long JetStream remembers message ids in a run: longer than a producer takes to send again what was not
# acknowledged, and shorter than the time for which one worker and one store are away.
WINDOW_S = float(os.environ.get("CHAOS_WINDOW_S") or 30.0)
ABSENCE_S = WINDOW_S + 5.0
DISK_MB = 1_024
PORTS = range(24_000, 32_000)

# Small batches and files, often merged, so that kills fall between and into many of them.
LANDING = {
    "ENCHANTED_SIPHON_ROLL_AGE_S": "0.5",
    "ENCHANTED_SIPHON_COMPACT_EVERY_S": "1",
    "ENCHANTED_BATCH_MAX_AGE_S": "0.05",
}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """All processes, and where the producers' journals and the word to stop are.

    Args:
        settings: lead to the servers past the wires.
    """

    settings: Settings
    servers: tuple[Victim, ...]
    workers: tuple[Victim, ...]
    producers: tuple[Victim, ...]
    wires: tuple[FrayedWire, ...]
    famine: Famine
    folder: Path
    over: threading.Event = field(default_factory=threading.Event)

    def torment(self, seed: int) -> None:
        """Begins to kill, to cut and to starve."""
        for victim in self.everyone:
            victim.torment(seed, self.over)
        for wire in self.wires:
            wire.fray()
        self.famine.begin(seed, self.over)

    def calm(self) -> None:
        """Returns once nothing is done to anybody any more, and all live."""
        self.over.set()
        self.famine.rest()
        for victim in self.everyone:
            victim.rest()
        for wire in self.wires:
            wire.mend()

    @property
    def everyone(self) -> tuple[Victim, ...]:
        return (*self.servers, *self.workers, *self.producers)

    @property
    def hunted(self) -> tuple[Victim, ...]:
        """Those whose kills count."""
        return (*self.servers, *self.workers)

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
    components = choose(SERVERS)
    ports = _ports(components)
    secrets = load_secrets(home)
    variables = stack_variables(components, Site(home, ports, secrets)) | {"ENCHANTED_HOME": str(home.root)} | LANDING
    site = Site(home, ports, secrets, variables)
    settings = Settings.load(variables)
    away = random.Random(f"{seed}/away")
    absent = (away.choice(INGESTORS), away.choice(("clickhouse", "s3")))
    # Not of the sink whose worker is away: it would do its work.
    contested = away.choice([sink for sink in INGESTORS if sink != absent[0]])
    with ExitStack() as stack:
        folders = [*(home.folder(name) / "data" for name in SERVERS), home.folder("ledger")]
        disks = [each for each in folders if stack.enter_context(small_disk(each, DISK_MB))]
        wires = [stack.enter_context(FrayedWire(variables[name], f"{seed}/{name}")) for name in WIRED]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ENCHANTED_")}
        environment = {**clean, **variables, **{name: wire.url for name, wire in zip(WIRED, wires, strict=True)}}
        servers = tuple(_server(each, site, absent[1]) for each in components)
        workers = (
            *(_ingestor(sink, environment, home, absent[0]) for sink in INGESTORS),
            _rival(contested, environment, home),
            _snapshots(environment, home),
        )
        producers = tuple(_producer(project, environment, home, folder, seed) for project in PROJECTS)
        for victim in servers:
            _start(victim, stack)
        asyncio.run(_shorten_window(settings))
        for victim in (*workers, *producers):
            _start(victim, stack)
        pipeline = Pipeline(settings, servers, workers, producers, tuple(wires), Famine(disks), folder)
        stack.callback(pipeline.calm)
        yield pipeline


def _ports(components: Iterable[Component]) -> dict[str, int]:
    """Ports that no other stack on the machine would choose while a server is dead."""
    wishes = [wish for component in components for wish in component.ports]
    candidates = random.Random().sample(PORTS, len(PORTS))
    free = (port for port in candidates if all(is_free(port + wish.twin_offset) for wish in wishes))
    return assign(wishes, pinned=dict(zip((wish.name for wish in wishes), free, strict=False)), remembered={})


def _start(victim: Victim, stack: ExitStack) -> None:
    victim.start()
    stack.callback(victim.stop)


async def _shorten_window(settings: Settings) -> None:
    client = await bus.connect(settings, patient=True)
    try:
        context = client.jetstream()
        await bus.ensure_stream(context, settings)
        info = await context.stream_info(settings.stream)
        await context.update_stream(info.config.evolve(duplicate_window=WINDOW_S))
    finally:
        await client.close()


def _server(component: Component, site: Site, absent: str) -> Victim:
    absence_s = ABSENCE_S if component.name == absent else 0.0
    return Victim(
        component.name,
        lambda _: component.launch(site),
        site.home.log_file(component.name),
        replace(SERVER_RHYTHM, absence_s=absence_s),
        is_ready=lambda: component.probe(site).phase is Phase.RUNNING,
    )


def _ingestor(sink: str, environment: dict[str, str], home: Home, absent: str) -> Victim:
    rhythm = replace(INGESTOR_RHYTHM, absence_s=ABSENCE_S if sink == absent else 0.0)
    launch = _worker_launch(environment, home, "ingest", sink)
    return Victim(f"ingest-{sink}", lambda _: launch, home.log_file(f"ingest-{sink}"), rhythm, FAILPOINTS_OF[sink])


def _rival(sink: str, environment: dict[str, str], home: Home) -> Victim:
    launch = _worker_launch(environment, home, "ingest", sink, "--partitions", RIVAL_PARTITIONS)
    name = f"ingest-{sink}-rival"
    return Victim(name, lambda _: launch, home.log_file(name), INGESTOR_RHYTHM)


def _snapshots(environment: dict[str, str], home: Home) -> Victim:
    launch = _worker_launch(environment, home, "snapshots")
    return Victim("snapshots", lambda _: launch, home.log_file("snapshots"), SNAPSHOTS_RHYTHM)


def _worker_launch(environment: dict[str, str], home: Home, *arguments: str) -> Launch:
    return Launch((sys.executable, "-m", "infrastructure.cli.main", *arguments), environment, home.folder("run"))


def _producer(project: str, environment: dict[str, str], home: Home, folder: Path, seed: int) -> Victim:
    def launch(life: int) -> Launch:
        journal = folder / f"{_plain(project)}.{life:03d}.journal"
        command = (sys.executable, "-m", "tests.chaos.producer", project, str(journal), str(folder / "stop"))
        return Launch((*command, f"{seed}/{project}/{life}"), environment, Path(__file__).parents[2])

    return Victim(f"producer-{project}", launch, home.log_file(f"producer-{_plain(project)}"), PRODUCER_RHYTHM)


def _plain(project: str) -> str:
    return project.replace("/", "-")
