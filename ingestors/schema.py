"""Brings ClickHouse's tables to what this version needs: numbered SQL files, each applied once."""

from __future__ import annotations

from importlib import resources

from clickhouse_connect.driver.client import Client

FOLDER = "migrations"
LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (name String, applied_at DateTime DEFAULT now())
ENGINE = ReplacingMergeTree ORDER BY name
"""


def migrate(client: Client) -> list[str]:
    """Applies what is missing, in order; returns the names applied.

    Every statement can be applied twice to the same effect, so workers that start together do no harm.
    """
    client.command(LEDGER)
    done = {row[0] for row in client.query("SELECT name FROM schema_migrations").result_rows}
    missing = [name for name in names() if name not in done]
    for name in missing:
        for statement in statements(name):
            client.command(statement)
        client.command("INSERT INTO schema_migrations (name) VALUES ({name:String})", parameters={"name": name})
    return missing


def names() -> list[str]:
    """The migrations there are, in order."""
    folder = resources.files("ingestors") / FOLDER
    return sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))


def statements(name: str) -> list[str]:
    """The statements of one migration; each ends in a semicolon at a line's end."""
    text = (resources.files("ingestors") / FOLDER / name).read_text(encoding="utf-8")
    return [statement.strip() for statement in text.split(";\n") if statement.strip()]
