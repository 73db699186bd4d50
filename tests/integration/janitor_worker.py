"""The janitor at a later day: ``python -m tests.integration.janitor_worker DAYS [FAILPOINT…]``.

Goes through all stores once for each failpoint, in a process of its own that is killed there, and then once to the end.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from ingestors.janitor.policy import DAY_US
from ingestors.janitor.round import Janitor
from nervous_system.events import now_us
from nervous_system.failpoints import VARIABLE
from nervous_system.settings import Settings


def work(ahead_days: int) -> None:
    """One round, told as JSON."""
    janitor = Janitor(Settings.load(), clock=lambda: now_us() + ahead_days * DAY_US)
    print(json.dumps(janitor.once().document()))


def killed_at(failpoint: str, ahead_days: int) -> bool:
    """Whether a round came to the failpoint; all is loaded by now, and nothing runs beside."""
    child = os.fork()
    if not child:
        os.environ[VARIABLE] = failpoint
        try:
            work(ahead_days)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


if __name__ == "__main__":
    days, *failpoints = sys.argv[1:]
    for each in failpoints:
        if not killed_at(each, int(days)):
            sys.exit(f"no round came to {each}")
    work(int(days))
