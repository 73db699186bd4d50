"""``enchanted export``: a project's history in other tools' forms."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from infrastructure.cli.history import TYPES, as_json, printable
from infrastructure.cli.options import PROJECT, at_option, conflict_option, known_at_option, opened_ledger
from nervous_system.contract import SwarmEvent
from nervous_system.events import event_type, occurred_us
from nervous_system.ledger.history import History, StoredEvent
from nervous_system.projects import ProjectName
from replay import moments
from replay.export.cloudevents import cloud_event, raw_cloud_event
from replay.export.exporter import Form, Summary, export_git, taken
from replay.export.new_file import new_file
from replay.merging import Policy
from replay.moments import Moment

NAMES_SHOWN = 5
PROGRESS_EVERY_EVENTS = 100


@click.group()
def export() -> None:
    """Export history for other tools."""


@export.command("git")
@click.argument("project", type=PROJECT)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@at_option
@known_at_option
@conflict_option
@click.option("--branch", default="main", show_default=True, metavar="NAME", help="What the branch is called.")
@click.option("--bare", is_flag=True, help="Make a bare repository, without a work tree.")
@click.option("--no-trailers", is_flag=True, help="End no message in lines that lead back to the events.")
@click.option("--json", "json_summary", is_flag=True, help="Print what was done as JSON.")
def git(
    *,
    project: ProjectName,
    folder: Path,
    moment_text: str,
    known_at: str | None,
    on_conflict: str,
    branch: str,
    bare: bool,
    no_trailers: bool,
    json_summary: bool,
) -> None:
    """Make a Git repository of PROJECT's history in DIR, which must be new or empty.

    Changes that one agent made for one reason become a commit, which says that reason; checkpoints become tags. The
    repository appears in one step, or not at all.
    """
    form = Form(branch=branch, bare=bare, policy=Policy(on_conflict), trailers=not no_trailers)
    with opened_ledger() as ledger:
        history = ledger.history(project)
        moment = moments.resolve(history, moment_text, known_at=known_at)
        with _display(history) as progress:
            summary = export_git(history, moment, folder, form, progress)
    if json_summary:
        click.echo(json.dumps(_facts(summary, project, moment.meaning, branch), ensure_ascii=False, indent=2))
        return
    _warn(summary)
    counts = f"{_count(summary.commits, 'commit')}, {_count(summary.tags, 'tag')}"
    click.echo(f"{project} as of {moment.meaning}: {counts} on {branch} in {folder}")


@export.command("jsonl")
@click.argument("project", type=PROJECT)
@at_option
@known_at_option
@click.option("--since", metavar="MOMENT", help="Only what came after this moment.")
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="TYPE",
    type=click.Choice(TYPES, case_sensitive=False),
    help="Only this type, such as DECISION; repeatable.",
)
@click.option("--raw", is_flag=True, help="Each event's own bytes in base64, instead of its form in JSON.")
@click.option("--output", type=click.Path(path_type=Path), help="A file to write, or replace; stdout where not given.")
def jsonl(
    *,
    project: ProjectName,
    moment_text: str,
    known_at: str | None,
    since: str | None,
    types: tuple[str, ...],
    raw: bool,
    output: Path | None,
) -> None:
    """Write PROJECT's events as CloudEvents, one JSON object a line, oldest first."""
    with opened_ledger() as ledger:
        history = ledger.history(project)
        moment = moments.resolve(history, moment_text, known_at=known_at)
        target = nullcontext(sys.stdout.buffer) if output is None else new_file(output)
        with target as file:
            for stored, event in _span(history, moment, since):
                if types and event_type(event) not in types:
                    continue
                if raw:
                    line = raw_cloud_event(project, stored, event)
                else:
                    line = cloud_event(project, stored, event, as_json(stored, event))
                file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


@export.command("parquet")
@click.argument("project", type=PROJECT)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--since", metavar="MOMENT", help="Only what came after this moment.")
@click.option("--until", "moment_text", default="now", metavar="MOMENT", help=f"Only up to it: {moments.HELP}.")
@known_at_option
@click.option("--json", "json_summary", is_flag=True, help="Print what was done as JSON.")
def parquet(
    *, project: ProjectName, file: Path, since: str | None, moment_text: str, known_at: str | None, json_summary: bool
) -> None:
    """Write PROJECT's events to one Parquet FILE, or replace it: the archive's columns, in the ledger's order.

    The events come from the ledger, which has the newest before the archive does, and reads what is older than its hot
    window from the archive by itself.
    """
    from replay.export.parquet import export_parquet

    with opened_ledger() as ledger:
        history = ledger.history(project)
        moment = moments.resolve(history, moment_text, known_at=known_at)
        with new_file(file) as target:
            events = export_parquet(_span(history, moment, since), target)
    facts = {"project": str(project), "moment": moment.meaning, "events": events, "bytes": file.stat().st_size}
    if json_summary:
        click.echo(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        click.echo(f"{project} as of {moment.meaning}: {_count(events, 'event')} in {file}")


def _span(history: History, moment: Moment, since: str | None) -> Iterator[tuple[StoredEvent, SwarmEvent]]:
    """The events of a moment that came after another one, or happened after a time."""
    since_us = moments.parse_time(since) if since else None
    after = moments.resolve(history, since).through if since and since_us is None else None
    for stored, event in taken(history, moment, after):
        if since_us is None or occurred_us(event) > since_us:
            yield stored, event


@contextmanager
def _display(history: History) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("exporting"), BarColumn(), MofNCompleteColumn(), TextColumn("events"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("exporting", total=history.head().count)

        def show(events: int) -> None:
            if events % PROGRESS_EVERY_EVENTS == 0:
                bar.update(task, completed=events)

        yield show


def _facts(summary: Summary, project: ProjectName, meaning: str, branch: str) -> dict[str, str | int | list[str]]:
    return {
        "project": str(project),
        "moment": meaning,
        "branch": branch,
        "commits": summary.commits,
        "events": summary.events,
        "tags": summary.tags,
        "checkpoints_without_tag": summary.refused_checkpoints,
        "commits_without_their_tree": summary.unheld,
        "digest": summary.digest,
    }


def _warn(summary: Summary) -> None:
    """What is not as one would expect."""
    refused = summary.refused_checkpoints
    if refused:
        shown = ", ".join(repr(printable(name, line=True)) for name in refused[:NAMES_SHOWN])
        more = f" and {len(refused) - NAMES_SHOWN:,} more" if len(refused) > NAMES_SHOWN else ""
        click.echo(f"No tag could be made of {_count(len(refused), 'checkpoint')}: {shown}{more}.", err=True)
    if summary.unheld:
        click.echo(
            f"{_count(summary.unheld, 'commit')} could not hold the tree of that time, as no restore could: its "
            "changes came with a later one.",
            err=True,
        )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
