"""Processes that are killed at random instants and at named places, and started again, each by a rhythm of its own."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from infrastructure.local.site import Launch

STOP_TIMEOUT_S = 30.0
POLL_S = 0.02
FAILPOINT = "ENCHANTED_FAILPOINT"
# Of a life with a failpoint: how long it may last, and at which passage of the place it ends at the latest.
ARMED_LIFE_S = 40.0
LAST_PASSAGE = 4
ARMED_SHARE = 0.7
# Of a life that is to begin once its process serves: how long that may take, and how many lives end before.
READY_LIMIT_S = 60.0
STILLBORN_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How long a process lives before it is killed, and how long it then stays dead: seconds, at least and at most.

    Args:
        absence_s: how long it stays dead once, after its second life; 0 for no longer than at other times.
        long_life_s: how long every third life is, so that others can work with it; 0 for no longer than the rest.
    """

    life_s: tuple[float, float]
    death_s: tuple[float, float] = (0.0, 0.5)
    absence_s: float = 0.0
    long_life_s: float = 0.0

    def next_life_s(self, lives: int, chance: random.Random) -> float:
        """How long the life with this number, counted from 1, is to be."""
        life_s = chance.uniform(*self.life_s)
        return max(life_s, self.long_life_s) if lives % 3 == 0 else life_s


@dataclass(slots=True)
class Victim:
    """One process of the pipeline.

    Args:
        name: by which the report names it.
        launch: gives the command of each of its lives, the first being life 0.
        log: the file to which its output goes.
        rhythm: of its kills; None for one that is spared.
        failpoints: places in its code at which it can be made to kill itself.
        is_ready: whether it serves; a life is counted from then on, whatever the machine is busy with.
    """

    name: str
    launch: Callable[[int], Launch]
    log: Path
    rhythm: Rhythm | None = None
    failpoints: tuple[str, ...] = ()
    is_ready: Callable[[], bool] = lambda: True
    kills: int = 0
    lives: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    """How often it died at each place."""
    exits: list[int] = field(default_factory=list)
    """With which codes it ended though nobody killed it."""
    has_been_absent: bool = False
    process: subprocess.Popen[bytes] | None = None
    _place: str = ""
    _thread: threading.Thread | None = field(default=None, repr=False)

    def start(self, place: str = "", passage: int = 1) -> None:
        """Begins the next life; it ends at the given passage of a place where one is named."""
        launch = self.launch(self.lives)
        self.lives += 1
        self._place = place
        armed = {FAILPOINT: f"{place}:{passage}"} if place else {}
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                launch.command,
                cwd=launch.folder,
                env={**launch.environment, **armed},
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
        places = cycle(chance.sample(self.failpoints, len(self.failpoints)))
        while not over.is_set():
            life_s = rhythm.next_life_s(self.lives, chance)
            if chance.random() >= STILLBORN_SHARE:
                self._live(READY_LIMIT_S, over, until=self.is_ready)
            self._live(ARMED_LIFE_S if self._place else life_s, over)
            self._die()
            is_long = self.lives == 2 and rhythm.absence_s > 0
            over.wait(rhythm.absence_s if is_long else chance.uniform(*rhythm.death_s))
            self.has_been_absent |= is_long and not over.is_set()
            armed = self.failpoints and chance.random() < ARMED_SHARE and not over.is_set()
            self.start(next(places) if armed else "", chance.randint(1, LAST_PASSAGE))
        if self._place:
            self._die()
            self.start()

    def _live(self, life_s: float, over: threading.Event, until: Callable[[], bool] = lambda: False) -> None:
        """Returns once it has lived that long, or has died, or ``until`` says so."""
        assert self.process is not None
        deadline_s = time.monotonic() + life_s
        while self.process.poll() is None and time.monotonic() < deadline_s and not over.wait(POLL_S) and not until():
            pass

    def _die(self) -> None:
        """Kills it, and keeps how it died where it was dead already."""
        assert self.process is not None
        code = self.process.poll()
        if code is None:
            self._kill(self.process)
            self.kills += 1
        elif code == -signal.SIGKILL and self._place:
            self.hits[self._place] += 1
            self.kills += 1
        else:
            self.exits.append(code)

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
