"""A machine that records, and what brings its outboxes to a hub, for tests."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from nervous_system.events import INLINE_LIMIT_BYTES
from nervous_system.outbox.opened import Backlog
from nervous_system.outbox.opening import outbox_path, outbox_paths
from nervous_system.outbox.reading import OutboxReader
from nervous_system.projects import ProjectName
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from syncer.carrying import Carrier
from syncer.once import Outcome, drain_once
from syncer.to_ledger import LedgerCarrier
from syncer.to_log import LogCarrier
from tests.integration.command import Enchanted
from tests.integration.stack_process import wait_until
from tests.integration.stores import in_ledger


@dataclass(frozen=True, slots=True)
class Edge:
    """One machine's outbox of a project of its own.

    Args:
        settings: of the hub, with an outbox folder of this machine's.
        project: that is recorded.
    """

    settings: Settings
    project: ProjectName

    @classmethod
    def of(cls, settings: Settings, folder: Path) -> Edge:
        """A machine whose outboxes are in ``folder``."""
        project = ProjectName("edge", f"p{random.randrange(10**12)}")
        return cls(replace(settings, outbox=str(folder / "outbox")), project)

    @property
    def path(self) -> Path:
        return outbox_path(self.settings, self.project)

    def record(self, count: int, *, large: bool = False) -> None:
        """Records so many decisions and, where ``large``, a content in parts before the last of them."""
        with Recorder(str(self.project), agent="ada", settings=self.settings) as recorder:
            for number in range(count):
                if large and number == count - 1:
                    recorder.file_changed("large.bin", os.urandom(2 * INLINE_LIMIT_BYTES + 1))
                recorder.decision(f"decision {number}", input_trigger="x" * 100)

    def recorded(self) -> list[bytes]:
        """The bytes of every event that stands in the outbox, in order."""
        with OutboxReader(self.path) as reader:
            return [row.data for row in reader.rows() if row.kind == "event"]

    def backlog(self) -> Backlog:
        with OutboxReader(self.path) as reader:
            return reader.backlog()

    def sync(self, *, to: str = "hub") -> Outcome:
        """Empties the outbox once."""

        async def run() -> Sequence[Outcome]:
            carrier: Carrier = LogCarrier(self.settings) if to == "hub" else LedgerCarrier(self.settings)
            return await drain_once(carrier, outbox_paths(self.settings))

        (outcome,) = asyncio.run(run())
        return outcome

    def synced(self) -> Outcome:
        outcome = self.sync()
        assert outcome.trouble is None, outcome.trouble
        return outcome

    def command(self, **variables: str) -> Enchanted:
        """The command on this machine."""
        own = {
            "ENCHANTED_OUTBOX": self.settings.outbox,
            "ENCHANTED_NATS_URL": self.settings.nats_url,
            "ENCHANTED_NATS_TOKEN": self.settings.nats_token,
        }
        return Enchanted(self.settings.home, {**own, **variables})

    @contextmanager
    def watched(self, **variables: str) -> Iterator[None]:
        """``enchanted sync --watch`` as a process."""
        process = self.command(**variables).start("sync", "--watch")
        try:
            yield
        finally:
            process.terminate()
            _, err = process.communicate(timeout=60)
            assert "Traceback" not in err, err
            assert process.returncode == 0, err

    def await_landed(self, expected: list[bytes] | None = None) -> None:
        """Returns once the ledger has exactly what was recorded, in order, and the outbox knows that it has."""
        wanted = self.recorded() if expected is None else expected
        wait_until(lambda: len(in_ledger(self.settings, self.project)) >= len(wanted), "all events in the ledger")
        assert in_ledger(self.settings, self.project) == wanted

    def await_covered(self) -> None:
        wait_until(
            lambda: not (self.backlog().rows or self.backlog().uncovered), "an outbox that the ledger has all of"
        )
