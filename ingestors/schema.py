"""Brings ClickHouse's tables to what this version needs: numbered SQL files, each applied once, and then checked."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from ingestors import layout
from nervous_system.errors import EnchantedError, UnavailableError

FOLDER = "migrations"
LEDGER = (
    "CREATE TABLE IF NOT EXISTS schema_migrations (name String, applied_at DateTime DEFAULT now()) "
    "ENGINE = ReplacingMergeTree ORDER BY name",
    "ALTER TABLE schema_migrations ADD COLUMN IF NOT EXISTS sha256 String, ADD COLUMN IF NOT EXISTS layout String",
)
VIEW = "CREATE OR REPLACE VIEW"
# How often, and how far apart, the layout is looked at again: another worker may be in the middle of its migrations.
CHECKS = 3
CHECK_PAUSE_S = 0.2
ACCESS_DENIED = 497
UNKNOWN_TABLE = 60
_ENGINE = re.compile(r"\bENGINE = (\w*MergeTree)")

logger = logging.getLogger(__name__)


class SchemaError(EnchantedError):
    """ClickHouse's tables are not what the migrations make."""


class UnpreparedError(UnavailableError):
    """The tables are not there yet, and somebody else must make them."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration as ClickHouse has it recorded; what an older version did not record is empty."""

    sha256: str = ""
    layout: str = ""


def migrate(client: Client) -> list[str]:
    """Applies what is missing, in order; returns the names applied.

    Every statement can be applied twice to the same effect, so workers that start together do no harm.

    Raises:
        SchemaError: a migration was edited after it had been applied, a table has other columns than they make, or
            something is missing that the user may not make.
    """
    is_replicated = _is_replicated(client)
    try:
        for statement in LEDGER:
            client.command(replicated(statement) if is_replicated else statement)
    except DatabaseError as error:
        if error.code != ACCESS_DENIED:
            raise
        _refuse_missing(client)
        return []
    done = _recorded(client)
    _refuse_edited(done)
    known = names()
    missing = [name for name in known if name not in done]
    for name in missing:
        for statement in statements(name):
            client.command(replicated(statement) if is_replicated else statement)
    for name in known:
        if name not in done or not done[name].sha256:
            _record(client, name)
    # A newer version has migrated further, and checks what it made.
    if done.keys() <= set(known):
        _check(client, "" if missing else done[known[-1]].layout)
    return missing


def names() -> list[str]:
    """The migrations there are, in order."""
    folder = resources.files("ingestors") / FOLDER
    return sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))


def statements(name: str) -> list[str]:
    """The statements of one migration; each ends in a semicolon at a line's end."""
    return [statement.strip() for statement in _text(name).split(";\n") if statement.strip()]


def _text(name: str) -> str:
    return (resources.files("ingestors") / FOLDER / name).read_text(encoding="utf-8")


def _sha256(name: str) -> str:
    return hashlib.sha256(_text(name).encode()).hexdigest()


def _recorded(client: Client) -> dict[str, Applied]:
    answer = client.query("SELECT name, sha256, layout FROM schema_migrations FINAL")
    return {name: Applied(sha256, layout) for name, sha256, layout in answer.result_rows}


def _record(client: Client, name: str, layout: str = "") -> None:
    client.command(
        "INSERT INTO schema_migrations (name, sha256, layout) VALUES ({n:String}, {s:String}, {l:String})",
        parameters={"n": name, "s": _sha256(name), "l": layout},
    )


def _refuse_missing(client: Client) -> None:
    """For a user that may insert alone, as ingestors should: another one makes the tables."""
    try:
        done = _recorded(client)
    except DatabaseError as error:
        if error.code != UNKNOWN_TABLE:
            raise
        done = {}
    _refuse_edited(done)
    if missing := [name for name in names() if name not in done]:
        raise UnpreparedError(
            f"ClickHouse lacks {', '.join(missing)}, and this user may not make tables: run `enchanted prepare` "
            "with the credentials of their owner."
        )


def _is_replicated(client: Client) -> bool:
    """Whether the client's database hands what is made in it to other servers."""
    return str(client.command("SELECT engine FROM system.databases WHERE name = currentDatabase()")) == "Replicated"


def replicated(statement: str) -> str:
    """The statement for a database whose tables several servers keep."""
    return _ENGINE.sub(r"ENGINE = Replicated\1", statement)


def _refuse_edited(done: dict[str, Applied]) -> None:
    for name in names():
        if name in done and done[name].sha256 not in ("", _sha256(name)):
            raise SchemaError(
                f"The migration {name} is not the one that was applied to this ClickHouse: put the file back as it "
                "was, and make the change in a new migration."
            )


def _check(client: Client, expected: str) -> None:
    # What the migrations make is looked up once, in a scratch database, and then recorded.
    looked_up = expected or _looked_up(client)
    if not looked_up:
        return
    for attempt in range(CHECKS):
        differences = layout.differences(looked_up, layout.found(client))
        if not differences:
            break
        time.sleep(CHECK_PAUSE_S * attempt)
        _renew_views(client)
    else:
        raise SchemaError(
            f"ClickHouse's tables are not what the migrations make: {'; '.join(differences)}. Put them back with ALTER "
            "TABLE, or name an empty database in ENCHANTED_CLICKHOUSE_DATABASE: what the log holds lands there anew."
        )
    if not expected:
        _record(client, names()[-1], looked_up)


def _looked_up(client: Client) -> str:
    """What the migrations make; empty where the user may not make the scratch database in which that is seen."""
    try:
        return layout.made_by(client, [each for name in names() for each in statements(name)])
    except DatabaseError as error:
        if error.code != ACCESS_DENIED:
            raise
        logger.warning("ClickHouse's tables are not compared with the migrations: the user may not CREATE DATABASE")
        return ""


def _renew_views(client: Client) -> None:
    # A worker that was stopped in the middle may have put an older view in the place of a newer one. Over a table that
    # lacks a column none can be made: then it is the table that is told of.
    with suppress(DatabaseError):
        for name in names():
            for statement in statements(name):
                if VIEW in statement:
                    client.command(statement)
