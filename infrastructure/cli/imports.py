"""``enchanted import``: history that was made elsewhere, as events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from infrastructure.cli import transcripts
from infrastructure.cli.options import PROJECT
from nervous_system.landed import last_sequence, wait_until_landed
from nervous_system.ledger.ledger import Ledger
from nervous_system.projects import ProjectName
from nervous_system.publisher import Publisher
from nervous_system.settings import Settings
from replay.git.importer import ImportedCommit, ImportSummary, Progress, import_commits
from replay.git.landed import find_imported
from replay.git.repository import Branch, Repository

STOPPED_EXIT_CODE = 130


# An import is done when it can be restored and asked about; the archive follows when its file is full or old enough.
LANDED_IN = ("ledger", "clickhouse")


def find_earlier(settings: Settings, project: ProjectName, branch: Branch) -> ImportedCommit | None:
    """Where the last import of the branch got to, once everything that it sent has landed."""
    ledger = Ledger.open(settings)
    try:
        sequence = last_sequence(settings, project)
        if not sequence:
            return None
        wait_until_landed(settings, ["ledger"], sequence)
        return find_imported(ledger.history(project), branch.name)
    finally:
        ledger.close()


@click.group()
def import_() -> None:
    """Import history that was made elsewhere."""


for each in transcripts.COMMANDS:
    import_.add_command(each)


@import_.command("git")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--project", type=PROJECT, required=True, help="Where to: tenant/project.")
@click.option("--branch", help="Which branch; what the repository stands at where absent.")
@click.option("--limit", type=click.IntRange(min=1), help="Import this many commits; run it again to go on.")
@click.option("--no-wait", is_flag=True, help="Return once the log has everything, before the stores have it.")
@click.option("--skip-unsafe", is_flag=True, help="Leave out paths that cannot be recorded, instead of refusing.")
def git(
    path: Path, *, project: ProjectName, branch: str | None, limit: int | None, skip_unsafe: bool, no_wait: bool
) -> None:
    """Import the history of the Git repository at PATH.

    Each commit becomes a decision, with its message and author, and a change for every file it touched; merges by
    their first parent. Importing again adds what is new, and nothing twice; after Ctrl-C, run it again.

    Paths that some file system cannot hold, or that would be dangerous to restore (control characters, names that
    differ in case alone, links that lead out of the project), are refused before anything is imported. With
    --skip-unsafe they are left out, and a tree restored later lacks them; of names that collide, the first in the
    order of characters stays. Give the option each time you import this repository.
    """
    settings = Settings.load()
    repository = Repository(path)
    tip = repository.branch(branch)
    after = find_earlier(settings, project, tip)
    console, reached = Console(stderr=True), [Progress("checking", 0, 0)]
    publisher = Publisher(settings, project)
    try:
        with _display(console, reached) as (progress, landing):
            summary = import_commits(
                repository,
                tip,
                project,
                publisher,
                after=after,
                limit=limit,
                skip_unsafe=skip_unsafe,
                progress=progress,
            )
            publisher.flush()
            if publisher.last_sequence and not no_wait:
                wait_until_landed(settings, LANDED_IN, publisher.last_sequence, landing)
    except KeyboardInterrupt:
        sent = reached[-1].commits if reached[-1].stage == "importing" else 0
        click.echo(f"Stopped after {_count(sent, 'commit')}; run the same command again to finish.", err=True)
        click.get_current_context().exit(STOPPED_EXIT_CODE)
    finally:
        publisher.close()
    _report(summary, tip, project)


@contextmanager
def _display(
    console: Console, reached: list[Progress]
) -> Iterator[tuple[Callable[[Progress], None], Callable[[str, int], None]]]:
    """A bar on a terminal, for sending and then for landing; what was reached is kept in ``reached``."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("commits  {task.fields[rate]}  {task.fields[events]:,} events "),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("checking", total=None, rate="", events=0)

        def show(progress: Progress) -> None:
            if progress.stage != reached[-1].stage:
                bar.reset(task, description=progress.stage, total=progress.commits_total)
            reached[-1] = progress
            speed = bar.tasks[0].speed
            rate = f"{speed:,.0f}/s" if speed else ""
            bar.update(
                task, completed=progress.commits, total=progress.commits_total, rate=rate, events=progress.events
            )

        def land(sink: str, waiting: int) -> None:
            bar.update(task, description=f"landing in {sink}", rate=f"{waiting:,} messages to go")

        yield show, land


def _report(summary: ImportSummary, branch: Branch, project: ProjectName) -> None:
    for each in summary.left_out:
        click.echo(f"Left out: {each.resource!r}: {each.reason}.", err=True)
    if summary.left_out_count > len(summary.left_out):
        click.echo(f"Left out: {summary.left_out_count - len(summary.left_out):,} more.", err=True)
    if not summary.commits:
        click.echo(f"{project} has every commit of {branch.name} already.")
        return
    rate = summary.commits / max(summary.seconds, 0.001)
    click.echo(
        f"Imported {_count(summary.commits, 'commit')} of {branch.name} into {project}: "
        f"{_count(summary.events, 'event')}, {_count(summary.files, 'changed file')}, "
        f"{summary.bytes / 1_000_000:,.1f} MB in {summary.seconds:.1f} s ({rate:,.0f} commits/s)."
    )
    if summary.commits_left:
        click.echo(f"{_count(summary.commits_left, 'commit')} left: run the same command again to go on.")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
