"""Processes that are killed at random instants and started again, each by a rhythm of its own."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from infrastructure.local.site import Launch

STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How long a process lives before it is killed, and how long it then stays dead: seconds, at most and at least."""

    life_s: tuple[float, float]
    death_s: tuple[float, float] = (0.0, 0.5)


@dataclass(slots=True)
class Victim:
    """One process of the pipeline.

    Args:
        name: by which the report names it.
        launch: gives the command of each of its lives, the first being life 0.
        log: the file to which its output goes.
        rhythm: of its kills; None for one that is spared.
    """

    name: str
    launch: Callable[[int], Launch]
    log: Path
    rhythm: Rhythm | None = None
    kills: int = 0
    lives: int = 0
    process: subprocess.Popen[bytes] | None = None
    _thread: threading.Thread | None = field(default=None, repr=False)

    def start(self) -> None:
        """Begins the next life."""
        launch = self.launch(self.lives)
        self.lives += 1
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                launch.command,
                cwd=launch.folder,
                env=dict(launch.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def torment(self, seed: int, over: threading.Event) -> None:
        """Kills and restarts it, in a thread, until ``over`` is set; the same seed gives the same pauses."""
        if self.rhythm is not None:
            arguments = (self.rhythm, random.Random(f"{seed}/{self.name}"), over)
            self._thread = threading.Thread(target=self._torment, args=arguments, name=f"kill {self.name}", daemon=True)
            self._thread.start()

    def rest(self) -> None:
        """Returns once it is no longer being killed, and lives."""
        if self._thread is not None:
            self._thread.join()

    def stop(self) -> None:
        """Asks it to end, and kills it where it does not."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._kill(self.process)

    def _torment(self, rhythm: Rhythm, chance: random.Random, over: threading.Event) -> None:
        while not over.wait(chance.uniform(*rhythm.life_s)):
            if self.process is not None and self.process.poll() is None:
                self._kill(self.process)
                self.kills += 1
            over.wait(chance.uniform(*rhythm.death_s))
            self.start()

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
