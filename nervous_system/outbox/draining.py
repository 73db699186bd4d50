"""What a syncer calls: batches in order, each the same message however often it is sent; what the log and the ledger
have of them; what may go.

The order of work: ``pending`` gives the next batches. Send each, in order, under its ``message_id``, and call
``acknowledge``. Ask the ledger how far it is and call ``cover``. Where the log was made anew, or lost its end, call
``rewind`` before going on. Any of it may be broken off anywhere and done again.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from nervous_system.errors import UnavailableError
from nervous_system.events import BATCH_LIMIT_BYTES, BATCH_LIMIT_EVENTS, encode_batch, now_us
from nervous_system.outbox.opened import OpenOutbox
from nervous_system.outbox.sentences import sentences
from nervous_system.outbox.transactions import ask, delete_batch, last_in_batch, transaction
from nervous_system.streams import StreamIdentity

BatchKind = Literal["events", "part"]


@dataclass(frozen=True, slots=True)
class OutboxBatch:
    """What travels as one message.

    Args:
        number: 1, 2, 3 … in the outbox.
        message_id: the same however often it is sent.
        kind: events, or one part of a large content, which the events that name it follow.
        data: each event's bytes in order; a part's bytes.
        part_hash: SHA-256 of the part, hex; empty for events.
    """

    number: int
    message_id: str
    kind: BatchKind
    data: tuple[bytes, ...]
    part_hash: str

    @property
    def payload(self) -> bytes:
        """The message: a SwarmEventBatch, or the part."""
        return self.data[0] if self.kind == "part" else encode_batch(list(self.data))


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The log has batch ``number`` at ``sequence`` of the stream."""

    number: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch that the log acknowledged.

    Args:
        number: of the batch.
        message_id: under which the log has it.
        sequence: where, in its stream.
        is_covered: whether the ledger was seen to have it.
    """

    number: int
    message_id: str
    sequence: int
    is_covered: bool


class DrainedElsewhereError(UnavailableError):
    """Another process drains the outbox."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """A batch before it is stored: which rows, and what they hold."""

    kind: BatchKind
    first: int
    last: int
    rows: int
    size_bytes: int


class Drain(OpenOutbox):
    """The one drainer of an outbox; for one thread at a time. Recorders may go on writing.

    Raises, from every method: UnavailableError where the disk fails or is full.
    """

    def __init__(self, path: Path) -> None:
        """Opens an outbox that is there.

        Raises:
            NotFoundError: there is none.
            SettingsError: it is no outbox.
            UnavailableError: another process drains it.
        """
        super().__init__(path)
        self._lock = _lock(path)

    def close(self) -> None:
        """Lets another drain it."""
        super().close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def pending(self, limit: int = 16) -> list[OutboxBatch]:
        """The next batches that are not acknowledged, in order; at most ``limit``. Their boundaries are on disk."""
        with sentences(self.path):
            planned = self._unsent(limit)
            if len(planned) < limit and self._has_unplanned():
                with transaction(self._connection):
                    self._plan(limit - len(planned))
                planned = self._unsent(limit)
            return [self._load(*row) for row in planned]

    def acknowledge(self, stream: StreamIdentity, acknowledgements: Sequence[Acknowledgement]) -> None:
        """Notes that the log has these batches."""
        sent_us = now_us()
        # Forgotten when the power fails, they are sent again and are the same messages.
        with sentences(self.path), transaction(self._connection, durable=False):
            self._connection.executemany(
                "UPDATE batches SET stream = ?, sequence = ?, sent_us = ? WHERE batch = ?",
                [(str(stream), each.sequence, sent_us, each.number) for each in acknowledgements],
            )

    def acknowledged(self, batch: int, stream: StreamIdentity, sequence: int) -> None:
        """Notes that the log has one batch."""
        self.acknowledge(stream, [Acknowledgement(batch, sequence)])

    def cover(self, stream: StreamIdentity, sequence: int) -> int:
        """Notes that the ledger has all that the project's partition of ``stream`` holds up to ``sequence``.

        Returns:
            How many batches that newly covers.
        """
        with sentences(self.path), transaction(self._connection, durable=False):
            self._connection.execute(
                "UPDATE batches SET covered_us = ? WHERE stream = ? AND sequence <= ? AND covered_us IS NULL",
                (now_us(), str(stream), sequence),
            )
            return self._connection.changes()

    def rewind(self, stream: StreamIdentity, last_sequence: int) -> int:
        """Has all that is here and not in the log sent again: ``stream`` is the log now, and ends at ``last_sequence``.

        Returns:
            How many batches are to be sent again.
        """
        lost = "sequence IS NOT NULL AND (stream != ? OR sequence > ?)"
        if not self._ask(f"SELECT EXISTS (SELECT 1 FROM batches WHERE {lost})", str(stream), last_sequence):
            return 0
        with sentences(self.path), transaction(self._connection):
            self._connection.execute(
                f"UPDATE batches SET stream = NULL, sequence = NULL, sent_us = NULL, covered_us = NULL WHERE {lost}",
                (str(stream), last_sequence),
            )
            return self._connection.changes()

    def prune(self, keep_s: float) -> int:
        """Deletes what the ledger has had for ``keep_s``, oldest first; gives how many batches went."""
        before_us = now_us() - round(keep_s * 1_000_000)
        pruned = 0
        with sentences(self.path):
            # One a transaction, so that recorders are never held up for long.
            while self._prune_oldest(before_us):
                pruned += 1
        return pruned

    def uncovered(self) -> list[tuple[StreamIdentity, int]]:
        """The highest sequence of each stream that the ledger has not been seen to have."""
        with sentences(self.path):
            rows: list[Any] = self._connection.execute(
                "SELECT stream, max(sequence) FROM batches "
                "WHERE sequence IS NOT NULL AND covered_us IS NULL GROUP BY stream"
            ).fetchall()
        return [(StreamIdentity.parse(stream), sequence) for stream, sequence in rows]

    def last_sent(self, stream: StreamIdentity, through: int | None = None) -> Sent | None:
        """The batch that ``stream`` acknowledged last; of those up to sequence ``through`` where that is given."""
        return next(iter(self._sent(stream, through, limit=1)), None)

    def sent(self, stream: StreamIdentity) -> list[Sent]:
        """All batches that are here and that ``stream`` acknowledged, the last one first."""
        return self._sent(stream, None, limit=-1)

    def _sent(self, stream: StreamIdentity, through: int | None, limit: int) -> list[Sent]:
        with sentences(self.path):
            rows: list[Any] = self._connection.execute(
                "SELECT batch, message_id, sequence, covered_us IS NOT NULL FROM batches "
                "WHERE stream = ? AND sequence <= ? ORDER BY batch DESC LIMIT ?",
                (str(stream), 2**62 if through is None else through, limit),
            ).fetchall()
        return [Sent(number, message_id, sequence, bool(covered)) for number, message_id, sequence, covered in rows]

    def _unsent(self, limit: int) -> list[Any]:
        return self._connection.execute(
            "SELECT batch, message_id, kind, first, last FROM batches WHERE sequence IS NULL ORDER BY batch LIMIT ?",
            (limit,),
        ).fetchall()

    def _has_unplanned(self) -> bool:
        return bool(
            ask(
                self._connection,
                "SELECT EXISTS (SELECT 1 FROM rows WHERE number > (SELECT coalesce(max(last), 0) FROM batches))",
            )
        )

    def _plan(self, limit: int) -> None:
        rows: Any = self._connection.execute(
            "SELECT number, kind, size_bytes FROM rows WHERE number > ? ORDER BY number",
            (last_in_batch(self._connection),),
        )
        cuts = list(islice(_cut(rows), limit))
        self._connection.executemany(
            "INSERT INTO batches (message_id, kind, first, last, row_count, size_bytes) VALUES (?, ?, ?, ?, ?, ?)",
            # An id that can be guessed could be used up by another producer, of another tenant even.
            [(str(uuid.uuid4()), cut.kind, cut.first, cut.last, cut.rows, cut.size_bytes) for cut in cuts],
        )

    def _load(self, number: int, message_id: str, kind: BatchKind, first: int, last: int) -> OutboxBatch:
        rows: list[Any] = self._connection.execute(
            "SELECT data, resource FROM rows WHERE number BETWEEN ? AND ? ORDER BY number", (first, last)
        ).fetchall()
        if not rows:
            raise UnavailableError(
                f"The outbox {self.path} lacks the rows {first} to {last} of its batch {number}: something other than "
                "enchanted has deleted them. Restore the file from a copy, or delete that batch as well."
            )
        data = tuple(row[0] for row in rows)
        return OutboxBatch(number, message_id, kind, data, rows[0][1] if kind == "part" else "")

    def _prune_oldest(self, before_us: int) -> bool:
        oldest: Any = self._connection.execute(
            "SELECT batch, first, last, row_count, size_bytes, covered_us FROM batches ORDER BY batch LIMIT 1"
        ).fetchone()
        if oldest is None or oldest[5] is None or oldest[5] > before_us:
            return False
        with transaction(self._connection, durable=False):
            delete_batch(self._connection, *oldest[:5])
        return True


def _cut(rows: Iterable[Any]) -> Iterator[_Cut]:
    """Batches of rows (number, kind, size): a part alone, events as many together as one message takes."""
    first = last = count = size_bytes = 0
    for number, kind, row_bytes in rows:
        full = count >= BATCH_LIMIT_EVENTS or size_bytes + row_bytes > BATCH_LIMIT_BYTES
        if count and (full or kind == "part"):
            yield _Cut("events", first, last, count, size_bytes)
            count = 0
        if kind == "part":
            yield _Cut("part", number, number, 1, row_bytes)
            continue
        if not count:
            first, size_bytes = number, 0
        last, count, size_bytes = number, count + 1, size_bytes + row_bytes
    if count:
        yield _Cut("events", first, last, count, size_bytes)


def _lock(path: Path) -> int:
    """Takes the drainer's lock, which ends with the process however that ends."""
    with sentences(path):
        descriptor = os.open(path.with_name(path.name + "-drain"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise DrainedElsewhereError(
            f"Another process drains the outbox {path}: `enchanted sync --watch` may be running already."
        ) from error
    return descriptor
