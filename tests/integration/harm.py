"""What an ill-wisher or a failing disk does to a store, for tests: one event changed, taken away, moved, or put in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import apsw

from ingestors import clickhouse
from nervous_system.archive.layout import manifest_key
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.objects import ObjectStore
from nervous_system.projects import ProjectName
from tests.chaos.ledgerfile import VERSION_BYTES, LedgerFile
from tests.integration.hubs import OwnHub, own_hub

Pair = tuple[bytes, bytes]


def harmed_ledger(hub: OwnHub, project: ProjectName, number: int, harm: str, target: Path) -> OwnHub:
    """The hub with a copy of its ledger, harmed at a project's event ``number``."""
    path = Path(hub.settings.ledger.removeprefix("embedded://"))
    # Whoever closes it last puts the log of SQLite into the file.
    hub_ledger = apsw.Connection(str(path))
    hub_ledger.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    hub_ledger.close()
    shutil.copy(path, target)
    with LedgerFile(target) as ledger:
        head = ledger.head(str(project))
    file = apsw.Connection(str(target))
    rows = list(
        file.execute("SELECT key, value FROM pairs WHERE key > ? AND key < ? ORDER BY key", (head, head + b"\xff"))
    )
    for key, value in LEDGER_HARMS[harm](rows, number, len(head)):
        if value:
            file.execute("REPLACE INTO pairs (key, value) VALUES (?, ?)", (key, value))
        else:
            file.execute("DELETE FROM pairs WHERE key = ?", (key,))
    file.close()
    return own_hub(replace(hub.settings, ledger=f"embedded://{target}"))


def _flip(rows: list[Pair], number: int, _: int) -> list[Pair]:
    key, value = rows[number]
    return [(key, value[:-3] + bytes((value[-3] ^ 1,)) + value[-2:])]


def _drop(rows: list[Pair], number: int, _: int) -> list[Pair]:
    return [(rows[number][0], b"")]


def _swap(rows: list[Pair], number: int, _: int) -> list[Pair]:
    (first, one), (second, other) = rows[number : number + 2]
    return [(first, other), (second, one)]


def _insert(rows: list[Pair], number: int, head_bytes: int) -> list[Pair]:
    key, _ = rows[number]
    version = key[head_bytes : head_bytes + VERSION_BYTES]
    later = version[:-1] + bytes((version[-1] + 128,))
    return [(key[:head_bytes] + later, rows[0][1])]


LEDGER_HARMS: dict[str, Callable[[list[Pair], int, int], list[Pair]]] = {
    "flip": _flip,
    "drop": _drop,
    "swap": _swap,
    "insert": _insert,
}

CLICKHOUSE_HARMS = {
    "flip": "SELECT * REPLACE(if(event_id = '{one}', concat(event_bytes, ' '), event_bytes) AS event_bytes) "
    "FROM {events}",
    "drop": "SELECT * FROM {events} WHERE event_id != '{one}'",
    "swap": "SELECT * REPLACE(multiIf(event_id = '{one}', 101, event_id = '{other}', 100, log_sequence) "
    "AS log_sequence) FROM {events}",
    "insert": "SELECT * FROM {events} UNION ALL SELECT * REPLACE(generateUUIDv7() AS event_id) FROM "
    "(SELECT * FROM {events} WHERE event_id = '{one}')",
}
KEPT_TABLES = ("swarm_cursors", "swarm_removed")


def harmed_clickhouse(hub: OwnHub, question: str) -> OwnHub:
    """The hub with a copy of its database, of which the events are what ``question`` gives."""
    harmed, source = hub.emptied("clickhouse"), hub.settings.clickhouse_database
    client = clickhouse.connect(harmed.settings)
    for table in ("events", *KEPT_TABLES):
        client.command(f"CREATE TABLE {table} AS {source}.{table}")
        chosen = question.format(events=f"{source}.events") if table == "events" else f"SELECT * FROM {source}.{table}"
        client.command(f"INSERT INTO {table} {chosen}")
    client.close()
    return harmed


def _flipped(data: bytes) -> bytes:
    return data[:60] + bytes((data[60] ^ 1,)) + data[61:]


def harm_archive(store: ObjectStore, harm: str) -> Callable[[], None]:
    """Harms the archive; gives what undoes it."""
    state = ArchiveLog(store).state()
    key = min(state.files)
    second, third = manifest_key(2), manifest_key(3)
    before = {name: store.get(name) for name in (key, second, third)}
    match harm:
        case "flip an object":
            store.put(key, _flipped(before[key]))
        case "drop an object":
            store.delete([key])
        case "flip a manifest":
            store.put(second, _flipped(before[second]))
        case "drop a manifest":
            store.delete([second])
        case "swap manifests":
            store.put(second, before[third])
            store.put(third, before[second])
        case _:
            raise AssertionError(harm)

    def undo() -> None:
        for name, data in before.items():
            store.put(name, data)

    return undo
