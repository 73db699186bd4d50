"""``enchanted repartition``: another number of partitions for the log."""

from __future__ import annotations

import asyncio

import click

from infrastructure.cli.advance import shown_progress
from nervous_system import repartitioning
from nervous_system.settings import Settings


@click.command()
@click.argument("partitions", type=click.IntRange(min=1))
@click.option(
    "--sink",
    "sinks",
    multiple=True,
    type=click.Choice(repartitioning.SINKS),
    help="Wait for this one only; repeatable. Every sink that you run must be among them.",
)
def repartition(*, partitions: int, sinks: tuple[str, ...]) -> None:
    """Give the log another number of PARTITIONS.

    It takes nothing meanwhile: recorders' outboxes and whoever publishes keep what they have and try again. Once every
    sink has landed all of it, the stream is made anew; if one cannot, the log is opened as it was. The ingestors must
    run until then. Afterwards set ENCHANTED_PARTITIONS everywhere and start them again.
    """
    settings = Settings.load()
    with shown_progress("messages") as progress:
        done = asyncio.run(
            repartitioning.repartition(
                settings,
                partitions,
                sinks or repartitioning.SINKS,
                lambda sink, left: progress(f"{sink} lands what is left", 0, left),
            )
        )
    if done.before == done.after:
        click.echo(f"Stream {settings.stream} has {done.after} partitions already: nothing was changed.")
        return
    click.echo(
        f"Stream {settings.stream} has {done.after} partitions instead of {done.before}. Set "
        f"ENCHANTED_PARTITIONS={done.after} everywhere, and start the ingestors and syncers again."
    )
