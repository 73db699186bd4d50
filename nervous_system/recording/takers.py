"""Where recorded events go: into the outbox, or straight to the log."""

from __future__ import annotations

from typing import Protocol

from nervous_system.contract import SwarmEvent
from nervous_system.outbox.outbox import OutboxOptions
from nervous_system.outbox.writer import Callback
from nervous_system.outbox.writers import WRITERS
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings


class Taker(Protocol):
    """Takes events in order and keeps them."""

    @property
    def has_room(self) -> bool:
        """Whether ``await_room`` would return at once."""
        ...

    @property
    def last_sequence(self) -> int:
        """Stream sequence of the last message that the log acknowledged; 0 where that is not known here."""
        ...

    def await_room(self) -> None:
        """Returns once more may be put."""
        ...

    def put(self, data: bytes, event: SwarmEvent) -> None:
        """Takes an event, whose bytes are ``data``."""
        ...

    def put_part(self, part: bytes) -> bytes:
        """Takes one part of a large content, before the event that names it; gives its SHA-256."""
        ...

    def flush(self) -> None:
        """Returns once everything that was put is kept for good."""
        ...

    def call_when_kept(self, callback: Callback) -> None:
        """Calls back, from any thread, once that is so, or with the error where it fails."""
        ...

    def close(self) -> None:
        """Ends."""
        ...


class OutboxTaker:
    """Puts events into the project's outbox on this machine; kept is on disk."""

    last_sequence = 0

    def __init__(self, settings: Settings, project: ProjectName) -> None:
        self._options = OutboxOptions.of(settings, project)
        self._writer = WRITERS.lease(self._options)
        self._closed = False
        self.await_room, self.put = self._writer.await_room, self._writer.put
        self.put_part, self.flush = self._writer.put_part, self._writer.flush

    @property
    def has_room(self) -> bool:
        """Whether ``await_room`` would return at once."""
        return self._writer.has_room

    def call_when_kept(self, callback: Callback) -> None:
        """Calls back, from any thread, once everything taken so far is on disk."""
        self._writer.call_when_written(callback)

    def close(self) -> None:
        """Gives the writer back; the last one to do so writes what waits."""
        if not self._closed:
            self._closed = True
            WRITERS.give_back(self._options)


class LogTaker:
    """Sends events straight to the log; kept is acknowledged by it."""

    has_room = True

    def __init__(self, settings: Settings, project: ProjectName) -> None:
        # An outbox needs no client of the log, which is slow to load.
        from nervous_system.publisher import Publisher

        self._publisher = Publisher(settings, project)
        self.put_part, self.flush, self.close = (
            self._publisher.put_part,
            self._publisher.flush,
            self._publisher.close,
        )

    @property
    def last_sequence(self) -> int:
        """Stream sequence of the last message that was acknowledged; 0 before the first."""
        return self._publisher.last_sequence

    def await_room(self) -> None:
        """Does nothing: ``put`` waits itself."""

    def put(self, data: bytes, event: SwarmEvent) -> None:
        """Queues an event."""
        self._publisher.put(data)

    def call_when_kept(self, callback: Callback) -> None:
        """Waits, and calls back."""
        self._publisher.flush()
        callback(None)
