"""What may stand where in a question: keywords, functions, tables, and the columns of the tables that are in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client

_KEYWORDS = """
ALL AND ANTI ARRAY AS ASC ASOF BETWEEN BY CASE CROSS DESC DESCRIBE DISTINCT ELSE END EXISTS EXPLAIN FINAL FORMAT FROM
GROUP HAVING ILIKE IN INNER INTERVAL IS JOIN LEFT LIKE LIMIT NOT NULL OFFSET ON OR ORDER OVER PARTITION PREWHERE
RECURSIVE RIGHT SAMPLE SELECT SEMI SETTINGS SHOW TABLES THEN TOTALS UNION USING WHEN WHERE WITH
"""
KEYWORDS = tuple(_KEYWORDS.split())
# Only a table can follow these.
BEFORE_TABLES = frozenset(("FROM", "JOIN", "DESCRIBE", "TABLE"))

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*$")
_BEFORE_WORD = re.compile(r"([A-Za-z_]\w*)\s*(\.?)\s*$")
_SOURCES = re.compile(r"\b(?:FROM|JOIN)\s+(\w+)(?=(?:\s+(?:FINAL\s+)?(?:AS\s+)?(\w+))?)", re.IGNORECASE)
_COLUMNS = "SELECT table, name FROM system.columns WHERE database = currentDatabase() ORDER BY table, position"
_FUNCTIONS = "SELECT name FROM system.functions WHERE alias_to = '' ORDER BY name"


@dataclass(frozen=True, slots=True)
class Names:
    """What a ClickHouse has: columns by table, and functions."""

    columns: Mapping[str, tuple[str, ...]]
    functions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A word that may stand at the cursor, and what it is: keyword, table, column or function."""

    word: str
    kind: str


def of_database(client: Client) -> Names:
    """The names in the client's database."""
    columns: dict[str, list[str]] = {}
    for table, name in client.query(_COLUMNS).result_rows:
        columns.setdefault(table, []).append(name)
    functions = client.query(_FUNCTIONS).result_rows
    return Names({table: tuple(each) for table, each in columns.items()}, tuple(name for (name,) in functions))


def word_at_end(before: str) -> str:
    """The unfinished word in which the text before the cursor ends."""
    found = _WORD.search(before)
    return found.group() if found else ""


def suggestions(names: Names, before: str, after: str = "") -> list[Suggestion]:
    """What the word at the cursor may become, likeliest first.

    Args:
        names: what there is.
        before: the question up to the cursor.
        after: the rest of it; tables named there count.
    """
    word = word_at_end(before)
    preceding = _BEFORE_WORD.search(before[: len(before) - len(word)])
    name, dot = preceding.groups() if preceding else ("", "")
    sources = _sources(names, before + after)
    if dot:
        return _starting(word, _kind("column", names.columns.get(sources.get(name.lower(), name), ())))
    if name.upper() in BEFORE_TABLES:
        return _starting(word, _kind("table", names.columns))
    columns = dict.fromkeys(column for table in sources.values() for column in names.columns[table])
    general = [*_kind("keyword", KEYWORDS), *_kind("table", names.columns)]
    functions = _kind("function", names.functions) if word else []
    return _starting(word, [*_kind("column", columns), *general, *functions])


def _sources(names: Names, text: str) -> dict[str, str]:
    """The tables in a question, by their names and aliases in lower case."""
    tables = {table.lower(): table for table in names.columns}
    found: dict[str, str] = {}
    for table, alias in _SOURCES.findall(text):
        if table.lower() in tables:
            found |= {each.lower(): tables[table.lower()] for each in (table, alias) if each}
    return found


def _kind(kind: str, words: Iterable[str]) -> list[Suggestion]:
    return [Suggestion(word, kind) for word in words]


def _starting(start: str, all_: Iterable[Suggestion]) -> list[Suggestion]:
    return [each for each in all_ if each.word.lower().startswith(start.lower())]
