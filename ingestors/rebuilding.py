"""Filling an empty store from the archive alone, by handing what the archive has to the store's own sink.

What lands moves the sink's cursor with it, so that the ordinary ingestor goes on where the archive ends. A stream is
landed before any that was made after it; the partitions of one stream side by side, since a project is in one of them.
Killed at any point, it goes on from where it came when it is run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from threading import Event, Lock
from typing import Protocol

from ingestors.sink import Limits, Sink
from nervous_system.archive.manifest import FileEntry, Place, Span
from nervous_system.archive.state import ArchiveState
from nervous_system.errors import EnchantedError
from nervous_system.failpoints import failpoint
from nervous_system.landing import Batch, Cursor, LandedMessage
from nervous_system.ledger.append import CursorMovedError
from nervous_system.ledger.rebuilding import NotEmptyError
from nervous_system.streams import StreamIdentity

PARTITIONS_AT_ONCE = 4
# How often another rebuild of the same store may be the faster one before this one gives up.
CURSOR_MOVES = 1_000

Messages = Callable[[StreamIdentity, int, int, int], Iterator[LandedMessage]]
"""What the archive has of a partition: stream, partition, behind which sequence, up to which one."""


class Store(Protocol):
    """A store that is filled, and what it keeps of a rebuild."""

    @property
    def sink(self) -> Sink:
        """Where the archive's events go, open."""
        ...

    def begin(self, cursors: Mapping[Place, Cursor]) -> None:
        """Begins a rebuild up to these cursors, or goes on with one.

        Raises:
            NotEmptyError: the store holds what no rebuild brought.
        """
        ...

    def reached(self, place: Place) -> int:
        """Up to which sequence the rebuild has come."""
        ...

    def landed(self, place: Place, sequence: int) -> None:
        """The rebuild has come so far."""
        ...

    def end(self, cursors: Mapping[Place, Cursor]) -> None:
        """Everything has landed: the ordinary ingestor goes on from where the archive ends."""
        ...


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came of a rebuild.

    Args:
        archived: events in the archive, repeated ones included.
        events: handed to the store this time.
        refused: of these, what the store refuses for good: an id that it has with other bytes, or what it cannot read.
        manifest: number of the manifest up to which the store was filled.
    """

    archived: int
    events: int
    refused: int
    manifest: int


class Rebuild:
    """One filling of one store.

    Args:
        store: what is filled, its sink open.
        state: what the archive holds.
        messages: reads it.
        advanced: told after each batch how many of the archive's events the store has been given, this time and before.
    """

    def __init__(
        self, store: Store, state: ArchiveState, messages: Messages, advanced: Callable[[int], None] = lambda _: None
    ) -> None:
        self._store = store
        self._state = state
        self._messages = messages
        self._advanced = advanced
        self._stopping = Event()
        self._counting = Lock()
        self._done = self._events = self._refused = 0

    def run(self) -> Rebuilt:
        """Fills the store.

        Raises:
            NotEmptyError: the store holds what no rebuild brought there.
            EnchantedError: the archive or the store fails; what has landed stays, and the next run goes on from there.
        """
        places = sorted(self._state.cursors, key=lambda place: (place[0].created_us, place[0].name, place[1]))
        try:
            self._store.begin(self._state.cursors)
        except NotEmptyError:
            if self._is_filled():
                return self._rebuilt()
            raise
        reached = {place: self._store.reached(place) for place in places}
        self._count(done=archived_through(self._state.files.values(), reached))
        with ThreadPoolExecutor(PARTITIONS_AT_ONCE, "rebuild") as pool:
            for _, of_stream in groupby(places, key=lambda place: place[0]):
                self._run_all(pool, list(of_stream))
        self._store.end(self._state.cursors)
        return self._rebuilt()

    def _rebuilt(self) -> Rebuilt:
        archived = sum(entry.rows for entry in self._state.files.values())
        return Rebuilt(archived, self._events, self._refused, self._state.number)

    def _is_filled(self) -> bool:
        """Whether the store has landed, one way or another, as far as the archive has events."""
        spans = {span for entry in self._state.files.values() for span in entry.spans}
        lasts = {place: max(span.last for span in of_place) for place, of_place in by_place(spans).items()}
        return all(self._store.sink.cursor(*place).sequence >= last for place, last in lasts.items())

    def _run_all(self, pool: ThreadPoolExecutor, places: list[Place]) -> None:
        running = [pool.submit(self._fill, place) for place in places]
        try:
            for each in running:
                each.result()
        except BaseException:
            # The others end behind the batch that they are landing.
            self._stopping.set()
            raise

    def _fill(self, place: Place) -> None:
        """Lands a partition; where another rebuild was faster, goes on from where that has come."""
        for _ in range(CURSOR_MOVES):
            try:
                for batch in self._batches(place, self._store.reached(place)):
                    if self._stopping.is_set():
                        return
                    self._land(place, batch)
                return
            except CursorMovedError:
                continue
        raise EnchantedError("Another rebuild of this store is running: let it finish, or stop it and run this again.")

    def _batches(self, place: Place, after: int) -> Iterator[Batch]:
        end = self._state.cursors[place]
        if after >= end.sequence:
            return
        messages = self._messages(*place, after, end.sequence)
        yield from batches(place, after, ended(messages, end), self._store.sink.limits)

    def _land(self, place: Place, batch: Batch) -> None:
        failpoint("before-rebuild-land")
        events = sum(len(message.events) for message in batch.messages)
        refused = 0
        while refusals := self._store.sink.land(batch):
            # Nothing is lost with them: the archive has them, and the dead letters where the log is still the same.
            refused += len(refusals)
            batch = batch.without(refusals)
        failpoint("after-rebuild-land")
        self._store.landed(place, batch.cursor.sequence)
        self._count(events, events, refused)

    def _count(self, done: int, events: int = 0, refused: int = 0) -> None:
        with self._counting:
            self._done += done
            self._events += events
            self._refused += refused
            self._advanced(self._done)


def batches(place: Place, after: int, messages: Iterable[LandedMessage], limits: Limits) -> Iterator[Batch]:
    """Messages of a partition as batches of these sizes at most, each whole messages; a larger message stands alone."""
    gathered: list[LandedMessage] = []
    size_bytes = events = 0
    for message in messages:
        too_many = events + len(message.events) > limits.max_events
        if gathered and (too_many or size_bytes + message.size_bytes > limits.max_bytes):
            yield Batch(*place, after, tuple(gathered))
            after = gathered[-1].sequence
            gathered, size_bytes, events = [], 0, 0
        gathered.append(message)
        size_bytes += message.size_bytes
        events += len(message.events)
    if gathered:
        yield Batch(*place, after, tuple(gathered))


def ended(messages: Iterable[LandedMessage], end: Cursor) -> Iterator[LandedMessage]:
    """The same, and where they end before ``end``, an empty message there.

    What the log had last may have brought nothing that is kept; the cursor passes it all the same.
    """
    sequence = 0
    for message in messages:
        sequence = message.sequence
        yield message
    if sequence < end.sequence:
        yield LandedMessage(end.sequence, end.recorded_us, None, (), None, 0)


def by_place(spans: Iterable[Span]) -> dict[Place, list[Span]]:
    """Spans by what they are of."""
    found: dict[Place, list[Span]] = {}
    for span in spans:
        found.setdefault(span.place, []).append(span)
    return found


def archived_through(files: Iterable[FileEntry], reached: Mapping[Place, int]) -> int:
    """About how many of the files' events are at or before what was reached: of a file in part, by its sequences."""
    return sum(round(entry.rows * _share(entry, reached)) for entry in files)


def _share(entry: FileEntry, reached: Mapping[Place, int]) -> float:
    whole = sum(span.last - span.first + 1 for span in entry.spans)
    passed = sum(
        min(max(reached.get(span.place, 0) - span.first + 1, 0), span.last - span.first + 1) for span in entry.spans
    )
    return passed / whole if whole else 0.0
