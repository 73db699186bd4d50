"""The log of each process: its end, for people, and a bound on its size."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MAX_BYTES = 10_000_000
TAIL_BYTES = 20_000


def tail(path: Path, lines: int = 10) -> str:
    """The last ``lines`` lines of a log; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def rotate(path: Path, max_bytes: int = MAX_BYTES) -> bool:
    """Moves a log's content to ``NAME.log.1`` where it is above ``max_bytes``; returns whether it was.

    The file is copied and cut rather than renamed, because the process that writes it keeps it open (for appending).
    Raises OSError.
    """
    if not path.exists() or path.stat().st_size <= max_bytes:
        return False
    try:
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
    finally:
        # A full disk must not keep the log from being cut.
        os.truncate(path, 0)
    return True
