"""What to do after a failure. Pure: it decides, who calls acts."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 15.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before each further attempt: doubling to a limit, spread so that workers do not fall in step."""

    first_wait_s: float = FIRST_WAIT_S
    longest_wait_s: float = LONGEST_WAIT_S

    def wait_s(self, failures: int, spread: float) -> float:
        """Seconds to wait after ``failures`` in a row (1, 2, …); ``spread`` is a random number from 0 to 1."""
        full_s = min(self.first_wait_s * float(1 << min(failures - 1, 30)), self.longest_wait_s)
        return full_s * (0.5 + spread / 2)
