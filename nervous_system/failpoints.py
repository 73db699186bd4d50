"""Places at which a process kills itself when told to, so that tests can break it exactly there."""

from __future__ import annotations

import os
import signal

VARIABLE = "ENCHANTED_FAILPOINT"
_passages: dict[str, int] = {}


def failpoint(name: str) -> None:
    """Ends the process by SIGKILL where the variable names this place, as ``place:3`` when it comes there a third time.

    Does nothing otherwise.
    """
    place, _, passage = os.environ.get(VARIABLE, "").partition(":")
    if place == name:
        _passages[name] = _passages.get(name, 0) + 1
        if _passages[name] >= int(passage or 1):
            os.kill(os.getpid(), signal.SIGKILL)
