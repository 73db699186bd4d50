"""``enchanted sql``: a question to ClickHouse, or a prompt for many."""

from __future__ import annotations

import sys

import click

from infrastructure.cli import answers
from infrastructure.cli.answers import FORMATS, Format
from ingestors.clickhouse import connect
from nervous_system.settings import Settings


@click.command()
@click.argument("question", required=False)
@click.option(
    "--format",
    "output_format",
    metavar="FORMAT",
    help=f"{', '.join(FORMATS)}, or any format of ClickHouse, such as Parquet. "
    "Where none is given: table on a terminal, tsv elsewhere.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, as --format jsonl.")
def sql(question: str | None, output_format: str | None, as_json: bool) -> None:
    """Ask ClickHouse a QUESTION in SQL; events are in the view swarm_events.

    A QUESTION of - is read from standard input. Without one, a prompt takes many.
    """
    if as_json and output_format:
        raise click.UsageError("--json and --format exclude each other.")
    settings = Settings.load()
    is_prompt = question is None and sys.stdin.isatty()
    text = "" if is_prompt else sys.stdin.read() if question in (None, "-") else str(question)
    if not is_prompt:
        _refuse_what_cannot_be_asked(text)
    chosen = _format(output_format, as_json)
    with connect(settings) as client:
        if is_prompt:
            # The library behind it takes a tenth of a second to load, which one question need not wait for.
            from infrastructure.cli import prompt

            prompt.run(client, chosen, settings.home)
        else:
            answers.answer(client, text, chosen)


def _refuse_what_cannot_be_asked(text: str) -> None:
    if not text.strip():
        raise click.UsageError("The question is empty.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise click.UsageError("The question is not UTF-8: write it so, or set LC_ALL=C.UTF-8.") from error


def _format(output_format: str | None, as_json: bool) -> Format:
    if as_json:
        return FORMATS["jsonl"]
    if output_format:
        return answers.named(output_format)
    return FORMATS["table" if sys.stdout.isatty() else "tsv"]
