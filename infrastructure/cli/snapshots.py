"""``enchanted snapshots``: the worker that keeps snapshots up with the ledger."""

from __future__ import annotations

import logging
import random
import signal
import time
from contextlib import AbstractContextManager, nullcontext
from threading import Event

import click

from infrastructure.cli.options import PROJECT
from nervous_system.contract import SwarmEvent
from nervous_system.errors import AccessError, EnchantedError, SettingsError
from nervous_system.health import HealthFile
from nervous_system.ledger.ledger import Ledger
from nervous_system.projects import ProjectName
from nervous_system.publisher import Publisher
from nervous_system.settings import Settings
from nervous_system.telemetry import logs
from nervous_system.telemetry.condition import Condition
from replay.keepers import Keepers, Tell

logger = logging.getLogger(__name__)

ROUND_INTERVAL_S = 0.5
LONGEST_PAUSE_S = 30.0
# A long history that was never followed takes a while.
ROUND_LIMIT_S = 1800.0


@click.command()
@click.option("--once", is_flag=True, help="Go through every project once, and end.")
@click.option("--rebuild", type=PROJECT, metavar="PROJECT", help="First remove this project's snapshots.")
def snapshots(*, once: bool, rebuild: ProjectName | None) -> None:
    """Keep snapshots up with the ledger until told to stop, so that a restore reads little of a long history.

    They are made from the events and can be removed at any time. Conflicts that are met on the way are written into the
    projects' histories.
    """
    settings = Settings.load()
    logs.configure(settings)
    health = HealthFile.from_environment()
    health.write("starting", "opening the ledger")
    ledger = Ledger.open(settings, create=False) if once else _open_patiently(settings, health)
    try:
        if rebuild is not None:
            ledger.history(rebuild)
            ledger.snapshots(rebuild).clear()
        keepers = Keepers(ledger, _publishing(settings))
        if once:
            trouble = keepers.round()
            click.echo(f"{keepers.written:,} snapshot{'' if keepers.written == 1 else 's'} written")
            if trouble:
                raise EnchantedError(trouble)
            return
        condition = Condition(ROUND_LIMIT_S)
        with _pages(settings, keepers, condition):
            _serve(keepers, health, condition)
    finally:
        ledger.close()


def _open_patiently(settings: Settings, health: HealthFile) -> Ledger:
    """The ledger, once it can be opened: its disk may be full, or its cluster away, for any time."""
    pause_s = ROUND_INTERVAL_S
    while True:
        try:
            return Ledger.open(settings)
        except (SettingsError, AccessError):
            raise
        except EnchantedError as error:
            logger.warning("%s; again in %.1f s", error, pause_s)
            health.write("retrying", str(error))
        time.sleep(pause_s)
        pause_s = _longer(pause_s)


def _longer(pause_s: float) -> float:
    return min(2 * pause_s, LONGEST_PAUSE_S) * (0.5 + random.random() / 2)


def _pages(settings: Settings, keepers: Keepers, condition: Condition) -> AbstractContextManager[object]:
    """Listens where an address is set; without one, nothing needs the library that makes the pages."""
    if not settings.metrics_address:
        return nullcontext()
    from infrastructure.cli.snapshot_metrics import KeepersCollector
    from nervous_system.telemetry.pages import collected

    return collected(settings.metrics_address, KeepersCollector(keepers), condition)


def _serve(keepers: Keepers, health: HealthFile, condition: Condition) -> None:
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    pause_s = ROUND_INTERVAL_S
    while not stopping.is_set():
        condition.beat()
        try:
            trouble = keepers.round()
            condition.settle()
            pause_s = ROUND_INTERVAL_S
            health.write("running", trouble or f"{keepers.written:,} snapshots written")
        except (SettingsError, AccessError):
            raise
        except EnchantedError as error:
            logger.warning("%s; again in %.1f s", error, pause_s)
            health.write("retrying", str(error))
            condition.settle("the ledger or the log does not answer")
            pause_s = _longer(pause_s)
        stopping.wait(pause_s)


def _publishing(settings: Settings) -> Tell:
    def tell(project: ProjectName, events: list[SwarmEvent]) -> None:
        publisher = Publisher(settings, project)
        try:
            for event in events:
                publisher.put(event.SerializeToString(deterministic=True))
            publisher.flush()
        finally:
            publisher.close()

    return tell
