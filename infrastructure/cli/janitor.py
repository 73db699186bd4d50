"""``enchanted janitor``: what the archive has for good leaves the hot stores."""

from __future__ import annotations

import json
import logging
import random
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import Event

import click

from infrastructure.cli.janitor_metrics import Rounds
from ingestors.janitor.plan import Done, Report, StorePlan
from ingestors.janitor.round import Janitor
from nervous_system.errors import AccessError, EnchantedError, SettingsError
from nervous_system.events import utc
from nervous_system.health import HealthFile
from nervous_system.settings import Settings
from nervous_system.telemetry import logs
from nervous_system.telemetry.condition import Condition

logger = logging.getLogger(__name__)

ROUND_EVERY_S = 3600.0
FIRST_PAUSE_S = 5.0
# A round through a long history takes hours.
ROUND_LIMIT_S = 6 * 3600.0
NOUNS = {"clickhouse": "events", "ledger": "events", "stream": "messages", "archive": "objects"}


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@click.option("--once", is_flag=True, help="Go through all stores once, say what came of it, and end.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def janitor(*, dry_run: bool, once: bool, as_json: bool) -> None:
    """Remove old events from the log, the ledger and ClickHouse, once the archive has them.

    ENCHANTED_HOT_DAYS says how long they stay. Whatever is asked of an older moment is then read from the archive.
    Without an option it goes on for ever, a round an hour.
    """
    if dry_run and once:
        raise click.UsageError("--dry-run and --once exclude each other.")
    settings = Settings.load()
    logs.configure(settings)
    worker = Janitor(settings, makes_ledger=not (dry_run or once))
    if dry_run:
        _show_plan(worker.plan(_told), as_json)
    elif once:
        _show_report(worker.once(_told), as_json)
    else:
        _serve(settings, worker)


def _told(number: int, count: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if number == count else ""
        click.echo(f"\rchecking object {number:,} of {count:,} in the archive{end}", nl=False, err=True)


def _show_plan(plans: Sequence[StorePlan], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"stores": [plan.document() for plan in plans]}))
        return
    for plan in plans:
        until = f", recorded until {utc(plan.until_us):%Y-%m-%d %H:%M:%S} UTC" if plan.until_us else ""
        click.echo(f"{plan.store:<11}{plan.items:>12,} {NOUNS[plan.store]:<9}about {_size(plan.size_bytes):>10}{until}")
        for share in plan.shares:
            if share.tenant and share.items:
                click.echo(f"{'':<11}{share.items:>12,} of {share.tenant}")
        _show_held(plan.held)


def _show_report(report: Report, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.document()))
        return
    for done in report.stores:
        given = f"{_size(done.freed_bytes):>10} given back{_sizes(done)}"
        click.echo(f"{done.store:<11}{done.items:>12,} {NOUNS[done.store]:<9}{given}")
        _show_held(done.held)
    click.echo(f"{'in all':<33}{_size(report.freed_bytes):>10} given back")


def _sizes(done: Done) -> str:
    return f" ({_size(done.before_bytes)} → {_size(done.after_bytes)})" if done.before_bytes else ""


def _show_held(held: Sequence[str]) -> None:
    for sentence in held:
        click.echo(f"{'':<11}stays: {sentence}")


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def _serve(settings: Settings, worker: Janitor) -> None:
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    health, condition, rounds = HealthFile.from_environment(), Condition(ROUND_LIMIT_S), Rounds()
    health.write("starting", "the first round begins")
    with _pages(settings, rounds, condition):
        pause_s = FIRST_PAUSE_S
        while not stopping.is_set():
            condition.beat()
            try:
                rounds.add(worker.once(lambda *_: condition.beat()))
                condition.settle()
                health.write("running", f"rounds: {rounds.count:,}; given back: {_size(rounds.freed_bytes)}")
                pause_s, wait_s = FIRST_PAUSE_S, ROUND_EVERY_S
            except (SettingsError, AccessError):
                raise
            except EnchantedError as error:
                rounds.failures += 1
                logger.warning("%s; again in %.1f s", error, pause_s)
                health.write("retrying", str(error))
                condition.settle("a store does not answer, or the archive is damaged")
                wait_s, pause_s = pause_s, min(2 * pause_s, ROUND_EVERY_S)
            stopping.wait(wait_s * (0.5 + random.random()))


def _pages(settings: Settings, rounds: Rounds, condition: Condition) -> AbstractContextManager[object]:
    """Listens where an address is set; without one, nothing needs the library that makes the pages."""
    if not settings.metrics_address:
        return nullcontext()
    from infrastructure.cli.janitor_metrics import collector
    from nervous_system.telemetry.pages import collected

    return collected(settings.metrics_address, collector(rounds), condition)
