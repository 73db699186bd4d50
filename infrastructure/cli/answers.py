"""Answers of ClickHouse, written to standard output in the format that is asked for."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from nervous_system.errors import EnchantedError

# What ClickHouse puts into an answer that it has to break off; the reason follows.
BROKEN_OFF = b"__exception__\r\n"
REASON_MAX_BYTES = 32_768

_NAMES_A_FORMAT = re.compile(r"\bformat\s+\w+\s*$", re.IGNORECASE)
_RETURNS_ROWS = re.compile(
    r"^\s*(?:--[^\n]*\n\s*)*\(?\s*(select|with|show|describe|desc|explain|exists)\b", re.IGNORECASE
)
_TABLE_SETTINGS = {"output_format_pretty_row_numbers": 0, "output_format_pretty_max_rows": 1_000_000}


class QuestionError(EnchantedError):
    """ClickHouse refuses a question; its own words say why."""


@dataclass(frozen=True, slots=True)
class Format:
    """How rows are written: a format of ClickHouse, and settings that go with it."""

    name: str
    settings: dict[str, int] = field(default_factory=dict)


FORMATS = {
    "table": Format("PrettyCompactMonoBlock", _TABLE_SETTINGS),
    "vertical": Format("Vertical"),
    "json": Format("JSONEachRow", {"output_format_json_array_of_rows": 1}),
    "jsonl": Format("JSONEachRow"),
    "csv": Format("CSVWithNames"),
    "tsv": Format("TSVWithNames"),
    "markdown": Format("Markdown"),
}


def named(name: str) -> Format:
    """The format of that name: one of FORMATS, or one of ClickHouse's own."""
    return FORMATS.get(name.lower(), Format(name))


def answer(client: Client, question: str, chosen: Format) -> None:
    """Asks ClickHouse and writes what it answers; a format that the question itself names goes first.

    Raises:
        QuestionError: ClickHouse refuses the question, or breaks off its answer.
    """
    text = question.rstrip().rstrip(";").rstrip()
    is_chosen = _RETURNS_ROWS.match(text) and not _NAMES_A_FORMAT.search(text)
    # It would say on stderr what the error says better.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    try:
        stream = (
            client.raw_stream(text, fmt=chosen.name, settings=chosen.settings) if is_chosen else client.raw_stream(text)
        )
        with stream as pieces:
            for piece in _whole(pieces):
                sys.stdout.buffer.write(piece)
        sys.stdout.flush()
    except ClickHouseError as error:
        raise QuestionError(f"ClickHouse refuses the question: {_shortened(str(error))}") from error


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


def _shortened(words: str) -> str:
    # The client puts its own words before ClickHouse's, and ClickHouse its version behind them; what a parser would
    # have taken instead is hundreds of keywords.
    text = " ".join(words.split())
    text = re.sub(r" \(version [^)]*\).*$", "", text[max(text.find("Code: "), 0) :])
    return re.sub(r" Expected one of: .{200,}(?= \(SYNTAX_ERROR\)$)", "", text)
