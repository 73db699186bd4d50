"""``enchanted ls``, ``cat`` and ``diff``: looking at past trees without restoring them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.text import Text

from infrastructure.cli.options import (
    PROJECT,
    at_option,
    conflict_option,
    known_at_option,
    opened_ledger,
    outbox_option,
)
from nervous_system.errors import NotFoundError
from nervous_system.ledger.history import History
from nervous_system.projects import ProjectName
from replay import moments
from replay.contents import Contents
from replay.difference import Difference, counts, differences, unified
from replay.merging import Policy, tree_at

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@click.command()
@click.argument("project", type=PROJECT)
@at_option
@known_at_option
@conflict_option
@outbox_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ls(*, project: ProjectName, moment_text: str, known_at: str | None, on_conflict: str, as_json: bool) -> None:
    """List the files of PROJECT as of a moment: mode, content hash, path."""
    with _history(project) as history:
        moment = moments.resolve(history, moment_text, known_at=known_at)
        tree = tree_at(history, moment, Contents(history), Policy(on_conflict))
    rows = [{"mode": f"{entry.mode:06o}", "hash": entry.content_hash, "path": path} for path, entry in tree.items()]
    rows.sort(key=lambda row: row["path"])
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    for row in rows if not as_json else ():
        click.echo(f"{row['mode']} {row['hash'][:12]} {row['path']}")


@click.command()
@click.argument("project", type=PROJECT)
@click.argument("path")
@at_option
@known_at_option
@conflict_option
@outbox_option
def cat(*, project: ProjectName, path: str, moment_text: str, known_at: str | None, on_conflict: str) -> None:
    """Print the content of PATH in PROJECT as of a moment, byte for byte."""
    with _history(project) as history:
        moment = moments.resolve(history, moment_text, known_at=known_at)
        contents = Contents(history)
        entry = tree_at(history, moment, contents, Policy(on_conflict)).get(path)
        if entry is None:
            raise NotFoundError(f"There is no {path!r} in {project} as of {moment.meaning}: see `enchanted ls`.")
        sys.stdout.buffer.write(contents(entry.content_hash))
        sys.stdout.buffer.flush()


@click.command()
@click.argument("project", type=PROJECT)
@click.argument("before")
@click.argument("after", default="now")
@known_at_option
@conflict_option
@outbox_option
@click.option("--stat", is_flag=True, help="Only how many lines of each file were added and removed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(
    *,
    project: ProjectName,
    before: str,
    after: str,
    known_at: str | None,
    on_conflict: str,
    stat: bool,
    as_json: bool,
) -> None:
    """Show what changed in PROJECT between two moments, BEFORE and AFTER (default: now)."""
    with _history(project) as history:
        contents = Contents(history)
        first, second = (
            tree_at(history, moments.resolve(history, text, known_at=known_at), contents, Policy(on_conflict))
            for text in (before, after)
        )
        found = differences(first, second)
        if as_json:
            click.echo(json.dumps([_facts(each, contents) for each in found], ensure_ascii=False, indent=2))
        elif stat:
            _print_stat(found, contents)
        else:
            _print_diff(found, contents)


@contextmanager
def _history(project: ProjectName) -> Iterator[History]:
    with opened_ledger(project) as ledger:
        yield ledger.history(project)


def _facts(difference: Difference, contents: Contents) -> dict[str, str | int]:
    added, removed = counts(unified(difference, contents))
    facts: dict[str, str | int] = {
        "path": difference.resource,
        "kind": difference.kind,
        "added_lines": added,
        "removed_lines": removed,
    }
    if difference.renamed_from:
        facts["renamed_from"] = difference.renamed_from
    for side, entry in (("before", difference.before), ("after", difference.after)):
        if entry is not None:
            facts |= {f"mode_{side}": f"{entry.mode:06o}", f"hash_{side}": entry.content_hash}
    return facts


def _print_stat(found: list[Difference], contents: Contents) -> None:
    rows = [(each, *counts(unified(each, contents))) for each in found]
    for each, added, removed in rows:
        origin = f"{each.renamed_from} → " if each.renamed_from else ""
        click.echo(f"{each.kind:<9}{f'+{added}':>7}{f'-{removed}':>7}  {origin}{each.resource}")
    total_added, total_removed = sum(row[1] for row in rows), sum(row[2] for row in rows)
    click.echo(f"{len(rows):,} files changed, {total_added:,} lines added, {total_removed:,} removed")


def _print_diff(found: list[Difference], contents: Contents) -> None:
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for each in found:
        console.print(Text(f"{each.kind} {each.resource}", style="bold"))
        if each.kind == "mode" and each.before and each.after:
            console.print(f"mode {each.before.mode:06o} → {each.after.mode:06o}")
            continue
        for number, line in enumerate(unified(each, contents)):
            style = "bold" if number < 2 else _COLOURS.get(line[:1], "")
            console.print(Text(line, style=style))
