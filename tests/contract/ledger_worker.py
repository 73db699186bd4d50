"""A process of its own that lands a log: ``python ledger_worker.py ADDRESS ROOT MESSAGES``.

Prints how many events it landed. Where another worker was before it, it asks the cursor and goes on from there.
"""

from __future__ import annotations

import sys

from nervous_system.ledger.append import CursorMovedError
from nervous_system.ledger.engines import open_engine
from nervous_system.ledger.ledger import Ledger
from tests.contract.hub import SINK
from tests.samples import STREAM, batch, event, message

EVENTS_OF_A_MESSAGE = 3
MESSAGES_OF_A_BATCH = 2


def events_of(sequence: int) -> list[bytes]:
    """The log's message number ``sequence``; its first event comes again in every message."""
    numbers = range(sequence * EVENTS_OF_A_MESSAGE, (sequence + 1) * EVENTS_OF_A_MESSAGE - 1)
    return [event(number).SerializeToString() for number in (0, *numbers)]


def land(ledger: Ledger, count: int) -> int:
    """Lands the log's messages 1 to ``count``; returns how many events this worker landed."""
    landed = 0
    while (after := ledger.cursor(SINK, STREAM, 0).sequence) < count:
        until = min(after + MESSAGES_OF_A_BATCH, count)
        messages = [message(sequence, events_of(sequence)) for sequence in range(after + 1, until + 1)]
        try:
            landed += ledger.land(SINK, batch(*messages, after=after)).events
        except CursorMovedError:
            continue
    return landed


if __name__ == "__main__":
    print(land(Ledger(open_engine(sys.argv[1]), sys.argv[2]), int(sys.argv[3])), flush=True)
