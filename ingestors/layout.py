"""The columns that a database's tables and views have, as text: a line each, ``table column type kind``."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable

from clickhouse_connect.driver.client import Client

_COLUMNS = """
SELECT table, name, type, default_kind FROM system.columns
WHERE database = {database:String} AND table != 'schema_migrations' ORDER BY table, position
"""
_SCRATCH = "scratch_"
# After so long a scratch database is one that a worker left that was killed.
ABANDONED_AFTER_S = 3_600


def found(client: Client) -> str:
    """The layout of the client's database."""
    return _read(client, client.command("SELECT currentDatabase()"))


def made_by(client: Client, statements: Iterable[str]) -> str:
    """The layout that the statements make in an empty database, which is there only meanwhile."""
    _drop_abandoned(client)
    scratch = f"{_SCRATCH}{int(time.time())}_{uuid.uuid4().hex}"
    client.command(f"CREATE DATABASE {scratch}", use_database=False)
    try:
        for statement in statements:
            client.command(statement, settings={"database": scratch})
        return _read(client, scratch)
    finally:
        client.command(f"DROP DATABASE {scratch}", use_database=False)


def differences(expected: str, found: str) -> list[str]:
    """What is not as expected, a phrase each; tables that are not in ``expected`` are somebody else's."""
    wanted, there = _parsed(expected), _parsed(found)
    ours = {table for table, _ in wanted}
    missing = [f"{table} lacks {column}" for table, column in wanted if (table, column) not in there]
    extra = [f"{t} has {column}, which none makes" for t, column in there if t in ours and (t, column) not in wanted]
    other = [
        f"{table}.{column} is {there[table, column]}, not {kind}"
        for (table, column), kind in wanted.items()
        if there.get((table, column), kind) != kind
    ]
    return missing + extra + other


def _read(client: Client, database: object) -> str:
    rows = client.query(_COLUMNS, parameters={"database": database}).result_rows
    return "\n".join("\t".join(row).rstrip() for row in rows)


def _drop_abandoned(client: Client) -> None:
    names = client.query(f"SELECT name FROM system.databases WHERE startsWith(name, '{_SCRATCH}')").result_rows
    for (name,) in names:
        made_s = name.removeprefix(_SCRATCH).partition("_")[0]
        if made_s.isdecimal() and int(made_s) < time.time() - ABANDONED_AFTER_S:
            client.command(f"DROP DATABASE IF EXISTS {name}", use_database=False)


def _parsed(text: str) -> dict[tuple[str, str], str]:
    lines = (line.split("\t", 2) for line in text.splitlines())
    return {(table, column): kind.replace("\t", " ") for table, column, kind in lines}
