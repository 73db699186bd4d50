"""What a producer was told: written by it before and after each batch, read by whoever judges the stores.

A journal is one life of one producer. ``put`` and the batch's hashes stand in it before anything is sent, on the same
line ``parts`` and those of the parts of large contents, ``bad`` and those of what is to be refused; ``acknowledged``
once the log has said so. A line that a kill cut short says nothing: what follows it never happened.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

PARTS, BAD, PUT, ACKNOWLEDGED = "parts", "bad", "put", "acknowledged"


@dataclass(frozen=True, slots=True)
class Told:
    """What the producers of one project were told, in the order of sending.

    Args:
        acknowledged: hashes of the events that the log has taken.
        unknown: hashes of the events that were sent without an answer: they may be kept once, or not.
        parts: hashes of the parts of large contents that the log has taken.
        bad: hashes of what the log has taken and no store may keep.
        unknown_bad: the same without an answer.
    """

    acknowledged: tuple[str, ...]
    unknown: frozenset[str]
    parts: frozenset[str] = frozenset()
    bad: frozenset[str] = frozenset()
    unknown_bad: frozenset[str] = frozenset()


def name_of(event: bytes) -> str:
    """By what the journal knows an event: SHA-256 of its bytes, hex."""
    return sha256(event).hexdigest()


class Journal:
    """A journal that is being written."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)

    def put(self, events: Iterable[bytes], parts: Sequence[bytes] = (), bad: Sequence[bytes] = ()) -> None:
        """A batch is about to be sent."""
        groups = ((PUT, events), (PARTS, parts), (BAD, bad))
        self._write(" ".join(word for kind, pieces in groups for word in (kind, *map(name_of, pieces))))

    def acknowledged(self) -> None:
        """The log has the batch that was put last."""
        self._write(ACKNOWLEDGED)

    def _write(self, line: str) -> None:
        os.write(self._fd, line.encode() + b"\n")


Batch = dict[str, list[str]]


def read(journals: Sequence[Path]) -> Told:
    """What the lives of one project's producers say, given in the order in which they were lived."""
    kept: Batch = defaultdict(list)
    unknown: Batch = defaultdict(list)
    for path in journals:
        waiting: Batch = {}
        *lines, _ = path.read_text(encoding="ascii").split("\n")
        for line in lines:
            _add(kept if line == ACKNOWLEDGED else unknown, waiting)
            waiting = {} if line == ACKNOWLEDGED else _batch(line)
        _add(unknown, waiting)
    return Told(
        tuple(kept[PUT]),
        frozenset(unknown[PUT]),
        frozenset(kept[PARTS]),
        frozenset(kept[BAD]),
        frozenset(unknown[BAD]),
    )


def _batch(line: str) -> Batch:
    batch: Batch = {}
    for word in line.split(" "):
        if word in (PUT, PARTS, BAD):
            names = batch[word] = []
        else:
            names.append(word)
    return batch


def _add(found: Batch, batch: Batch) -> None:
    for kind, names in batch.items():
        found[kind] += names
