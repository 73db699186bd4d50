"""``enchanted fork``: a new project whose past is another's."""

from __future__ import annotations

import click

from infrastructure.cli.options import PROJECT, opened_ledger
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from replay import forking, moments
from replay.publication import settled


@click.command()
@click.argument("project", type=PROJECT)
@click.argument("new", type=PROJECT)
@click.option("--at", "moment_text", default="now", metavar="MOMENT", help=f"Where they part: {moments.HELP}.")
@click.option("--known-at", metavar="TIME", help="Only what the log had by then.")
@click.option("--reason", default="", metavar="TEXT", help="Why; it is kept with the fork's first event.")
def fork(*, project: ProjectName, new: ProjectName, moment_text: str, known_at: str | None, reason: str) -> None:
    """Make NEW, a project whose past is that of PROJECT up to a moment, without copying it.

    From there on each goes its own way. Both are of one tenant.
    """
    settings = Settings.load()
    with opened_ledger() as ledger:
        settled(settings, [project])
        moment = moments.resolve(ledger.history(project), moment_text, known_at=known_at)
        made = forking.fork(settings, ledger, project, new, moment, reason=reason)
    click.echo(f"{new} begins where {project} was at {moment.meaning}, after event {made.through_event_id}")
