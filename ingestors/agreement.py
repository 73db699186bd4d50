"""Whether a store holds what the archive holds: the same ids, the same bytes, in the same order. Pure.

What the archive has of a project and what the store has are walked side by side, in order, one event of each in
memory. The archive takes whatever the log had: an event that came twice, and one whose id came before with other bytes,
which the stores leave out. Where the two differ, the store is asked for the archive's event by its id: one that it has
further back, among those that have been found to agree, is such a repetition; else the two differ there.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from nervous_system.ledger.cold import Position
from nervous_system.projects import ProjectName
from nervous_system.streams import StreamIdentity

LANES = 4
LOOKED_UP = 500
_LANES = struct.Struct(f"<{LANES}Q")
_WRAP = 1 << 64


@dataclass(frozen=True, slots=True)
class Archived:
    """An event in the archive: its tenant, its id, SHA-256 of its bytes, where the log had it."""

    tenant: str
    event_id: str
    digest: bytes
    position: Position


@dataclass(frozen=True, slots=True)
class Held:
    """An event in a store.

    Args:
        digest: SHA-256 of its bytes.
        order: compares as the store orders events.
        event_id: gives its id; asked only where something differs.
        place: gives its version, or its place in the log, for people.
        recorded_us: when the log took it, microseconds since 1970.
        position: where the log had it; None where the store does not keep that.
    """

    digest: bytes
    order: Any
    event_id: Callable[[], str]
    place: Callable[[], str]
    recorded_us: int
    position: Position | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """The first thing in which a store and the archive differ about a project.

    Args:
        store: ``ledger``, ``clickhouse`` or ``archive``.
        project: whose.
        event_id: the event in question; empty where no single one is.
        position: where the log had it, or where the store has it.
        reason: a sentence.
    """

    store: str
    project: str
    event_id: str
    position: str
    reason: str


@dataclass(frozen=True, slots=True)
class Side:
    """What a store has of one project.

    Args:
        name: of the store.
        rows: its events, in its order.
        look_up: events by their ids, less those that are not there; at most LOOKED_UP of them are asked for at once.
        is_due: whether the store must have an event of the archive's: it has landed that far, and nobody removed it.
        is_covered: whether the archive must have an event of the store's.
    """

    name: str
    rows: Iterable[Held]
    look_up: Callable[[Sequence[str]], Mapping[str, Held]]
    is_due: Callable[[Archived], bool]
    is_covered: Callable[[Held], bool]


def difference(project: ProjectName, archived: Iterable[Archived], side: Side) -> Difference | None:
    """The first difference; None where store and archive agree. Reads ``archived`` to its end only where they do."""
    held_rows = iter(side.rows)
    held = next(held_rows, None)
    # Repetitions: of each the store has the first, further up. Asked for together, since there can be very many.
    elsewhere: list[tuple[Archived, Held | None]] = []
    for row in archived:
        if held is not None and held.digest == row.digest and held.position in (None, row.position):
            held = next(held_rows, None)
        elif side.is_due(row):
            elsewhere.append((row, held))
            if len(elsewhere) == LOOKED_UP:
                if (found := _misplaced(project, elsewhere, side)) is not None:
                    return found
                elsewhere = []
    if (found := _misplaced(project, elsewhere, side)) is not None:
        return found
    while held is not None and not side.is_covered(held):
        held = next(held_rows, None)
    if held is None:
        return None
    return Difference(side.name, str(project), held.event_id(), held.place(), "it is not in the archive")


def _misplaced(
    project: ProjectName, elsewhere: Sequence[tuple[Archived, Held | None]], side: Side
) -> Difference | None:
    """The first of the archive's events that the store does not have before what it was compared with."""
    there = side.look_up(list(dict.fromkeys(row.event_id for row, _ in elsewhere))) if elsewhere else {}
    for row, held in elsewhere:
        found = there.get(row.event_id)
        if found is None or (held is not None and found.order >= held.order):
            return Difference(side.name, str(project), row.event_id, where(row.position), _reason(row, found, held))
    return None


def _reason(row: Archived, found: Held | None, held: Held | None) -> str:
    if found is None:
        instead = f": {held.event_id()} stands there" if held else ""
        return f"it is missing{instead}"
    if held is None or found.order != held.order:
        instead = f", where {held.event_id()} stands" if held else ""
        return f"it stands at {found.place()}, not in the archive's order{instead}"
    if found.digest != row.digest or held.digest != row.digest:
        return f"it has other bytes: SHA-256 {held.digest.hex()}, in the archive {row.digest.hex()}"
    return f"it stands at {found.place()}"


def where(position: Position) -> str:
    """A place in the log, for people: stream, partition, sequence of the message, place in it."""
    return f"{_partition(position.stream, position.partition)}/{position.sequence}/{position.index}"


@lru_cache(maxsize=1_024)
def _partition(stream: StreamIdentity, partition: int) -> str:
    return f"{stream}/{partition}"


@dataclass(slots=True)
class Digest:
    """A digest of events, in any order: how many, and the sum of their hashes in four lanes of 64 bits.

    The same is computed inside ClickHouse, so that only what differs need be read.
    """

    events: int = 0
    lanes: tuple[int, ...] = (0,) * LANES

    def add(self, found: bytes) -> None:
        """Adds the hash of an event, 32 bytes."""
        first, second, third, fourth = self.lanes
        one, two, three, four = _LANES.unpack(found)
        self.events += 1
        self.lanes = ((first + one) % _WRAP, (second + two) % _WRAP, (third + three) % _WRAP, (fourth + four) % _WRAP)

    def __add__(self, other: Digest) -> Digest:
        lanes = zip(self.lanes, other.lanes, strict=True)
        return Digest(self.events + other.events, tuple((mine + theirs) % _WRAP for mine, theirs in lanes))


def hash_of(row: Archived) -> bytes:
    """What stands for an event and its place in a digest, 32 bytes."""
    return hashlib.sha256(f"{row.event_id}/{where(row.position)}/".encode() + row.digest).digest()


def hash_of_id(row: Archived) -> bytes:
    """What stands in a digest for an event of which a store keeps the id alone."""
    return hashlib.sha256(row.event_id.encode()).digest()


def digested(
    rows: Iterable[Archived], digest: Digest, hashed: Callable[[Archived], bytes | None]
) -> Iterator[Archived]:
    """The same rows, each added to ``digest`` where it has a hash."""
    for row in rows:
        found = hashed(row)
        if found is not None:
            digest.add(found)
        yield row


def partition_of(project: ProjectName, partitions: int) -> int:
    """The partition in which NATS puts a project's subject: FNV-1a of its tokens, 32 bits.

    Source: https://docs.nats.io/nats-concepts/subject_mapping#deterministic-subject-token-partitioning, and
    ``getHashPartition`` of the server.
    """
    found = 0x811C9DC5
    for byte in f"{project.tenant}{project.project}".encode():
        found = (found ^ byte) * 0x01000193 % (1 << 32)
    return found % partitions
