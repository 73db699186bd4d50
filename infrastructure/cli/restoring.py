"""``enchanted restore``: a project as it stood at a moment, in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from infrastructure.cli.options import PROJECT, opened_ledger
from nervous_system.projects import ProjectName
from replay import moments
from replay.contents import Contents, ReadAhead
from replay.merging import Policy, tree_at
from replay.plan import Plan, plan_restore
from replay.restore import act


@click.command()
@click.argument("project", type=PROJECT)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--at", "moment_text", default="now", metavar="MOMENT", help=f"The moment: {moments.HELP}.")
@click.option("--known-at", metavar="TIME", help="Only what the log had by then: asked twice, the same bytes.")
@click.option(
    "--on-conflict",
    type=click.Choice([policy.value for policy in Policy]),
    default=Policy.FAIL.value,
    show_default=True,
    help="Where two changes of one file cannot be merged: refuse, keep the first, take the second, or show both.",
)
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def restore(
    *,
    project: ProjectName,
    folder: Path,
    moment_text: str,
    known_at: str | None,
    on_conflict: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Put PROJECT back as it stood at a moment, into FOLDER, which must be new or empty.

    The whole tree is checked first; it appears in one step, or not at all.
    """
    with opened_ledger() as ledger:
        history = ledger.history(project)
        moment = moments.resolve(history, moment_text, known_at=known_at)
        contents = Contents(history)
        plan = plan_restore(tree_at(history, moment, contents, Policy(on_conflict)), folder, contents)
        if as_json:
            click.echo(json.dumps({"project": str(project), "moment": moment.meaning, **plan.as_json()}, indent=2))
        elif dry_run:
            _show(plan)
        if dry_run:
            return
        order = [step.entry.content_hash for step in plan.steps if step.entry is not None]
        _act(plan, ReadAhead(history, contents, order))
    if not as_json:
        files = len(plan.steps)
        click.echo(f"{project} as of {moment.meaning}: {files:,} file{'' if files == 1 else 's'} in {folder}")


def _act(plan: Plan, contents: ReadAhead) -> None:
    console = Console(stderr=True)
    columns = (TextColumn("restoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("restoring", total=len(plan.steps))
        act(plan, contents, lambda done, total: progress.update(task, completed=done, total=total))


def _show(plan: Plan) -> None:
    for step in plan.steps:
        mode = f"{step.entry.mode:06o}" if step.entry else " " * 6
        click.echo(f"{step.action.value:<8}{mode}  {step.resource}")
    click.echo(", ".join(f"{count:,} to {name}" for name, count in plan.counts.items() if count) or "nothing to do")
