"""Merging small files now and then, in a thread beside the landing."""

from __future__ import annotations

import logging
import os
import random
import threading

from ingestors.siphon.compaction import Compactor, StoppedError
from ingestors.siphon.workspace import Workspace
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.objects import ObjectStore
from nervous_system.settings import Settings

logger = logging.getLogger(__name__)

STOP_WITHIN_S = 10.0
NICENESS = 10


class Background:
    """Compacts each so many seconds until it is closed; never where the setting is 0."""

    def __init__(self, settings: Settings, store: ObjectStore, log: ArchiveLog, workspace: Workspace) -> None:
        self._every_s = settings.siphon_compact_every_s
        self._stopping = threading.Event()
        self._compactor = Compactor(store, log, workspace, settings.siphon_target_bytes, self._stopping)
        self._thread = threading.Thread(target=self._run, name="compaction", daemon=True)
        if self._every_s > 0:
            self._thread.start()

    def close(self) -> None:
        """Tells it to stop, and waits for that a little; what it does not finish changes nothing."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_WITHIN_S)

    def _run(self) -> None:
        # What it compresses takes a processor for long; landing goes first. Linux counts niceness by thread.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        # Spread, so that several siphons seldom do the same work.
        while not self._stopping.wait(self._every_s * random.uniform(0.5, 1.5)):
            try:
                done = self._compactor.run()
            except StoppedError:
                return
            except Exception as error:
                # Landing goes on without it, and the next time may be better.
                logger.warning("small files of the archive were not merged: %s", error)
            else:
                if done.merges:
                    logger.info("merged %d files of the archive into %d", done.files, done.merges)
