"""``ledger``: events landed in the embedded ledger a second, in small transactions, and alone by many at once."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

from nervous_system.landing import Batch
from nervous_system.ledger.ledger import Ledger
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from tests.benchmarks.material import batches, events, log_messages
from tests.benchmarks.report import Contender, compare

EVENTS = 10_000
BATCH_EVENTS = 100
WRITERS = 8
EVENTS_A_WRITER = 250
STREAM = StreamIdentity("SWARM", 1)
FULL = 2

_numbers = itertools.count()


def run(folder: Path) -> None:
    """All on new files with a WAL and synchronous FULL: a write that is answered is on the disk."""
    _in_batches(folder)
    _one_by_one(folder)


def _in_batches(folder: Path) -> None:
    prepared = _prepared(ProjectName("bench", "swarm"), EVENTS, BATCH_EVENTS)
    compare(
        f"ledger: {EVENTS:,} events in transactions of {BATCH_EVENTS}, embedded",
        "events",
        [
            Contender(
                "Ledger.land: bytes, all indexes, chain, cursor",
                EVENTS,
                lambda: _ledger(folder, [("ledger", prepared)]),
            ),
            Contender("apsw: executemany, bytes and one index", EVENTS, lambda: _sqlite(folder, prepared)),
        ],
        Contender(
            "eventsourcing: SQLiteApplicationRecorder.insert_events",
            EVENTS,
            lambda: _eventsourcing(folder, prepared),
        ),
    )


def _one_by_one(folder: Path) -> None:
    projects = [ProjectName("bench", f"swarm-{number}") for number in range(WRITERS)]
    prepared = [_prepared(project, EVENTS_A_WRITER, 1) for project in projects]
    amount = WRITERS * EVENTS_A_WRITER
    # A sink's name of its own gives each writer its cursor, as a partition of its own does.
    writers = [(f"ledger-{number}", own) for number, own in enumerate(prepared)]
    compare(
        f"ledger: {amount:,} events, each durable alone, embedded",
        "events",
        [
            Contender(f"Ledger.land: {WRITERS} threads", amount, lambda: _ledger(folder, writers)),
            Contender("Ledger.land: one thread", amount, lambda: _ledger(folder, writers, threads=1)),
        ],
        Contender(
            "eventsourcing: SQLiteApplicationRecorder.insert_events, one thread",
            amount,
            lambda: _eventsourcing(folder, list(itertools.chain.from_iterable(prepared))),
        ),
    )


def _prepared(project: ProjectName, count: int, size: int) -> list[Batch]:
    return list(batches(log_messages(events(count, project), size, project), 1, STREAM))


def _ledger(
    folder: Path, writers: Sequence[tuple[str, Sequence[Batch]]], *, threads: int | None = None
) -> Callable[[], None]:
    """Lands each writer's batches, all at once or one writer after the other."""
    ledger = Ledger.open(Settings(home=folder, ledger=f"embedded://{folder}/ledger-{next(_numbers)}.sqlite"))

    def land(sink: str, prepared: Sequence[Batch]) -> None:
        for batch in prepared:
            ledger.land(sink, batch)

    def work() -> None:
        with ThreadPoolExecutor(threads or len(writers)) as pool:
            for landing in [pool.submit(land, *writer) for writer in writers]:
                landing.result()
        ledger.close()

    return work


def _eventsourcing(folder: Path, prepared: Sequence[Batch]) -> Callable[[], None]:
    """The library's own recorder; it opens its file with a WAL and SQLite's default, FULL."""
    datastore = SQLiteDatastore(str(folder / f"eventsourcing-{next(_numbers)}.sqlite"))
    recorder = SQLiteApplicationRecorder(datastore)
    recorder.create_table()
    with datastore.transaction(commit=False) as cursor:
        cursor.execute("PRAGMA synchronous")
        assert cursor.fetchone()[0] == FULL
    aggregate, versions = uuid.uuid4(), itertools.count(1)
    rows = [[StoredEvent(aggregate, next(versions), "SwarmEvent", data) for data in _data(batch)] for batch in prepared]

    def work() -> None:
        for each in rows:
            recorder.insert_events(each)
        datastore.close()

    return work


def _sqlite(folder: Path, prepared: Sequence[Batch]) -> Callable[[], None]:
    connection = apsw.Connection(str(folder / f"plain-{next(_numbers)}.sqlite"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", FULL)
    connection.execute(
        "CREATE TABLE events (id INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, data BLOB NOT NULL)"
    )

    def work() -> None:
        for batch in prepared:
            rows = [(landed.event.event_id, landed.data) for message in batch.messages for landed in message.events]
            with connection:
                connection.executemany("INSERT INTO events (event_id, data) VALUES (?, ?)", rows)
        connection.close()

    return work


def _data(batch: Batch) -> list[bytes]:
    return [landed.data for message in batch.messages for landed in message.events]
