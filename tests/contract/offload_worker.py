"""A process of its own that offloads a sample log: ``python offload_worker.py ADDRESS ROOT EVENTS``.

Then it gives the room back to the disk.
"""

from __future__ import annotations

import hashlib
import sys

from nervous_system.ledger.cold import ArchivedRow, Position
from nervous_system.ledger.engines import open_engine
from nervous_system.ledger.ledger import Ledger
from tests.samples import PROJECT, STREAM, event, write

CONTENT_BYTES = 8_000


def data_of(number: int) -> bytes:
    """The bytes of event ``number``, which writes a content of its own."""
    return event(number, state_change=write(f"{number}", content_of(number))).SerializeToString()


def content_of(number: int) -> bytes:
    """Of which there is nothing to deflate."""
    return hashlib.shake_256(str(number).encode()).digest(CONTENT_BYTES)


def rows(count: int) -> list[ArchivedRow]:
    """Events 0 to ``count``, which the log has in one message each."""
    return [_row(event(number).event_id, data_of(number), number + 1) for number in range(count)]


def _row(event_id: str, data: bytes, sequence: int) -> ArchivedRow:
    return ArchivedRow(event_id, hashlib.sha256(data).digest(), Position(STREAM, 0, sequence, 0), len(data))


if __name__ == "__main__":
    ledger = Ledger(open_engine(sys.argv[1]), sys.argv[2])
    ledger.offload(PROJECT, rows(int(sys.argv[3])))
    ledger.reclaim()
