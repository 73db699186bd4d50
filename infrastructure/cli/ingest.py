"""``enchanted ingest``: one sink's worker as a process."""

from __future__ import annotations

import asyncio
import re

import click

from ingestors.service import serve
from ingestors.sink import Sink
from nervous_system.settings import Settings
from nervous_system.telemetry import logs

_SPAN = re.compile(r"(\d+)(?:-(\d+))?")
_SHARE = re.compile(r"(\d+)/(\d+)")


@click.command()
@click.argument("sink", type=click.Choice(["ledger", "clickhouse", "siphon"]))
@click.option("--partitions", metavar="0-3,5", help="Partitions of the log to land; all of them where not given.")
@click.option(
    "--share",
    metavar="0/3|auto",
    help="Every third partition from 0 on; with auto, as many as each other process of the sink that says so.",
)
def ingest(sink: str, partitions: str | None, share: str | None) -> None:
    """Land the log in a store until told to stop: the ledger, ClickHouse, or the archive (siphon).

    Where it stands is kept in the store itself, so it can be stopped or killed at any moment and started again.
    """
    if partitions and share:
        raise click.UsageError("--partitions and --share both say which partitions to land: give one of them.")
    settings = Settings.load()
    logs.configure(settings)
    chosen = parse_share(share, settings.partitions) if share else parse_partitions(partitions, settings.partitions)
    asyncio.run(serve(settings, make_sink(sink, settings), chosen))


def make_sink(name: str, settings: Settings) -> Sink:
    """The sink called ``name``; only its own libraries are loaded."""
    if name == "ledger":
        from ingestors.ledger import LedgerSink

        settings.require("ledger")
        return LedgerSink(settings)
    if name == "clickhouse":
        from ingestors.clickhouse import ClickHouseSink

        settings.require("clickhouse_url")
        return ClickHouseSink(settings)
    from ingestors.siphon import SiphonSink

    settings.require("s3_endpoint")
    return SiphonSink(settings)


def parse_share(text: str, count: int) -> list[int] | None:
    """The partitions of such as ``0/3``, None for ``auto``; raises click.BadParameter for what is no share."""
    if text == "auto":
        return None
    match = _SHARE.fullmatch(text)
    ordinal, shares = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 0 <= ordinal < shares <= count:
        raise click.BadParameter(
            f"{text!r} is no share of {count} partitions: write auto, or ORDINAL/SHARES, such as 0/{count} to "
            f"{count - 1}/{count}.",
            param_hint="--share",
        )
    return list(range(ordinal, count, shares))


def parse_partitions(text: str | None, count: int) -> list[int]:
    """The partitions meant by such as ``0-3,5``; raises click.BadParameter where it is none of ``count``."""
    if text is None:
        return list(range(count))
    chosen: set[int] = set()
    for span in text.split(","):
        match = _SPAN.fullmatch(span.strip())
        first = int(match[1]) if match else -1
        last = int(match[2] or match[1]) if match else -1
        if not 0 <= first <= last < count:
            raise click.BadParameter(
                f"{span!r} names no partitions: the stream has 0 to {count - 1}.", param_hint="--partitions"
            )
        chosen.update(range(first, last + 1))
    return sorted(chosen)
