"""Seeds of runs that once found a fault: each is run again by ``make chaos`` before a new one."""

from __future__ import annotations

FOUND_FAULTS: tuple[int, ...] = (
    # The worker of snapshots ended where it was started on a full disk; a producer met an error that was not ours.
    796829413,
)
