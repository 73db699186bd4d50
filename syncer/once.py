"""Emptying outboxes once: what was recorded when it began is where it is to be when it ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nervous_system.bus import RefusalError
from nervous_system.errors import AccessError, EnchantedError, SettingsError
from nervous_system.outbox.draining import Drain, DrainedElsewhereError, OutboxBatch
from nervous_system.outbox.opening import About
from nervous_system.outbox.reading import OutboxReader
from nervous_system.retries import Backoff
from syncer.carrying import Carrier, Tally

# A hub that goes away in the midst of it is waited for so long, counted from the last batch that arrived.
PATIENCE_S = 30.0
POLL_S = 0.2

Progress = Callable[[str, int, int], None]
"""Told a project, how many of its events and parts have gone out, and how many there are to go."""


@dataclass(slots=True)
class Outcome:
    """What came of one outbox.

    Args:
        path: of its file.
        about: whose it is; None where it could not be opened.
        tally: what went out.
        is_covered: whether the ledger was seen to have all of it.
        trouble: why it was given up; None where it was not.
    """

    path: Path
    about: About | None = None
    tally: Tally = field(default_factory=Tally)
    is_covered: bool = False
    trouble: EnchantedError | None = None


async def drain_once(carrier: Carrier, paths: Sequence[Path], progress: Progress = lambda *_: None) -> list[Outcome]:
    """Brings what waits in these outboxes to where ``carrier`` leads; none is held up by another that fails."""
    outcomes = [await _Run(carrier, path, progress).finish() for path in paths]
    await carrier.close()
    return outcomes


class _Run:
    """One outbox."""

    def __init__(self, carrier: Carrier, path: Path, progress: Progress) -> None:
        self._carrier = carrier
        self._progress = progress
        self._outcome = Outcome(path)
        self._goal = 0
        self._moved_s = 0.0
        # In a row, with no batch between them.
        self._failures = 0

    async def finish(self) -> Outcome:
        """Tries until it is done or hopeless."""
        loop, backoff = asyncio.get_running_loop(), Backoff()
        self._moved_s = loop.time()
        while True:
            try:
                await self._attempt()
                return self._outcome
            except (AccessError, SettingsError, RefusalError) as error:
                self._outcome.trouble = error
            except DrainedElsewhereError as error:
                self._outcome.trouble = error
                if await self._is_done_elsewhere():
                    self._outcome.trouble = None
            except EnchantedError as error:
                self._outcome.trouble = error
                # Where nothing went at all, a person is told at once.
                if self._outcome.tally.batches and loop.time() - self._moved_s < PATIENCE_S:
                    self._failures += 1
                    await asyncio.sleep(backoff.wait_s(self._failures, random.random()))
                    continue
            return self._outcome

    async def _attempt(self) -> None:
        with await asyncio.to_thread(Drain, self._outcome.path) as drain:
            self._outcome.about = drain.about
            # What there is to send is known once the log was looked at: it may lack what it had.
            carriage = await self._carrier.begin(drain)
            backlog = await asyncio.to_thread(drain.backlog)
            self._goal = self._outcome.tally.rows + backlog.rows
            self._tell()
            await carriage.send(self._sent, lambda: self._outcome.tally.rows >= self._goal)
            self._outcome.is_covered = await carriage.cover()
            self._outcome.trouble = None

    def _sent(self, batch: OutboxBatch) -> None:
        self._outcome.tally.add(batch)
        self._moved_s = asyncio.get_running_loop().time()
        self._failures = 0
        self._tell()

    def _tell(self) -> None:
        self._progress(str(self._outcome.about and self._outcome.about.project), self._outcome.tally.rows, self._goal)

    async def _is_done_elsewhere(self) -> bool:
        """Whether the one who drains it gets it empty, which is waited for as long as it gets emptier."""
        loop = asyncio.get_running_loop()
        least: int | None = None
        moved_s = loop.time()
        with await asyncio.to_thread(OutboxReader, self._outcome.path) as reader:
            self._outcome.about = reader.about
            while loop.time() - moved_s < PATIENCE_S:
                backlog = await asyncio.to_thread(reader.backlog)
                if not backlog.rows:
                    self._outcome.is_covered = not backlog.uncovered
                    return True
                if least is None or backlog.rows < least:
                    least, moved_s = backlog.rows, loop.time()
                await asyncio.sleep(POLL_S)
        return False


def first_trouble(outcomes: Sequence[Outcome]) -> EnchantedError | None:
    """The first reason why an outbox was given up."""
    return next((each.trouble for each in outcomes if each.trouble is not None), None)
