"""What a producer was told: written by it before and after each batch, read by whoever judges the stores.

A journal is one life of one producer. ``put`` and the batch's hashes stand in it before anything is sent,
``acknowledged`` once the log has said so. A line that a kill cut short says nothing: what follows it never happened.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

PUT, ACKNOWLEDGED = "put", "acknowledged"


@dataclass(frozen=True, slots=True)
class Told:
    """What the producers of one project were told, in the order of sending.

    Args:
        acknowledged: hashes of the events that the log has taken.
        unknown: hashes of the events that were sent without an answer: they may be kept once, or not.
    """

    acknowledged: tuple[str, ...]
    unknown: frozenset[str]


def name_of(event: bytes) -> str:
    """By what the journal knows an event: SHA-256 of its bytes, hex."""
    return sha256(event).hexdigest()


class Journal:
    """A journal that is being written."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)

    def put(self, events: Iterable[bytes]) -> None:
        """A batch is about to be sent."""
        self._write(" ".join((PUT, *map(name_of, events))))

    def acknowledged(self) -> None:
        """The log has the batch that was put last."""
        self._write(ACKNOWLEDGED)

    def _write(self, line: str) -> None:
        os.write(self._fd, line.encode() + b"\n")


def read(journals: Sequence[Path]) -> Told:
    """What the lives of one project's producers say, given in the order in which they were lived."""
    acknowledged: list[str] = []
    unknown: set[str] = set()
    for path in journals:
        waiting: list[str] = []
        *lines, _ = path.read_text(encoding="ascii").split("\n")
        for line in lines:
            word, *names = line.split(" ")
            if word == ACKNOWLEDGED:
                acknowledged += waiting
                waiting = []
            else:
                unknown.update(waiting)
                waiting = names
        unknown.update(waiting)
    return Told(tuple(acknowledged), frozenset(unknown))
