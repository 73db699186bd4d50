"""Outboxes straight into a ledger, where the network is trusted and there is no log between.

The keys are those that the log's worker writes. The outbox is the stream that sequences count in, a batch its message;
the ledger keeps its cursor in the same transaction, so that a batch is landed once. What comes by the log as well is
known by its event's id, and dropped by whoever is second.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from nervous_system.errors import NotFoundError
from nervous_system.events import now_us
from nervous_system.inspection import EventRefusedError, inspect
from nervous_system.landing import Batch, Cursor, LandedEvent, LandedMessage, Refusal
from nervous_system.ledger.ledger import Ledger
from nervous_system.outbox.draining import Acknowledgement, Drain, OutboxBatch
from nervous_system.outbox.opening import About
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from syncer.carrying import GROUP_BATCHES, Told, Until

logger = logging.getLogger(__name__)

SINK = "syncer"
PARTITION = 0


class LedgerCarrier:
    """One ledger, shared by all outboxes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = asyncio.Lock()
        self._ledger: Ledger | None = None

    async def begin(self, drain: Drain) -> LedgerCarriage:
        """A carriage that has looked; raises EnchantedError where the ledger does not answer."""
        async with self._lock:
            if self._ledger is None:
                self._ledger = await asyncio.to_thread(Ledger.open, self._settings)
        carriage = LedgerCarriage(self._ledger, drain, self._settings.outbox_keep_s)
        await carriage.look()
        return carriage

    async def close(self) -> None:
        """Frees the engine."""
        if self._ledger is not None:
            await asyncio.to_thread(self._ledger.close)


class LedgerCarriage:
    """See ``Carriage``; covered is what has landed."""

    is_open = True

    def __init__(self, ledger: Ledger, drain: Drain, keep_s: float) -> None:
        self._ledger = ledger
        self._drain = drain
        self._keep_s = keep_s
        self._stream = outbox_stream(drain.about)
        self._cursor = Cursor()

    async def look(self) -> None:
        """Has landed again what the ledger lacks, as after it was restored from a backup."""
        self._cursor = await asyncio.to_thread(self._standing)
        lost = await asyncio.to_thread(self._drain.rewind, self._stream, self._cursor.sequence)
        if lost:
            logger.warning("%s: the ledger lacks %d batches; they are landed again", self._drain.about.project, lost)

    async def send(self, told: Told, until: Until) -> int:
        """Lands what waits, in order."""
        sent = 0
        while not until() and (batches := await asyncio.to_thread(self._drain.pending, GROUP_BATCHES)):
            await asyncio.to_thread(self._land, batches)
            for batch in batches:
                told(batch)
            sent += len(batches)
        return sent

    async def cover(self) -> bool:
        """Deletes what the ledger has had for long."""
        await asyncio.to_thread(self._drain.prune, self._keep_s)
        return True

    def _standing(self) -> Cursor:
        """The cursor, its recorded time below nothing that the project has: what is recorded later is landed later."""
        cursor = self._ledger.cursor(SINK, self._stream, PARTITION)
        try:
            recorded_us = self._ledger.history(self._drain.about.project).head().last_recorded_us
        except NotFoundError:
            recorded_us = 0
        return Cursor(cursor.sequence, max(cursor.recorded_us, recorded_us))

    def _land(self, batches: Sequence[OutboxBatch]) -> None:
        new = [batch for batch in batches if batch.number > self._cursor.sequence]
        if new:
            recorded_us = max(self._cursor.recorded_us, now_us())
            read = [landed_message(batch, self._drain.about.project, recorded_us) for batch in new]
            # What is refused must be safe before the cursor passes it.
            self._bury([refusal for _, refusals in read for refusal in refusals])
            messages = tuple(message for message, _ in read)
            batch = Batch(self._stream, PARTITION, self._cursor.sequence, messages)
            landed = self._ledger.land(SINK, batch)
            self._bury(landed.refusals)
            self._cursor = batch.cursor
        self._drain.acknowledge(self._stream, [Acknowledgement(batch.number, batch.number) for batch in batches])
        self._drain.cover(self._stream, batches[-1].number)

    def _bury(self, refusals: Sequence[Refusal]) -> None:
        if refusals:
            path = refused_path(self._drain.path)
            bury(path, refusals)
            logger.warning("%s: %d events cannot be landed: see %s", self._drain.about.project, len(refusals), path)


def outbox_stream(about: About) -> StreamIdentity:
    """The outbox as what sequences count in."""
    return StreamIdentity(f"outbox-{about.id}", about.created_us)


def refused_path(outbox: Path) -> Path:
    """Where what the ledger does not take of an outbox is put, for there is no log's dead-letter stream."""
    return outbox.with_suffix(".refused.jsonl")


def bury(path: Path, refusals: Sequence[Refusal]) -> None:
    """Appends refusals, on disk when it returns; the same one may come twice."""
    with path.open("a", encoding="utf-8") as file:
        for line in _lines(refusals):
            file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def landed_message(
    batch: OutboxBatch, project: ProjectName, recorded_us: int
) -> tuple[LandedMessage, Sequence[Refusal]]:
    """A batch as a worker of the log would hand it to the ledger, and what of it may not be kept."""
    events: list[LandedEvent] = []
    refusals: list[Refusal] = []
    is_part = batch.kind == "part"
    for index, data in enumerate(() if is_part else batch.data):
        try:
            events.append(LandedEvent(data, inspect(data, project), index))
        except EventRefusedError as error:
            refusals.append(Refusal(error.code, str(error), data, batch.number, index))
    message = LandedMessage(
        sequence=batch.number,
        recorded_us=recorded_us,
        project=project,
        events=tuple(events),
        part=batch.data[0] if is_part else None,
        size_bytes=sum(map(len, batch.data)),
    )
    return message, refusals


def _lines(refusals: Sequence[Refusal]) -> Iterator[str]:
    for refusal in refusals:
        facts = {"code": refusal.code, "reason": refusal.reason, "data": base64.b64encode(refusal.data).decode()}
        yield json.dumps(facts)
