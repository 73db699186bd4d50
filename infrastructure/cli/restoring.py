"""``enchanted restore``: a project as it stood at a moment, in a folder; and back again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from infrastructure.cli.options import PROJECT, conflict_option, opened_ledger, outbox_option
from nervous_system.paths import resource_from_bytes
from nervous_system.redaction.vault import VAULT_FILE, Vault
from nervous_system.settings import Settings
from replay import moments
from replay.contents import Contents, ReadAhead
from replay.merging import Policy, tree_at
from replay.restoring import secrets
from replay.restoring.failures import TargetError
from replay.restoring.inplace_undo import Undo, is_cut_off, plan_undo, recover, undo
from replay.restoring.knowledge import Knowledge
from replay.restoring.plan import Plan, plan_restore
from replay.restoring.restore import act
from replay.restoring.steps import Action


@click.command()
@click.argument("words", nargs=-1, metavar="PROJECT FOLDER")
@click.option("--at", "moment_text", metavar="MOMENT", help=f"The moment: {moments.HELP}. Default: now.")
@click.option("--known-at", metavar="TIME", help="Only what the log had by then: asked twice, the same bytes.")
@click.option("--path", "subtrees", multiple=True, metavar="PATH", help="Only this file or folder; may be repeated.")
@conflict_option
@outbox_option
@click.option("--undo", "is_undo", is_flag=True, help="Undo the last restore into FOLDER while it was in use.")
@click.option("--with-secrets", is_flag=True, help="Put back what was taken out of files recorded on this machine.")
@click.option("--force", "is_forced", is_flag=True, help="Replace what was never recorded, too; it is kept for --undo.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.pass_context
def restore(
    context: click.Context,
    /,
    *,
    words: tuple[str, ...],
    moment_text: str | None,
    known_at: str | None,
    subtrees: tuple[str, ...],
    on_conflict: str,
    is_undo: bool,
    with_secrets: bool,
    is_forced: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Put PROJECT back as it stood at a moment, into FOLDER; or, with --undo, put FOLDER back as it was before that.

    The whole tree is checked first. A FOLDER that is new or empty gets it in one step, or not at all. One that is in
    use is changed path by path: what the project never knew is left alone, and what is replaced or removed is kept
    in FOLDER/.enchanted, from where

        enchanted restore --undo FOLDER

    puts it back, the last restore first.
    """
    if is_undo:
        if len(words) != 1 or moment_text or known_at or subtrees or with_secrets:
            raise click.UsageError("--undo takes a folder, and nothing else says what is undone.", context)
        _undo(Path(words[0]), is_forced=is_forced, dry_run=dry_run, as_json=as_json)
        return
    if len(words) != 2:
        raise click.UsageError("Name a project and a folder.", context)
    project, folder = PROJECT.convert(words[0], None, context), Path(words[1])
    with opened_ledger(project) as ledger:
        history = ledger.history(project)
        moment = moments.resolve(history, moment_text or "now", known_at=known_at)
        contents = Contents(history)
        tree = tree_at(history, moment, contents, Policy(on_conflict))
        known = Knowledge(history)
        if with_secrets:
            vault = Vault(Settings.load().home / VAULT_FILE)
            tree, known = secrets.with_secrets(tree, contents, vault.kept()), secrets.OwnersKnowledge(history, vault)
        _roll_back(folder, dry_run=dry_run)
        chosen = [_resource(subtree) for subtree in subtrees]
        plan = plan_restore(tree, folder, contents, known=known, subtrees=chosen)
        if as_json:
            click.echo(json.dumps({"project": str(project), "moment": moment.meaning, **plan.as_json()}, indent=2))
        elif dry_run:
            _show(plan)
        if dry_run:
            return
        order = [step.entry.content_hash for step in plan.steps if step.entry and step.action is not Action.LEAVE]
        note = f"{project} as of {moment.meaning}"
        watched = secrets.Watched(ReadAhead(contents, order))
        _act(plan, watched, is_forced=is_forced, note=note)
    if not as_json:
        click.echo(_outcome(plan, note, folder))
    if told := watched.sentence():
        click.echo(told, err=True)


def _resource(subtree: str) -> str:
    """A path as it was typed, such as ``src/``, as the project has it."""
    # What is not UTF-8 comes as surrogates; `enchanted ls` shows it as \xHH, which may be typed as well.
    is_text = subtree.isprintable() or "\\" in subtree
    resource = subtree if is_text else resource_from_bytes(os.fsencode(subtree))
    return resource.rstrip("/").removeprefix("./")


def _roll_back(folder: Path, *, dry_run: bool) -> None:
    if dry_run and is_cut_off(folder):
        raise TargetError(
            f"A restore into {folder} was cut off. `enchanted restore --undo` rolls it back, as any restore does first."
        )
    if not dry_run and (rolled_back := recover(folder)):
        click.echo(_undone(rolled_back), err=True)


def _act(plan: Plan, contents: Callable[[str], bytes], *, is_forced: bool, note: str) -> None:
    console = Console(stderr=True)
    columns = (TextColumn("restoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("restoring", total=len(plan.steps))

        def told(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        act(plan, contents, None if progress.disable else told, is_forced=is_forced, note=note)


def _show(plan: Plan) -> None:
    for step in plan.steps:
        if step.action is Action.LEAVE:
            continue
        mode = f"{step.entry.mode:06o}" if step.entry else " " * 6
        drift = "  (never recorded)" if step.is_drift else ""
        click.echo(f"{step.action.value:<12}{mode}  {step.resource}{drift}")
    for resource, why in plan.blocked:
        click.echo(f"{'in the way':<20}{resource}  ({why})")
    click.echo(", ".join(f"{count:,} to {name}" for name, count in plan.counts.items() if count) or "nothing to do")
    if plan.drift and not plan.blocked:
        click.echo(f"{len(plan.drift):,} never recorded: only --force replaces or removes them")


def _outcome(plan: Plan, note: str, folder: Path) -> str:
    if not plan.is_in_place:
        return f"{note}: {_counted(len(plan.steps), 'file')} in {folder}"
    counts = plan.counts
    replaced = counts[Action.REPLACE] + counts[Action.CHANGE_MODE]
    done = f"{counts[Action.WRITE]:,} written, {replaced:,} replaced, {counts[Action.REMOVE]:,} removed"
    back = "" if counts[Action.LEAVE] == len(plan.steps) else f"; `enchanted restore --undo {folder}` takes it back"
    return f"{note}: {done}, {counts[Action.LEAVE]:,} left as they were in {folder}{back}"


def _undo(folder: Path, *, is_forced: bool, dry_run: bool, as_json: bool) -> None:
    done = plan_undo(folder) if dry_run else undo(folder, is_forced=is_forced)
    if as_json:
        click.echo(json.dumps(done.as_json(), indent=2))
    elif dry_run:
        for move in done.moves:
            changed = "  (changed since)" if move.resource in done.changed else ""
            click.echo(f"{'put back' if move.before else 'take away':<12}{move.resource}{changed}")
    else:
        click.echo(_undone(done))


def _undone(done: Undo) -> str:
    """What an undo did, as sentences."""
    back = sum(move.before is not None for move in done.moves)
    began = "Rolled back what was cut off of" if done.was_cut_off else "Undid"
    kept = "".join(f"\nKept {now}: what stood at {was}, changed since" for was, now in done.kept.items())
    return (
        f"{began} the restore of {done.note} in {done.target}: {_counted(back, 'path')} put back, "
        f"{_counted(len(done.moves) - back, 'path')} taken away{kept}"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
