"""``enchanted rebuild``: a store filled anew from the archive alone."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from functools import partial

import click

from infrastructure.cli.advance import Progress, shown_progress
from ingestors.archived import ProjectRows
from ingestors.compared import LedgerHoldings
from ingestors.comparing import Comparison
from ingestors.rebuilding import Rebuild, Rebuilt, Store
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.reading import ArchiveReader
from nervous_system.archive.signing import signer_of, verifier_of
from nervous_system.archive.state import ArchiveState
from nervous_system.errors import NotFoundError
from nervous_system.ledger.ledger import Ledger
from nervous_system.settings import Settings

_NAMES = {"ledger": "The ledger", "clickhouse": "ClickHouse"}
Opened = Callable[[Callable[[Ledger], bool]], AbstractContextManager[Store]]
"""Opens a store, given what tells of a ledger whether it agrees with the archive."""


@click.command()
@click.argument("store", type=click.Choice(["clickhouse", "ledger"]))
@click.option("--from-archive", is_flag=True, help="From where; there is no other way, and it is to be said.")
@click.option(
    "--beneath", is_flag=True, help="Of ClickHouse: also where it holds events already; whatever is missing comes back."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def rebuild(*, store: str, from_archive: bool, beneath: bool, as_json: bool) -> None:
    """Fill an empty STORE with all that the archive holds, and let its ingestor go on from there.

    Killed at any point, it goes on from where it came when it is run again. A store that is not empty is refused,
    unless a rebuild of it was begun. Ingestors may run meanwhile: that of the ledger waits until the rebuild is done,
    and what that of ClickHouse lands counts once. Of the ledger, versions that were written down before name nothing
    any more; times, event ids, commits and checkpoints mean what they meant.
    """
    if not from_archive:
        raise click.UsageError("Say --from-archive: the store is filled from the archive in the settings.")
    if beneath and store == "ledger":
        raise click.UsageError("Nothing can be landed beneath what a ledger holds: it keeps the order of landing.")
    # It would say on stderr what the error says better.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    settings = Settings.load()
    settings.require("s3_endpoint")
    began_s = time.monotonic()
    with shown_progress() as progress:
        rebuilt = _rebuilt(settings, partial(_opened, settings, store, beneath), progress)
    seconds = time.monotonic() - began_s
    name = _NAMES[store]
    if as_json:
        click.echo(json.dumps({"store": store, **asdict(rebuilt), "seconds": round(seconds, 3)}, indent=2))
    elif not rebuilt.events:
        click.echo(f"{name} had all {rebuilt.archived:,} events of the archive already.")
    else:
        rate = rebuilt.events / max(seconds, 0.001)
        click.echo(
            f"{name} holds all {rebuilt.archived:,} events of the archive: {rebuilt.events:,} were landed in "
            f"{seconds:.1f} s ({rate:,.0f}/s). Its ingestor goes on from there."
        )
        if rebuilt.refused:
            click.echo(f"{rebuilt.refused:,} were refused, as they were when they came: see docs/dead-letters.md.")


def _rebuilt(settings: Settings, opened: Opened, progress: Progress) -> Rebuilt:
    objects = ObjectStore(settings)
    log = ArchiveLog(objects, signer_of(settings), verifier_of(settings))
    reader = ArchiveReader(objects, log)
    try:
        state = log.state()
        if not state.number:
            raise NotFoundError(
                f"The archive in bucket {settings.s3_bucket} is empty: there is nothing to rebuild from."
            )
        total = sum(entry.rows for entry in state.files.values())
        with opened(partial(_agrees, settings, objects, state)) as store:
            return Rebuild(
                store, state, partial(reader.messages, state), lambda done: progress("rebuilding", done, total)
            ).run()
    finally:
        reader.close()


@contextmanager
def _opened(settings: Settings, name: str, beneath: bool, agrees: Callable[[Ledger], bool]) -> Iterator[Store]:
    from ingestors.filling import RebuiltClickHouse, RebuiltLedger

    settings.require("ledger" if name == "ledger" else "clickhouse_url")
    store: Store = RebuiltLedger(settings, agrees) if name == "ledger" else RebuiltClickHouse(settings, beneath=beneath)
    try:
        yield store
    finally:
        store.sink.close()


def _agrees(settings: Settings, objects: ObjectStore, state: ArchiveState, ledger: Ledger) -> bool:
    """Whether a ledger holds what the archive does, as far as it goes, and no more."""
    comparison = Comparison(
        state.heads, ProjectRows(objects, state).of, ledger=LedgerHoldings(ledger, state, settings.partitions)
    )
    is_behind = all(
        cursor.sequence <= state.cursor(stream, partition).sequence
        for (_, stream, partition), cursor in ledger.cursors().items()
    )
    return is_behind and next(comparison.differences(), None) is None
