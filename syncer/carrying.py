"""What brings outboxes to where their events are to be, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from nervous_system.outbox.draining import Drain, OutboxBatch

# How many batches are taken from an outbox at once; each is half a megabyte at most.
GROUP_BATCHES = 16


@dataclass(slots=True)
class Tally:
    """What has gone out of one outbox."""

    events: int = 0
    parts: int = 0
    batches: int = 0
    size_bytes: int = 0

    def add(self, batch: OutboxBatch) -> None:
        """Counts a batch that has arrived."""
        self.batches += 1
        self.size_bytes += sum(map(len, batch.data))
        if batch.kind == "part":
            self.parts += 1
        else:
            self.events += len(batch.data)

    @property
    def rows(self) -> int:
        """Events and parts."""
        return self.events + self.parts


Told = Callable[[OutboxBatch], None]
Until = Callable[[], bool]


class Carriage(Protocol):
    """One outbox's way to one place, for as long as the connection to it lasts.

    Raises, from every method: EnchantedError. Whatever was under way is then done again by another carriage: nothing is
    lost by that, and nothing is there twice.
    """

    @property
    def is_open(self) -> bool:
        """Whether the connection lasts."""
        ...

    async def look(self) -> None:
        """Compares what the outbox was told with what is there, and has sent again what is not."""
        ...

    async def send(self, told: Told, until: Until) -> int:
        """Sends what waits, in order, until nothing does or ``until`` says so; gives how many batches that was."""
        ...

    async def cover(self) -> bool:
        """Notes what the ledger has, and deletes what it has had for long; whether it has all that was sent."""
        ...


class Carrier(Protocol):
    """Where outboxes are brought to."""

    async def begin(self, drain: Drain) -> Carriage:
        """A carriage that has looked; raises EnchantedError where nobody answers there."""
        ...

    async def close(self) -> None:
        """Disconnects."""
        ...
