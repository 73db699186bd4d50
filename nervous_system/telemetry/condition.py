"""How a service is: told by its loops, asked by its pages."""

from __future__ import annotations

import time
from collections.abc import Callable

# An ingestor's loop beats every second.
SILENCE_LIMIT_S = 30.0


class Condition:
    """Alive while its loop beats; ready while nothing is in the way. Safe to be read from another thread.

    Args:
        silence_limit_s: how long a turn of the loop may take.
        clock: seconds that only grow.
    """

    def __init__(
        self, silence_limit_s: float = SILENCE_LIMIT_S, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._silence_limit_s = silence_limit_s
        self._clock = clock
        self._beat_s = clock()
        self._reasons: tuple[str, ...] = ("starting",)

    def beat(self) -> None:
        """The loop turns."""
        self._beat_s = self._clock()

    def settle(self, *reasons: str) -> None:
        """What is in the way of its work, in words that anybody may read; nothing where all is well."""
        self._reasons = reasons

    @property
    def alive(self) -> bool:
        return self._clock() - self._beat_s <= self._silence_limit_s

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not ready; empty where it is."""
        return self._reasons if self.alive else (*self._reasons, "its loop stands still")
