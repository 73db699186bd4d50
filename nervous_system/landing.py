"""What the log hands to a store: a batch of one partition, in order, and where it stands in the stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from nervous_system.contract import SwarmEvent
from nervous_system.projects import ProjectName
from nervous_system.streams import StreamIdentity


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a store has landed one partition.

    Args:
        sequence: stream sequence of the last message landed; 0 before the first.
        recorded_us: the highest recorded time landed, microseconds since 1970, below which no later event may fall.
    """

    sequence: int = 0
    recorded_us: int = 0


@dataclass(frozen=True, slots=True)
class LandedEvent:
    """An event that has been read and found good: its verbatim bytes, the same decoded, its place in its message."""

    data: bytes
    event: SwarmEvent
    index: int


@dataclass(frozen=True, slots=True)
class LandedMessage:
    """One message of the log.

    Args:
        sequence: its sequence in the stream.
        recorded_us: when the log took it, microseconds since 1970, never falling within a partition.
        project: whose subject it came on; None where the subject cannot be read, and nothing is landed.
        events: what it carried, less what was refused.
        part: the bytes of one part of a large content, where it carried that instead.
        size_bytes: of its payload.
    """

    sequence: int
    recorded_us: int
    project: ProjectName | None
    events: tuple[LandedEvent, ...]
    part: bytes | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages of one partition in stream order.

    Args:
        stream: what the sequences count in.
        partition: which partition of it.
        after: the cursor's sequence that this batch continues from.
        messages: at least one.
    """

    stream: StreamIdentity
    partition: int
    after: int
    messages: tuple[LandedMessage, ...]

    @property
    def cursor(self) -> Cursor:
        """Where a store stands once the batch has landed."""
        last = self.messages[-1]
        return Cursor(last.sequence, last.recorded_us)

    @property
    def projects(self) -> set[ProjectName]:
        """The projects of which there is anything to store."""
        return {
            message.project
            for message in self.messages
            if message.project is not None and (message.events or message.part is not None)
        }

    def split(self, max_bytes: int, max_events: int) -> Iterator[Batch]:
        """The same in batches of these sizes at most, each whole messages; a larger message stands alone."""
        start, size_bytes, events, after = 0, 0, 0, self.after
        for position, message in enumerate(self.messages):
            full = size_bytes + message.size_bytes > max_bytes or events + len(message.events) > max_events
            if full and position > start:
                yield replace(self, after=after, messages=self.messages[start:position])
                start, size_bytes, events, after = position, 0, 0, self.messages[position - 1].sequence
            size_bytes += message.size_bytes
            events += len(message.events)
        yield replace(self, after=after, messages=self.messages[start:])

    def without(self, refusals: Iterable[Refusal]) -> Batch:
        """The same less the events refused; every message still counts for the cursor."""
        refused = {(refusal.sequence, refusal.index) for refusal in refusals}

        def sifted(message: LandedMessage) -> LandedMessage:
            kept = tuple(event for event in message.events if (message.sequence, event.index) not in refused)
            return message if len(kept) == len(message.events) else replace(message, events=kept)

        return replace(self, messages=tuple(map(sifted, self.messages)))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that cannot be landed, for the dead-letter stream.

    Args:
        code: a short stable name, such as ``undecodable``.
        reason: a sentence.
        data: the bytes refused.
        sequence: stream sequence of the message that carried it.
        index: the event's place in the message; -1 for the message itself.
        subject: of the message, as the stream keeps it; empty where that is not known.
    """

    code: str
    reason: str
    data: bytes
    sequence: int
    index: int = -1
    subject: str = ""
