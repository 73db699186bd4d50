"""Emptying outboxes as they fill, for as long as the process runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from nervous_system.errors import EnchantedError, NotFoundError
from nervous_system.health import HealthFile
from nervous_system.outbox.draining import Drain, OutboxBatch
from nervous_system.retries import Backoff
from nervous_system.telemetry.condition import Condition
from syncer.carrying import Carriage, Carrier, Tally

logger = logging.getLogger(__name__)

# How often an outbox is looked into: often while something comes, less so while nothing does.
FIRST_POLL_S = 0.1
LONGEST_POLL_S = 0.4
# How often the ledger is asked how far it is, likewise.
FIRST_COVER_S = 0.1
LONGEST_COVER_S = 5.0
# How often the log is compared with what it has acknowledged, where nothing happens that would show a change.
LOOK_S = 30.0
FIND_S = 0.25
REPORT_S = 1.0
# What is under way when the process is to end is given this long.
GRACE_S = 5.0

Report = Callable[[str, Tally], None]
"""Told a project and what has gone out of its outbox since the last report."""


class Watch:
    """Empties outboxes until ``stopping`` is set.

    Args:
        carrier: where they are brought to.
        find: gives the outboxes' files, new ones among them.
        stopping: ends it.
        report: told of what has gone out, at most once a second for each outbox.
    """

    def __init__(
        self,
        carrier: Carrier,
        find: Callable[[], Sequence[Path]],
        stopping: asyncio.Event,
        report: Report = lambda *_: None,
    ) -> None:
        self._carrier = carrier
        self._find = find
        self._stopping = stopping
        self._report = report
        self._attendants: dict[Path, tuple[Attendant, asyncio.Task[None]]] = {}
        self._health = HealthFile.from_environment()
        self.condition = Condition()
        self.sent_events = 0

    async def run(self) -> None:
        """Returns once ``stopping`` is set."""
        reported_s = 0.0
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            self.condition.beat()
            self._attend()
            if loop.time() - reported_s >= REPORT_S:
                reported_s = loop.time()
                self._tell()
            await pause(self._stopping, FIND_S)
        await self._end()

    def _attend(self) -> None:
        gone = [path for path, (_, task) in self._attendants.items() if task.done()]
        for path in gone:
            del self._attendants[path]
        for path in self._find():
            if path not in self._attendants:
                attendant = Attendant(self._carrier, path, self._stopping)
                self._attendants[path] = (attendant, asyncio.create_task(attendant.run()))

    def _tell(self) -> None:
        attendants = [attendant for attendant, _ in self._attendants.values()]
        for attendant in attendants:
            tally = attendant.take_tally()
            if tally.batches:
                self.sent_events += tally.events
                self._report(attendant.name, tally)
        troubles = dict.fromkeys(attendant.trouble for attendant in attendants if attendant.trouble)
        # What is wrong with one outbox, such as a damaged file, is no fault of this process, and others go on.
        is_cut_off = any(attendant.is_cut_off for attendant in attendants)
        self.condition.settle(*(["nobody answers where the outboxes are brought to"] if is_cut_off else []))
        state = "retrying" if is_cut_off else "running"
        self._health.write(state, "; ".join(troubles) or f"{self.sent_events:,} events sent")

    async def _end(self) -> None:
        tasks = [task for _, task in self._attendants.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=GRACE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._tell()
        await self._carrier.close()


class Attendant:
    """Keeps one outbox empty.

    Args:
        carrier: where it is brought to.
        path: of its file.
        stopping: ends it.
    """

    def __init__(self, carrier: Carrier, path: Path, stopping: asyncio.Event) -> None:
        self._carrier = carrier
        self._path = path
        self._stopping = stopping
        self._tally = Tally()
        self._failures = 0
        self.name = f"{path.parent.name}/{path.stem}"
        self.trouble = ""
        """Why nothing goes at present; empty where it does."""
        self.is_cut_off = False
        """Whether that is because nobody answers where it is brought to."""

    def take_tally(self) -> Tally:
        """What has gone out since it was last asked."""
        tally, self._tally = self._tally, Tally()
        return tally

    async def run(self) -> None:
        """Returns once ``stopping`` is set or the file is gone; whatever else fails is tried again."""
        while not self._stopping.is_set():
            try:
                await self._serve()
            except NotFoundError:
                return
            except Exception as error:
                self._failures += 1
                wait_s = Backoff().wait_s(self._failures, random.random())
                self._say(str(error) or type(error).__name__, wait_s, error)
                await pause(self._stopping, wait_s)

    def _say(self, trouble: str, wait_s: float, error: Exception) -> None:
        known = isinstance(error, EnchantedError)
        # Once, and not again at each attempt of a night.
        level = logging.WARNING if trouble not in self.trouble else logging.DEBUG
        logger.log(level, "%s: %s; again in %.1f s", self.name, trouble, wait_s, exc_info=None if known else error)
        self.trouble = f"{self.name}: {trouble}"

    async def _serve(self) -> None:
        self.is_cut_off = False
        with await asyncio.to_thread(Drain, self._path) as drain:
            self.name = str(drain.about.project)
            file = self._path.stat().st_ino
            while not self._stopping.is_set():
                self.is_cut_off = True
                carriage = await self._carrier.begin(drain)
                self.is_cut_off = False
                await self._carry(carriage, file)

    async def _carry(self, carriage: Carriage, file: int) -> None:
        """Goes on until the connection ends."""
        loop = asyncio.get_running_loop()
        looked_s, cover_at_s = loop.time(), 0.0
        poll_s, cover_s = FIRST_POLL_S, FIRST_COVER_S
        is_covered = False
        while not self._stopping.is_set() and carriage.is_open:
            if await carriage.send(self._sent, self._stopping.is_set):
                poll_s, cover_s, cover_at_s, is_covered = (
                    FIRST_POLL_S,
                    FIRST_COVER_S,
                    loop.time() + FIRST_COVER_S,
                    False,
                )
            self._failures, self.trouble = 0, ""
            if not is_covered and loop.time() >= cover_at_s:
                is_covered = await carriage.cover()
                cover_at_s, cover_s = loop.time() + cover_s, min(2 * cover_s, LONGEST_COVER_S)
            if loop.time() - looked_s > LOOK_S:
                await carriage.look()
                looked_s, is_covered = loop.time(), False
            if self._is_gone(file):
                raise NotFoundError(f"The outbox {self._path} was removed.")
            await pause(self._stopping, poll_s)
            poll_s = min(1.2 * poll_s, LONGEST_POLL_S)

    def _sent(self, batch: OutboxBatch) -> None:
        self._tally.add(batch)

    def _is_gone(self, file: int) -> bool:
        """Whether the file that is open is no longer the one at the path."""
        try:
            return self._path.stat().st_ino != file
        except FileNotFoundError:
            return True


async def pause(stopping: asyncio.Event, wait_s: float) -> None:
    """Waits, but not beyond a stop."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), wait_s)
