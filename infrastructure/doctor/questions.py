"""ClickHouse: connection, versions, tables, permission to insert, fsync, clock, disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from infrastructure.doctor.clocks import skew
from infrastructure.doctor.disks import room
from infrastructure.doctor.findings import Finding, Patient, failure, ok, warning

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

CHECK = "clickhouse"
LEAST_VERSION = (24, 8)
FSYNC = ("fsync_after_insert = 1", "fsync_part_directory = 1")
# No row is inserted; the permission is asked for all the same.
_NOTHING = "INSERT INTO events (log_sequence) SELECT 1 WHERE 0"


def look(patient: Patient) -> Iterator[Finding]:
    """All about ClickHouse; raises EnchantedError where it cannot be reached."""
    if not patient.settings.clickhouse_url:
        yield warning(CHECK, "None is set, so nothing can be asked in SQL: set ENCHANTED_CLICKHOUSE_URL for that.")
        return
    from ingestors import clickhouse

    client = clickhouse.connect(patient.settings, timeout_s=max(int(patient.timeout_s), 1))
    try:
        yield ok(
            f"{CHECK}: connection",
            f"Answers at {patient.settings.clickhouse_url} as {patient.settings.clickhouse_user}.",
        )
        yield from _server(client, patient)
        yield from _tables(client, patient)
    finally:
        client.close()


def _server(client: Client, patient: Patient) -> Iterator[Finding]:
    before = patient.clock()
    [(now, version)] = client.query("SELECT toUnixTimestamp64Micro(now64(6)), version()").result_rows
    after = patient.clock()
    numbers = tuple(int(part) for part in str(version).split(".")[:2])
    if numbers < LEAST_VERSION:
        yield failure(f"{CHECK}: version", f"{version} is older than 24.8: upgrade it.")
    else:
        yield ok(f"{CHECK}: version", f"{version}.")
    yield skew(f"{CHECK}: clock", int(now), (before, after))


def _fullest_disk(client: Client) -> Finding:
    asked = "SELECT free_space, total_space FROM system.disks ORDER BY free_space / greatest(total_space, 1) LIMIT 1"
    [(free, total)] = client.query(asked).result_rows
    return room(f"{CHECK}: disk", int(free), int(total))


def _tables(client: Client, patient: Patient) -> Iterator[Finding]:
    from clickhouse_connect.driver.exceptions import DatabaseError

    parts: dict[str, Callable[[Client], Finding]] = {
        "tables": _migrations,
        "fsync": _durability,
        "disk": _fullest_disk,
    }
    for name, ask in parts.items():
        try:
            yield ask(client)
        except DatabaseError as error:
            yield warning(
                f"{CHECK}: {name}",
                f"Cannot be told, for these credentials may not ask ({_short(error)}): use the owner's.",
            )
    try:
        client.command(_NOTHING)
    except DatabaseError as error:
        yield patient.refused(
            "insert",
            f"{CHECK}: insert",
            f"Refused ({_short(error)}): an ingestor needs GRANT INSERT on the database; who only asks does not, and "
            "must not have it. Name with --role whose credentials these are.",
        )
    else:
        yield ok(f"{CHECK}: insert", "May insert; nothing was.")


def _migrations(client: Client) -> Finding:
    from ingestors import schema

    check = f"{CHECK}: tables"
    exists = client.query("EXISTS TABLE schema_migrations").result_rows[0][0]
    applied = {row[0] for row in client.query("SELECT name FROM schema_migrations").result_rows} if exists else set()
    known = set(schema.names())
    if missing := sorted(known - applied):
        return failure(
            check, f"{len(missing)} migrations are missing, {missing[0]} first: start `enchanted ingest clickhouse`."
        )
    if newer := sorted(applied - known):
        return warning(check, f"A newer version has migrated them ({newer[-1]}): upgrade this machine's Enchanted.")
    return ok(check, f"As this version makes them ({max(known)}).")


def _durability(client: Client) -> Finding:
    check = f"{CHECK}: fsync"
    asked = "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = 'events'"
    found = client.query(asked).result_rows
    if not found:
        return failure(check, "There is no table events: start `enchanted ingest clickhouse`, which makes it.")
    lacking = [each for each in FSYNC if each not in found[0][0]]
    if lacking:
        return failure(
            check,
            f"An insert is answered before it is on disk: ALTER TABLE events MODIFY SETTING {', '.join(lacking)}.",
        )
    return ok(check, "An insert is on disk when it is answered.")


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[max(text.find("Code: "), 0) :][:200]
