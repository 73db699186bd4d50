"""``drain``: events that an outbox hands to the log a second, each acknowledged, on disk."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import apsw
from nats.js import api

from infrastructure.local.stack import running_stack
from nervous_system import bus
from nervous_system.contract import SwarmEvent
from nervous_system.outbox.outbox import Outbox, OutboxOptions
from nervous_system.outbox.rows import event_row
from nervous_system.publisher import Publisher
from nervous_system.settings import Settings
from syncer.once import drain_once
from syncer.to_log import LogCarrier
from tests.benchmarks.material import PROJECT, events
from tests.benchmarks.report import Contender, compare

EVENTS = 100_000
SINGLE_EVENTS = 3_000
IN_FLIGHT = 256
APPENDED_ROWS = 5_000
BASELINE_SUBJECT = "baseline"

_numbers = itertools.count(1)


def run(folder: Path) -> None:
    """On a nats-server of its own, which writes through before it acknowledges; connecting is part of each run."""
    data = events(EVENTS)
    with running_stack(folder / "home", ["nats"]) as settings:
        compare(
            "drain: an outbox into one nats-server, sync_interval: always",
            "events",
            [
                Contender("outbox, drained once", EVENTS, lambda: _outbox(settings, folder, data)),
                Contender(
                    "Publisher, the same events from memory", EVENTS, lambda: partial(_publisher, settings, data)
                ),
                Contender(
                    f"plain SQLite table, one event a message, {IN_FLIGHT} on their way, then deleted",
                    SINGLE_EVENTS,
                    lambda: _plain(settings, folder, data[:SINGLE_EVENTS], IN_FLIGHT),
                ),
            ],
            Contender(
                "plain SQLite table, one event a message, each awaited and deleted",
                SINGLE_EVENTS,
                lambda: _plain(settings, folder, data[:SINGLE_EVENTS], 1),
            ),
        )


def _outbox(settings: Settings, folder: Path, data: list[bytes]) -> Callable[[], None]:
    own = replace(settings, outbox=str(folder / f"outbox{next(_numbers)}"))
    options = OutboxOptions.of(own, PROJECT)
    outbox = Outbox(options)
    rows = [event_row(SwarmEvent.FromString(each), each) for each in data]
    for start in range(0, len(rows), APPENDED_ROWS):
        outbox.append(rows[start : start + APPENDED_ROWS])
    outbox.close()

    async def drain() -> None:
        (outcome,) = await drain_once(LogCarrier(own), [options.path])
        assert outcome.tally.events == len(data), outcome

    return lambda: asyncio.run(drain())


def _publisher(settings: Settings, data: list[bytes]) -> None:
    publisher = Publisher(settings, PROJECT)
    for event in data:
        publisher.put(event)
    publisher.flush()
    publisher.close()


def _plain(settings: Settings, folder: Path, data: list[bytes], together: int) -> Callable[[], None]:
    """What one would write first: a table, from which a row goes once its message is acknowledged."""
    connection = apsw.Connection(str(folder / f"plain{next(_numbers)}.db"))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, data BLOB)")
    with connection:
        connection.executemany("INSERT INTO rows (data) VALUES (?)", [(each,) for each in data])

    async def drain() -> None:
        client = await bus.connect(settings)
        context = client.jetstream()
        await context.add_stream(name="BASELINE", subjects=[BASELINE_SUBJECT], storage=api.StorageType.FILE)
        question = "SELECT number, data FROM rows ORDER BY number LIMIT ?"
        while share := list[Any](connection.execute(question, (together,))):
            await asyncio.gather(*(context.publish(BASELINE_SUBJECT, each[1]) for each in share))
            connection.execute("DELETE FROM rows WHERE number <= ?", (share[-1][0],))
        await client.close()

    return lambda: asyncio.run(drain())
