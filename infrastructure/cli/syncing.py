"""``enchanted sync``: what was recorded on this machine, to the hub."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from infrastructure.cli.options import PROJECT
from nervous_system.errors import NotFoundError
from nervous_system.events import utc
from nervous_system.health import HealthFile
from nervous_system.outbox.opening import outbox_path, outbox_paths
from nervous_system.outbox.reading import OutboxReader
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from syncer.carrying import Carrier, Tally
    from syncer.once import Outcome, Progress
    from syncer.watching import Watch


@click.command()
@click.option(
    "--once/--watch", "is_once", default=True, help="Empty the outboxes and end (default), or go on for ever."
)
@click.option("--project", type=PROJECT, help="Only this project's outbox; all of this machine where not given.")
@click.option(
    "--to",
    "target",
    type=click.Choice(["hub", "ledger"]),
    default="hub",
    show_default=True,
    help="The log of the hub; or straight into the ledger at ENCHANTED_LEDGER, on a trusted network without NATS.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list, or with --watch one object a line.")
def sync(*, is_once: bool, project: ProjectName | None, target: str, as_json: bool) -> None:
    """Send what was recorded on this machine to the hub, in order; what was sent before is not sent again.

    It can be stopped or killed at any moment and started again. Nothing is deleted here before the ledger has it.
    """
    settings = Settings.load()
    settings.require("nats_url" if target == "hub" else "ledger")
    if is_once:
        _once(settings, project, target, as_json=as_json)
    else:
        _watch(settings, project, target, as_json=as_json)


def _once(settings: Settings, project: ProjectName | None, target: str, *, as_json: bool) -> None:
    from syncer.once import drain_once, first_trouble

    paths = _outboxes(settings, project)
    if project is not None and not paths:
        raise NotFoundError(
            f"There is no outbox of {project} on this machine: nothing was recorded, or it is elsewhere."
        )

    async def run(progress: Progress) -> list[Outcome]:
        return await drain_once(_carrier(settings, target), paths, progress)

    with _shown_progress() as progress:
        outcomes = asyncio.run(run(progress))
    if as_json:
        click.echo(json.dumps([_facts(each) for each in outcomes], ensure_ascii=False, indent=2))
    else:
        for each in outcomes:
            click.echo(_sentence(each))
        if not outcomes:
            click.echo(f"There is no outbox in {settings.outbox_folder}: nothing was recorded on this machine.")
    if trouble := first_trouble(outcomes):
        raise trouble


def _watch(settings: Settings, project: ProjectName | None, target: str, *, as_json: bool) -> None:
    from syncer.watching import Watch

    logs.configure(settings)
    HealthFile.from_environment().write("starting", "looking for outboxes")

    def told(name: str, tally: Tally) -> None:
        if as_json:
            click.echo(json.dumps({"project": name, **_counts(tally)}))
        else:
            logging.getLogger("syncer").info("%s: %s sent", name, _counted(tally))

    async def run() -> None:
        stopping, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        find = partial(_outboxes, settings, project)
        watch = Watch(_carrier(settings, target), find, stopping, told)
        with _pages(settings, watch, find):
            await watch.run()

    asyncio.run(run())


def _pages(settings: Settings, watch: Watch, find: Callable[[], Sequence[Path]]) -> AbstractContextManager[object]:
    """Listens where an address is set; without one, nothing needs the library that makes the pages."""
    if not settings.metrics_address:
        return nullcontext()
    from infrastructure.cli.sync_metrics import SyncCollector
    from nervous_system.telemetry.pages import collected

    return collected(settings.metrics_address, SyncCollector(watch, find), watch.condition)


def _outboxes(settings: Settings, project: ProjectName | None) -> Sequence[Path]:
    if project is None:
        return outbox_paths(settings)
    path = outbox_path(settings, project)
    return [path] if path.exists() else []


def _carrier(settings: Settings, target: str) -> Carrier:
    if target == "hub":
        from syncer.to_log import LogCarrier

        return LogCarrier(settings)
    from syncer.to_ledger import LedgerCarrier

    return LedgerCarrier(settings)


@contextmanager
def _shown_progress() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def told(name: str, done: int, goal: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name)
            bar.update(tasks[name], completed=done, total=goal)

        yield told


def _facts(outcome: Outcome) -> dict[str, Any]:
    about = outcome.about
    return {
        "project": str(about.project) if about else None,
        "outbox": str(outcome.path),
        "sent": _counts(outcome.tally),
        "is_covered": outcome.is_covered,
        "waiting": _waiting(outcome.path),
        "trouble": str(outcome.trouble) if outcome.trouble else None,
    }


def _waiting(path: Path) -> dict[str, Any] | None:
    try:
        with OutboxReader(path) as reader:
            backlog = reader.backlog()
    except NotFoundError:
        return None
    since = None if backlog.since_us is None else utc(backlog.since_us).isoformat()
    return {"rows": backlog.rows, "size_bytes": backlog.size_bytes, "since": since}


def _sentence(outcome: Outcome) -> str:
    name = str(outcome.about.project) if outcome.about else str(outcome.path)
    sent = f"{_counted(outcome.tally)} sent" if outcome.tally.batches else "nothing to send"
    if outcome.trouble is not None:
        return f"{name}: {sent if outcome.tally.batches else 'nothing sent'}, then given up"
    return f"{name}: {sent}; {'the ledger has all of it' if outcome.is_covered else 'kept until the ledger has it'}"


def _counts(tally: Tally) -> dict[str, int]:
    return {
        "events": tally.events,
        "parts": tally.parts,
        "batches": tally.batches,
        "size_bytes": tally.size_bytes,
    }


def _counted(tally: Tally) -> str:
    events = f"{tally.events:,} event{'' if tally.events == 1 else 's'}"
    parts = f"{tally.parts:,} part{'' if tally.parts == 1 else 's'} of large contents"
    return f"{events} and {parts}" if tally.parts else events
