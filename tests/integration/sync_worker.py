"""``enchanted`` in a process that kills itself: ``python -m tests.integration.sync_worker POINT NUMBER ARGUMENTS…``.

POINT names a method, and whether it dies before or after it, such as ``before:Drain.acknowledge``; NUMBER, at which
call.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from infrastructure.cli import main
from nervous_system.outbox import draining
from syncer import log, to_log

CLASSES: dict[str, type] = {"Drain": draining.Drain, "Log": log.Log}
POINTS = [
    f"{when}:{method}"
    for when in ("before", "after")
    for method in ("Log.send", "Drain.pending", "Drain.acknowledge", "Drain.rewind", "Drain.cover", "Drain.prune")
]


def arm(point: str, number: int) -> None:
    """Has this process killed at the ``number``-th call."""
    when, _, name = point.partition(":")
    owner, _, method = name.partition(".")
    original: Callable[..., Any] = getattr(CLASSES[owner], method)
    calls = 0

    def die(at: str) -> None:
        nonlocal calls
        calls += at == "before"
        if at == when and calls == number:
            os.kill(os.getpid(), signal.SIGKILL)

    async def asynchronous(*arguments: Any) -> Any:
        die("before")
        result = await original(*arguments)
        die("after")
        return result

    def synchronous(*arguments: Any) -> Any:
        die("before")
        result = original(*arguments)
        die("after")
        return result

    replacement = asynchronous if asyncio.iscoroutinefunction(original) else synchronous
    setattr(CLASSES[owner], method, functools.wraps(original)(replacement))


if __name__ == "__main__":
    # Small batches and groups, so that there is much between them.
    setattr(draining, "BATCH_LIMIT_EVENTS", 5)  # noqa: B010 - not exported by it
    setattr(to_log, "GROUP_BATCHES", 3)  # noqa: B010
    arm(sys.argv[1], int(sys.argv[2]))
    sys.argv[1:] = sys.argv[3:]
    main.main()
