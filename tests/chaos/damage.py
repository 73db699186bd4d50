"""Takes an event from each store behind its back, so that every run shows that its checker would have seen it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import apsw

from nervous_system.settings import Settings
from tests.chaos import holdings, manifests
from tests.chaos.ledgerfile import LedgerFile


def in_ledger(settings: Settings) -> None:
    """Deletes the first event of a project."""
    path = holdings.ledger_path(settings)
    with LedgerFile(path) as file:
        head = file.head(file.projects()[0])
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(10_000)
    connection.execute("DELETE FROM pairs WHERE key = (SELECT min(key) FROM pairs WHERE key > ?)", (head,))
    connection.close()


def in_clickhouse(settings: Settings) -> None:
    """Deletes one row."""
    first = "(SELECT min(event_id) FROM events)"
    holdings.ask(settings, f"ALTER TABLE events DELETE WHERE event_id = {first} SETTINGS mutations_sync = 2")


def in_archive(settings: Settings) -> None:
    """Deletes one object of events that counts."""
    with holdings.s3(settings) as client:
        key = next(iter(manifests.files(client, settings)))
        client.delete_object(Bucket=settings.s3_bucket, Key=key)


KINDS: Mapping[str, Callable[[Settings], None]] = {
    "ledger": in_ledger,
    "clickhouse": in_clickhouse,
    "archive": in_archive,
}
