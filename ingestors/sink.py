"""What the pump asks of a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nervous_system.landing import Batch, Cursor, Refusal
from nervous_system.streams import StreamIdentity


@dataclass(frozen=True, slots=True)
class Limits:
    """When a batch is full: whichever comes first of its events, its bytes and the age of its first message."""

    max_events: int
    max_bytes: int
    max_age_s: float


class Sink(Protocol):
    """A store that keeps its own cursor. Called from one thread at a time for each partition.

    Any exception means that the batch may or may not have landed: the pump asks the cursor and goes on from there.
    """

    name: str
    limits: Limits
    may_begin_late: bool
    """Whether one that is empty may begin with what the log still has; else it must have all, from the archive."""

    def open(self) -> None:
        """Connects and makes what must be there (tables, buckets); safe to be called again."""
        ...

    def cursor(self, stream: StreamIdentity, partition: int) -> Cursor:
        """How far this store has landed a partition of the stream."""
        ...

    def land(self, batch: Batch) -> Sequence[Refusal]:
        """Stores the batch and its cursor in one atomic step, durably, or refuses events of it for good.

        Returns:
            What is refused. Nothing is stored then: the rest of the batch is to come again without it, once it is
            safe in the dead-letter stream, so that no cursor ever passes what is kept nowhere.
        """
        ...

    def check(self) -> None:
        """Returns where the store answers, and raises otherwise; cheap, and may be called while a batch lands."""
        ...

    def close(self) -> None: ...
