"""One recording: a thread that watches the work tree and hears what the agent says, so that both are in one order."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from nervous_system.capture.channels.endpoints import Endpoints
from nervous_system.capture.channels.lines import DURABLE, FILE_CHANGED, LineError, Said
from nervous_system.capture.worktree.watcher import FETCH_EVERY_S, Watcher
from nervous_system.errors import ContractError, EnchantedError
from nervous_system.recorder import Recorder

logger = logging.getLogger(__name__)

NICENESS = 10


class Session:
    """Records a work tree, and what is said on the side channels, until it is stopped.

    What an agent says is recorded after all that had changed before it said it; what changes afterwards follows its
    last decision.

    Args:
        recorder: takes everything; used by this thread alone between ``start`` and ``stop``.
        watcher: of the work tree; None where another process watches it.
    """

    def __init__(self, recorder: Recorder, watcher: Watcher | None) -> None:
        self._recorder, self._watcher = recorder, watcher
        self._endpoints: Endpoints | None = None
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = os.pipe()
        self._selector.register(self._woken, selectors.EVENT_READ, self._stop)
        self._is_stopping = False
        self._at_end: Callable[[], object] = lambda: None
        self._trouble: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def listen(self, endpoints: Endpoints) -> None:
        """Hears what comes there, once it is started."""
        self._endpoints = endpoints

    def start(self, causation_id: str = "") -> None:
        """Begins; what changes follows the event that is named. The baseline must have been recorded."""
        self._follow(causation_id)
        if self._endpoints is not None:
            self._endpoints.register(self._selector, self.hear)
        self._thread.start()

    def stop(self) -> None:
        """Returns once the last state of the tree, and all that was said, is recorded.

        Raises:
            EnchantedError: that failed; so does any other error that ended the recording early.
        """
        os.close(self._wake)
        self._thread.join()
        if self._trouble is not None:
            raise self._trouble

    def at_end(self, record: Callable[[], object]) -> None:
        """Calls this when the last state of the tree is recorded."""
        self._at_end = record

    def hear(self, said: Said) -> dict[str, Any]:
        """Does what was said and gives the reply's facts; raises LineError."""
        if said.kind not in ("signal", FILE_CHANGED) and self._watcher is not None:
            self._watcher.settle()
        reply: dict[str, Any] = {"id": said.id} if said.id else {}
        try:
            if said.kind == FILE_CHANGED:
                return reply | self._look(**said.arguments)
            event_id = getattr(self._recorder, said.kind)(**said.arguments)
        except (ContractError, ValueError, TypeError) as error:
            raise LineError(str(error)) from error
        if said.kind == "decision":
            self._follow(event_id)
        if said.arguments.get(DURABLE):
            reply[DURABLE] = True
        return reply | {"event_id": str(event_id)}

    def _look(self, path: str, causation_id: str = "") -> dict[str, Any]:
        """Records what the tree has at a path, following the event that is named, or the last decision."""
        if self._watcher is not None:
            self._watcher.look_at(os.fsencode(path), causation_id)
        return {}

    def _follow(self, causation_id: str) -> None:
        if self._watcher is not None:
            self._watcher.follow(causation_id)

    def _stop(self) -> None:
        self._is_stopping = True

    def _run(self) -> None:
        _give_way()
        try:
            while not self._is_stopping:
                self._turn()
            if self._endpoints is not None:
                self._endpoints.finish()
            if self._watcher is not None:
                self._watcher.finish()
            self._at_end()
        except Exception as error:
            # The agent goes on whatever becomes of its recording; whoever stops it is told.
            logger.exception("The recording ended early.")
            self._trouble = error
            if self._watcher is not None:
                self._watcher.abandon()

    def _turn(self) -> None:
        watcher = self._watcher
        timeout_s = None if watcher is None else max(0.0, watcher.due_s() - time.monotonic())
        noticed = False
        with _watched(self._selector, watcher) as descriptor:
            for key, _ in self._selector.select(timeout_s):
                if key.fd == descriptor:
                    noticed = True
                else:
                    self._call(key.data)
        if watcher is not None:
            watcher.work()
        if noticed:
            time.sleep(FETCH_EVERY_S)

    def _call(self, what: Any) -> None:
        try:
            what()
        except (EnchantedError, OSError) as error:
            logger.error("What was said could not be recorded: %s", error)


def _give_way() -> None:
    """Lets the agent's processes go first where they and this thread want the same processor."""
    with contextlib.suppress(OSError):
        # On Linux a thread has a priority of its own.
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


class _watched:
    """Has a selector look at a watcher's notices for one turn: which descriptor they come by may change."""

    def __init__(self, selector: selectors.BaseSelector, watcher: Watcher | None) -> None:
        self._selector = selector
        self._descriptor = None if watcher is None else watcher.fileno()

    def __enter__(self) -> int | None:
        if self._descriptor is not None:
            self._selector.register(self._descriptor, selectors.EVENT_READ)
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            self._selector.unregister(self._descriptor)
