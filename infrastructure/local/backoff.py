"""How long to wait before a dead process is started again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubles from ``first_s`` up to ``cap_s``; starts over once a process was healthy for ``reset_after_s``."""

    first_s: float = 0.5
    cap_s: float = 30.0
    reset_after_s: float = 60.0

    def delay_s(self, failures: int) -> float:
        """The wait after the ``failures``-th death in a row (1, 2, …), in seconds."""
        # 2**30 is past every sensible cap, and a larger power would overflow one day.
        return min(self.cap_s, self.first_s * 2.0 ** min(failures - 1, 30))
