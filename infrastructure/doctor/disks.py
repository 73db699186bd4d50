"""Whether a disk has room."""

from __future__ import annotations

import shutil
from pathlib import Path

from infrastructure.doctor.findings import Finding, failure, ok, warning

WARN_SHARE, FAIL_SHARE = 0.10, 0.03
FAIL_BYTES = 50_000_000


def room(check: str, free_bytes: int, total_bytes: int) -> Finding:
    """What to tell of a disk; one that says nothing of its size, such as a bucket, is fine."""
    if total_bytes <= 0 or free_bytes > total_bytes:
        return ok(check, "Has no end that it knows of.")
    share = free_bytes / total_bytes
    words = f"{free_bytes / 1e9:,.1f} of {total_bytes / 1e9:,.1f} GB are free"
    if share < FAIL_SHARE or free_bytes < FAIL_BYTES:
        return failure(check, f"Only {words}: free space now, or give it more. What cannot be landed waits in the log.")
    if share < WARN_SHARE:
        return warning(check, f"Only {words}: give it more soon.")
    return ok(check, f"{words}.")


def room_at(check: str, path: Path) -> Finding:
    """The same of the disk that holds a path, or will."""
    standing = next(each for each in (path, *path.parents) if each.exists())
    usage = shutil.disk_usage(standing)
    return room(check, usage.free, usage.total)
