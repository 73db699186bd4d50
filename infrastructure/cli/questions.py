"""``enchanted sql``: a question to ClickHouse."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Iterator

import click
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from ingestors.clickhouse import connect
from nervous_system.errors import EnchantedError
from nervous_system.settings import Settings

# What ClickHouse puts into an answer that it has to break off; the reason follows.
BROKEN_OFF = b"__exception__\r\n"
REASON_MAX_BYTES = 32_768

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
    _refuse_bytes_that_are_no_text(text)
    # It would say on stderr what the error says better.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    client = connect(Settings.load())
    try:
        chosen = None if _NAMES_A_FORMAT.search(text) else _format(text, output_format, as_json)
        with client.raw_stream(text.rstrip().rstrip(";"), fmt=chosen) as answer:
            for piece in _whole(answer):
                sys.stdout.buffer.write(piece)
        sys.stdout.flush()
    except ClickHouseError as error:
        raise QuestionError(f"ClickHouse refuses the question: {_reason(error)}") from error
    finally:
        client.close()


def _refuse_bytes_that_are_no_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise click.UsageError("The question is not UTF-8: write it so, or set LC_ALL=C.UTF-8.") from error


def _whole(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """An answer without the reason in which one that is broken off ends; raises QuestionError with it."""
    held = b""
    try:
        for piece in pieces:
            held += piece
            if len(held) > 2 * REASON_MAX_BYTES:
                yield held[:-REASON_MAX_BYTES]
                held = held[-REASON_MAX_BYTES:]
    except HTTPError as error:
        rows, _, reason = held.partition(BROKEN_OFF)
        yield rows.removesuffix(b"\r\n")
        said = _shortened(reason.decode(errors="replace")) or str(error)
        raise QuestionError(f"ClickHouse broke off its answer: {said}") from error
    yield held


def _format(text: str, output_format: str | None, as_json: bool) -> str | None:
    if as_json:
        return "JSONEachRow"
    if output_format:
        return output_format
    if not _RETURNS_ROWS.match(text):
        return None
    return "PrettyCompactMonoBlock" if sys.stdout.isatty() else "TSVWithNames"


def _reason(error: ClickHouseError) -> str:
    return _shortened(str(error))


def _shortened(words: str) -> str:
    # The client puts its own words before ClickHouse's, and ClickHouse its version behind them; what a parser would
    # have taken instead is hundreds of keywords.
    text = " ".join(words.split())
    text = re.sub(r" \(version [^)]*\).*$", "", text[max(text.find("Code: "), 0) :])
    return re.sub(r" Expected one of: .{200,}(?= \(SYNTAX_ERROR\)$)", "", text)
