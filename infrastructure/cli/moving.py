"""``enchanted ledger``: moving the ledger to another engine, and copies of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from infrastructure.cli.advance import shown_progress
from nervous_system.errors import SettingsError
from nervous_system.ledger.engines import EMBEDDED, open_engine
from nervous_system.ledger.ledger import Ledger
from nervous_system.ledger.moving import Move, Side
from nervous_system.ledger.tls import TLS
from nervous_system.settings import Settings


@click.group()
def ledger() -> None:
    """Look after the ledger as a whole."""


@ledger.command()
@click.argument("target", metavar="ADDRESS")
@click.option("--abandon", is_flag=True, help="Give an unfinished move up, and let the ledger be written to again.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def move(*, target: str, abandon: bool, as_json: bool) -> None:
    """Move the ledger of the settings to ADDRESS: embedded:///path/ledger.sqlite, fdb:///path/fdb.cluster, or fdb:.

    Everything goes along as it is, sinks' cursors and versions too, and is compared row by row before the new ledger is
    opened. Ingestors may run: they wait from the last pass on, until they are started with the new address. Killed at
    any point, run it again. What was the ledger stays where it is, and takes nothing any more.
    """
    settings = Settings.load()
    with _moving(settings, target) as moving:
        if abandon:
            moving.abandon()
            click.echo("The move was given up: the ledger takes events again. Remove what was copied, or move again.")
            return
        with shown_progress() as progress:
            tally = moving.run(lambda seen: progress(f"pass {seen.passes}: rows", seen.rows, 0))
    if as_json:
        click.echo(json.dumps({"from": settings.ledger, "to": target, **asdict(tally)}, indent=2))
    elif not tally.passes:
        click.echo(f"The ledger was moved to {target} before: there is nothing left to do.")
    else:
        click.echo(
            f"Moved {tally.rows:,} rows, {tally.size_bytes:,} bytes, to {target}; the last of {tally.passes} passes "
            f"found both sides alike. Set ENCHANTED_LEDGER={target} everywhere, and start the workers with it."
        )


@ledger.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(*, file: Path) -> None:
    """Write a copy of an embedded ledger to FILE, as it stands at one instant, beside whoever reads and writes.

    To go back to it, stop everything, put FILE in the ledger's place, and start: ingestors go on from where it stands.
    """
    from nervous_system.ledger.embedded.backups import back_up

    address = Settings.load().require("ledger")
    if not address.startswith(EMBEDDED):
        raise SettingsError(f"The ledger is at {address}: FoundationDB is backed up by its own fdbbackup.")
    size_bytes = back_up(Path(address.removeprefix(EMBEDDED)), file.absolute())
    click.echo(f"{file}: {size_bytes:,} bytes.")


@contextmanager
def _moving(settings: Settings, target: str) -> Iterator[Move]:
    address = settings.require("ledger")
    # Checks that this version understands the ledger.
    Ledger.open(settings, create=False).close()
    source = open_engine(address, create=False, tls=TLS.of(settings))
    try:
        goal = open_engine(target, tls=TLS.of(settings))
        try:
            yield Move(Side(source, address), Side(goal, target))
        finally:
            goal.close()
    finally:
        source.close()
