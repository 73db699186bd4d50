"""``enchanted verify --archive``: whether the archive is what was written, and the stores hold what it holds."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from typing import Any

import click

from infrastructure.cli.advance import Progress, shown_progress
from ingestors import buried, clickhouse
from ingestors.agreement import Difference
from ingestors.archived import ProjectRows
from ingestors.buried import DeadLetter
from ingestors.compared import ClickHouseHoldings, LedgerHoldings, Refused
from ingestors.comparing import Comparison
from nervous_system.archive.audit import Finding, audit
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.signing import signer_of, verifier_of
from nervous_system.archive.state import ArchiveState
from nervous_system.errors import EnchantedError
from nervous_system.ledger.ledger import Ledger
from nervous_system.settings import Settings

SHOWN = 20
NAMES = {"ledger": "the ledger", "clickhouse": "ClickHouse"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found.

    Args:
        manifest: number of the newest manifest, or of the last that is good.
        manifest_hash: its hash, hex, which shows later whether manifests were taken away.
        events: events of the archive that were compared.
        stores: which were.
        differences: the first of each project and store, the archive's own faults first.
        seconds: how long it took.
    """

    manifest: int
    manifest_hash: str
    events: int
    stores: list[str]
    differences: list[Difference]
    seconds: float


def verify_archive(as_json: bool) -> bool:
    """Checks the archive, and the stores that are set against it; prints what differs. Whether nothing does."""
    # It would say on stderr what the error says better.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    settings = Settings.load()
    settings.require("s3_endpoint")
    with shown_progress() as progress:
        verdict = _verdict(settings, progress)
    if as_json:
        click.echo(json.dumps(asdict(verdict) | {"agrees": not verdict.differences}, indent=2))
    else:
        _tell(verdict)
    return not verdict.differences


def _tell(verdict: Verdict) -> None:
    rate = (
        f"{verdict.events:,} events in {verdict.seconds:.1f} s ({verdict.events / max(verdict.seconds, 0.001):,.0f}/s)"
    )
    if not verdict.differences:
        stores = " and ".join(NAMES[store] for store in verdict.stores)
        agree = f", and {stores} agree{'s' * (len(verdict.stores) == 1)} with it" if stores else ""
        click.echo(f"The archive is whole up to manifest {verdict.manifest}{agree}: {rate}.")
        click.echo(f"The hash of manifest {verdict.manifest} is {verdict.manifest_hash}.")
        return
    many = len(verdict.differences)
    click.echo(f"{many:,} difference{'s' * (many != 1)} up to manifest {verdict.manifest}, in {rate}. The first:")
    for found in verdict.differences[:SHOWN]:
        about = ", ".join(part for part in (found.project, found.event_id, found.position) if part)
        click.echo(f"  {found.store}: {about}: {found.reason}")


def _verdict(settings: Settings, progress: Progress) -> Verdict:
    began_s = time.monotonic()
    with ExitStack() as stack:
        objects = stack.enter_context(closing(ObjectStore(settings)))
        log = ArchiveLog(objects, signer_of(settings), verifier_of(settings))
        audited = audit(log, objects, lambda counted: progress("auditing", counted.objects, counted.objects_in_all))
        state = audited.state
        newest = log.manifest(state.number).hash.hex() if state.number else ""
        if not audited.good:
            # Of an archive that is not what was written no store need be the copy.
            found = list(map(_of_archive, audited.findings))
            return Verdict(state.number, newest, audited.counted.events, [], found, time.monotonic() - began_s)
        total = sum(entry.rows for entry in state.files.values())
        stores = dict(_stores(settings, state, stack))
        comparison = Comparison(
            state.heads,
            ProjectRows(objects, state).of,
            advanced=lambda done: progress("comparing", done, total),
            **stores,
        )
        found = list(comparison.differences())
        return Verdict(state.number, newest, comparison.events, list(stores), found, time.monotonic() - began_s)


def _stores(settings: Settings, state: ArchiveState, stack: ExitStack) -> Iterator[tuple[str, Any]]:
    if settings.ledger:
        ledger = stack.enter_context(closing(Ledger.open(settings, create=False)))
        yield "ledger", LedgerHoldings(ledger, state, settings.partitions)
    if settings.clickhouse_url:
        client = stack.enter_context(closing(clickhouse.connect(settings)))
        yield "clickhouse", ClickHouseHoldings(client, state, lambda: _refused(settings))


def _of_archive(finding: Finding) -> Difference:
    place = finding.key or (f"manifest {finding.manifest}" if finding.manifest else "")
    return Difference("archive", "", "", place, finding.reason)


def _refused(settings: Settings) -> frozenset[Refused]:
    """What ClickHouse alone has refused, by the dead letters; nothing where the log is away."""
    try:
        letters = asyncio.run(_letters(settings))
    except EnchantedError:
        return frozenset()
    return frozenset(
        (letter.stream, letter.sequence, letter.index) for letter in letters if letter.code == clickhouse.REFUSED
    )


async def _letters(settings: Settings) -> list[DeadLetter]:
    async with buried.opened(settings) as letters:
        return await letters.all()
