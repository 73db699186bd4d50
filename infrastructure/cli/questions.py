"""``enchanted sql``: a question to ClickHouse."""

from __future__ import annotations

import re
import sys

import click
from clickhouse_connect.driver.exceptions import ClickHouseError

from ingestors.clickhouse import connect
from nervous_system.errors import EnchantedError
from nervous_system.settings import Settings

_NAMES_A_FORMAT = re.compile(r"\bformat\s+\w+\s*;?\s*$", re.IGNORECASE)
_RETURNS_ROWS = re.compile(
    r"^\s*(?:--[^\n]*\n\s*)*\(?\s*(select|with|show|describe|desc|explain|exists)\b", re.IGNORECASE
)


class QuestionError(EnchantedError):
    """ClickHouse refuses a question; its own words say why."""


@click.command()
@click.argument("question")
@click.option("--format", "output_format", metavar="FORMAT", help="A ClickHouse format, such as CSVWithNames.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def sql(question: str, output_format: str | None, as_json: bool) -> None:
    """Ask ClickHouse a QUESTION in SQL; events are in the view swarm_events. A QUESTION of - is read from stdin."""
    text = sys.stdin.read() if question == "-" else question
    if not text.strip():
        raise click.UsageError("The question is empty.")
    client = connect(Settings.load())
    try:
        chosen = None if _NAMES_A_FORMAT.search(text) else _format(text, output_format, as_json)
        with client.raw_stream(text.rstrip().rstrip(";"), fmt=chosen) as answer:
            for piece in answer:
                sys.stdout.buffer.write(piece)
        sys.stdout.flush()
    except ClickHouseError as error:
        raise QuestionError(f"ClickHouse refuses the question: {_reason(error)}") from error
    finally:
        client.close()


def _format(text: str, output_format: str | None, as_json: bool) -> str | None:
    if as_json:
        return "JSONEachRow"
    if output_format:
        return output_format
    if not _RETURNS_ROWS.match(text):
        return None
    return "PrettyCompactMonoBlock" if sys.stdout.isatty() else "TSVWithNames"


def _reason(error: ClickHouseError) -> str:
    # The client puts its own words before ClickHouse's, and ClickHouse its version behind them.
    text = " ".join(str(error).split())
    start = text.find("Code: ")
    return re.sub(r" \(version [^)]*\).*$", "", text[max(start, 0) :])
