"""``enchanted dlq``: what could not be landed, why, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import click

from infrastructure.cli.history import printable
from infrastructure.cli.letters import (
    as_far_as_it_decodes,
    counted,
    letter_facts,
    outcome_facts,
    print_counts,
    print_letter,
    print_list,
    told,
)
from infrastructure.cli.options import PROJECT
from ingestors import buried
from ingestors.buried import DeadLetter
from ingestors.redelivery import Outcome, redeliver
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from replay.moments import parse_time

SHOWN_BYTES = 512


class TimeType(click.ParamType[int]):
    """A time, as microseconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Reads it; anything else is a usage error."""
        time_us = parse_time(str(value))
        if time_us is None:
            self.fail(f"{value!r} is not a time: write 2025-01-31T12:00Z or '2 hours ago'.", param, ctx)
        return time_us


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters are meant; None means any."""

    project: ProjectName | None = None
    code: str | None = None
    since_us: int | None = None

    def takes(self, letter: DeadLetter) -> bool:
        """Whether it is one of them."""
        return (
            (self.project is None or letter.project == self.project)
            and (self.code is None or letter.code == self.code)
            and (self.since_us is None or letter.buried_us >= self.since_us)
        )


_project_option = click.option("--project", type=PROJECT, help="Only what came on this project's subject.")
_code_option = click.option("--code", metavar="CODE", help="Only what was refused for this reason, such as bad_path.")
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _several(command: Callable[..., Any]) -> Callable[..., Any]:
    """Takes ids, or all that a filter leaves."""
    command = _code_option(_project_option(command))
    command = click.option("--all", "all_of_them", is_flag=True, help="All that the filters leave.")(command)
    return click.argument("ids", metavar="[ID]...", type=int, nargs=-1)(command)


@click.group()
def dlq() -> None:
    """Look at dead letters, what could not be landed; try them again or drop them."""


@dlq.command("list")
@_project_option
@_code_option
@click.option("--since", "since_us", type=TimeType(), metavar="TIME", help="Only what was buried since.")
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="How many, the last ones.")
@click.option("--count", "only_count", is_flag=True, help="Just how many there are, by code.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_(
    *,
    project: ProjectName | None,
    code: str | None,
    since_us: int | None,
    limit: int,
    only_count: bool,
    as_json: bool,
) -> None:
    """List what could not be landed, newest last; each refusal once, however many stores met it."""
    found = [letter for letter in asyncio.run(_all()) if Filter(project, code, since_us).takes(letter)]
    if only_count:
        print_counts(found, as_json=as_json)
    elif as_json:
        for letter in found[-limit:]:
            click.echo(json.dumps(letter_facts(letter), ensure_ascii=False))
    else:
        print_list(found[-limit:])
        if len(found) > limit:
            click.echo(f"{len(found) - limit:,} older ones are not shown: see --limit.", err=True)


@dlq.command()
@click.argument("number", metavar="ID", type=int)
@click.option("--all", "whole", is_flag=True, help=f"All bytes, not just the first {SHOWN_BYTES}.")
@click.option("--raw", is_flag=True, help="Write nothing but the verbatim bytes.")
@_json_option
def show(*, number: int, whole: bool, raw: bool, as_json: bool) -> None:
    """Show dead letter ID: why it was refused, its bytes, and the event as far as it decodes."""
    letter, data = asyncio.run(_with_bytes(number, complete=raw or whole))
    if raw:
        click.echo(data, nl=False)
        return
    decoded = as_far_as_it_decodes(letter, data)
    shown = data if whole else data[:SHOWN_BYTES]
    if as_json:
        facts = {**letter_facts(letter), "decoded": decoded, "hex": shown.hex()}
        click.echo(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        print_letter(letter, decoded, shown)


@dlq.command()
@_several
@_json_option
@click.pass_context
def retry(
    context: click.Context,
    *,
    ids: tuple[int, ...],
    all_of_them: bool,
    project: ProjectName | None,
    code: str | None,
    as_json: bool,
) -> None:
    """Inspect dead letters again by this version's rules, and publish those that may now be kept.

    They go to the end of their project's history, with the times that they have. Exits with 1 where some stay.
    """
    selection = _selection(ids, Filter(project, code), all_of_them=all_of_them)
    outcomes = asyncio.run(_retry(selection, (lambda _: None) if as_json else _tell))
    stayed = [outcome for outcome in outcomes if outcome.sequence is None]
    if as_json:
        click.echo(json.dumps([outcome_facts(outcome) for outcome in outcomes], ensure_ascii=False, indent=2))
    else:
        click.echo(f"{counted(len(outcomes) - len(stayed))} published again, {len(stayed):,} left")
    context.exit(1 if stayed else 0)


@dlq.command()
@_several
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(*, ids: tuple[int, ...], all_of_them: bool, project: ProjectName | None, code: str | None, yes: bool) -> None:
    """Remove dead letters for good. The log still has the messages that carried them."""
    doomed = asyncio.run(_select(_selection(ids, Filter(project, code), all_of_them=all_of_them)))
    if doomed and not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(f"{counted(len(doomed))} would be removed for good: say --yes.")
        click.confirm(f"Remove {counted(len(doomed))} for good?", abort=True)
    asyncio.run(_remove(doomed, everything=all_of_them and Filter(project, code) == Filter()))
    kept = "; the log still has the messages that carried them" if doomed else ""
    click.echo(f"{counted(len(doomed))} removed{kept}")


Selection = Callable[[list[DeadLetter]], list[DeadLetter]]


def _selection(ids: tuple[int, ...], wanted: Filter, *, all_of_them: bool) -> Selection:
    if bool(ids) == all_of_them:
        raise click.UsageError("Name dead letters by their ids, or all of them by --all.")
    if ids and wanted != Filter():
        raise click.UsageError("--project and --code choose among --all: they do not go with ids.")
    if ids:
        return lambda letters: buried.chosen(letters, ids)
    return lambda letters: [letter for letter in letters if wanted.takes(letter)]


async def _all() -> list[DeadLetter]:
    async with buried.opened(Settings.load()) as letters:
        return await letters.all()


async def _select(selection: Selection) -> list[DeadLetter]:
    return selection(await _all())


async def _with_bytes(number: int, *, complete: bool) -> tuple[DeadLetter, bytes]:
    async with buried.opened(Settings.load()) as letters:
        [letter] = buried.chosen(await letters.all(), [number])
        return letter, await (letters.data(letter) if complete else letters.excerpt(letter))


async def _retry(selection: Selection, tell: Callable[[Outcome], None]) -> list[Outcome]:
    outcomes = []
    async with buried.opened(Settings.load()) as letters:
        for letter in _in_log_order(selection(await letters.all())):
            outcomes.append(await redeliver(letters, letter))
            tell(outcomes[-1])
    return outcomes


def _tell(outcome: Outcome) -> None:
    click.echo(printable(told(outcome), line=True))


async def _remove(doomed: list[DeadLetter], *, everything: bool) -> None:
    async with buried.opened(Settings.load()) as letters:
        if everything and doomed:
            await letters.clear(max(max(letter.numbers) for letter in doomed))
            return
        for letter in doomed:
            await letters.remove(letter)


def _in_log_order(letters: Iterable[DeadLetter]) -> list[DeadLetter]:
    return sorted(letters, key=lambda letter: (letter.stream.created_us, letter.sequence, letter.index))
