"""``ledger``: events landed in the embedded ledger a second, in small transactions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import apsw

from nervous_system.bus import StreamIdentity
from nervous_system.landing import Batch
from nervous_system.ledger.ledger import Ledger
from nervous_system.settings import Settings
from tests.benchmarks.material import batches, events, log_messages
from tests.benchmarks.report import Contender, compare

EVENTS = 10_000
BATCH_EVENTS = 100
STREAM = StreamIdentity("SWARM", 1)

_numbers = itertools.count()


def run(folder: Path) -> None:
    """Both on a new file, both with a synchronous write each hundred events."""
    prepared = list(batches(log_messages(events(EVENTS), BATCH_EVENTS), 1, STREAM))
    compare(
        f"ledger: {EVENTS:,} events in transactions of {BATCH_EVENTS}, embedded",
        "events",
        [Contender("Ledger.land: bytes, all indexes, chain, cursor", EVENTS, lambda: _ledger(folder, prepared))],
        Contender(
            "plain SQLite: WAL, synchronous FULL, bytes and one index", EVENTS, lambda: _sqlite(folder, prepared)
        ),
    )


def _ledger(folder: Path, prepared: list[Batch]) -> Callable[[], None]:
    ledger = Ledger.open(Settings(home=folder, ledger=f"embedded://{folder}/ledger-{next(_numbers)}.sqlite"))

    def work() -> None:
        for batch in prepared:
            ledger.land("ledger", batch)
        ledger.close()

    return work


def _sqlite(folder: Path, prepared: list[Batch]) -> Callable[[], None]:
    connection = apsw.Connection(str(folder / f"plain-{next(_numbers)}.sqlite"))
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
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
