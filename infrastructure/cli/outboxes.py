"""What waits in the outboxes of this machine, for ``enchanted status``; told with or without a stack."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nervous_system.errors import EnchantedError
from nervous_system.events import utc
from nervous_system.outbox.opening import outbox_paths
from nervous_system.outbox.reading import OutboxReader
from nervous_system.settings import Settings


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """One outbox.

    Args:
        project: whose it is.
        outbox: its file.
        waiting: events, and parts of large contents, that the log has not acknowledged.
        waiting_bytes: of their data.
        since: when the first of them occurred, ISO 8601; empty where nothing waits.
        uncovered_batches: what the log has and the ledger was not seen to have.
        dropped_signals: how many signals made room for others since the outbox was made.
        trouble: why it cannot be read; empty where it can.
    """

    project: str
    outbox: str
    waiting: int = 0
    waiting_bytes: int = 0
    since: str = ""
    uncovered_batches: int = 0
    dropped_signals: int = 0
    trouble: str = ""

    def as_json(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return asdict(self)

    def sentence(self) -> str:
        """The same for a person."""
        if self.trouble:
            return f"{self.project}: {self.trouble}"
        dropped = f"; {self.dropped_signals:,} signals dropped for want of room" if self.dropped_signals else ""
        if self.waiting:
            return f"{self.project}: {self.waiting:,} waiting, {_size(self.waiting_bytes)}, since {self.since}{dropped}"
        batches = "batch is" if self.uncovered_batches == 1 else "batches are"
        kept = (
            f", of which {self.uncovered_batches:,} {batches} not in the ledger yet" if self.uncovered_batches else ""
        )
        return f"{self.project}: all sent{kept}{dropped}"


def outbox_statuses(settings: Settings) -> list[OutboxStatus]:
    """Every outbox of this machine."""
    return [_status(path) for path in outbox_paths(settings)]


def _status(path: Path) -> OutboxStatus:
    try:
        with OutboxReader(path) as reader:
            backlog = reader.backlog()
    except EnchantedError as error:
        return OutboxStatus(f"{path.parent.name}/{path.stem}", str(path), trouble=str(error))
    return OutboxStatus(
        project=str(reader.about.project),
        outbox=str(path),
        waiting=backlog.rows,
        waiting_bytes=backlog.size_bytes,
        since=_since(backlog.since_us),
        uncovered_batches=backlog.uncovered,
        dropped_signals=backlog.dropped_signals,
    )


def _since(since_us: int | None) -> str:
    return "" if since_us is None else utc(since_us).isoformat(timespec="seconds")


def _size(size_bytes: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size_bytes < 1_000:
            return f"{size_bytes:,.0f} {unit}"
        size_bytes //= 1_000
    return f"{size_bytes:,} GB"
