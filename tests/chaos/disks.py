"""A disk that can be filled: tmpfs of a fixed size, where the machine lets this process mount one."""

from __future__ import annotations

import errno
import random
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

FILLER = "filler"
PIECE_BYTES = 1 << 20
HUNGER_S = (3.0, 8.0)
PLENTY_S = (6.0, 14.0)


@contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[bool]:
    """Mounts a disk of ``size_mb`` megabytes at ``folder`` for the length of a ``with`` block.

    Gives False, and leaves the folder what it is, where mounting is not permitted.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = f"size={size_mb}m,mode=700"
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False, capture_output=True, timeout=30
    )
    is_mounted = mounting.returncode == 0
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", folder], check=True, timeout=30)


@dataclass(slots=True)
class Famine:
    """Fills the disks one after the other, each for some seconds, in a thread.

    Args:
        disks: where they are mounted.
    """

    disks: Sequence[Path]
    filled: int = 0
    _thread: threading.Thread | None = field(default=None, repr=False)

    def begin(self, seed: int, over: threading.Event) -> None:
        """Goes through all disks once, in an order of the seed's, unless ``over`` is set before."""
        chance = random.Random(f"{seed}/famine")
        self._thread = threading.Thread(target=self._run, args=(chance, over), name="famine", daemon=True)
        self._thread.start()

    def rest(self) -> None:
        """Returns once there is room everywhere."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, chance: random.Random, over: threading.Event) -> None:
        for disk in chance.sample(self.disks, len(self.disks)):
            if over.wait(chance.uniform(*PLENTY_S)):
                return
            filler = disk / FILLER
            try:
                fill(filler)
                over.wait(chance.uniform(*HUNGER_S))
                fill(filler)
            finally:
                filler.unlink(missing_ok=True)
            self.filled += 1


def fill(filler: Path) -> None:
    """Writes until there is no room for one more byte."""
    for piece in (bytes(PIECE_BYTES), bytes(1)):
        with filler.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(piece)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
