"""What the meters say, as rows of ClickHouse: the table ``sink_progress`` under the view ``swarm_hops``.

Written where a ClickHouse is set, whichever sink the process lands in. Nothing waits for it and nothing fails with it:
rows that cannot be written are tried again with the next ones, and dropped when they grow old.
"""

from __future__ import annotations

import importlib.util
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ingestors.meters import PartitionMeter
from nervous_system.events import utc
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

logger = logging.getLogger(__name__)

TABLE = "sink_progress"
COLUMNS = (
    "at",
    "sink",
    "partition",
    "hop",
    "log_stream",
    "last_sequence",
    "recorded",
    "landed",
    "lag_messages",
    "messages",
    "events",
    "samples_ms",
)
TIMEOUT_S = 30
# Some minutes of them.
KEPT_WRITES = 30

Row = list[Any]


class ProgressTable:
    """Keeps rows until they are written; ``write`` is called by one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: Client | None = None
        self._failing = False
        self._kept: deque[Sequence[Row]] = deque(maxlen=KEPT_WRITES)
        self.wanted = bool(settings.clickhouse_url) and importlib.util.find_spec("clickhouse_connect") is not None
        """Whether there is anywhere to write to."""

    def keep(self, rows: Sequence[Row]) -> None:
        """Has the rows written by the next ``write``; of too many, the oldest are dropped."""
        if rows and self.wanted:
            self._kept.append(rows)

    def write(self) -> None:
        """Writes what is kept, oldest first; what cannot be written now is kept."""
        while self._kept:
            rows = self._kept.popleft()
            try:
                self._insert(rows)
                self._failing = False
            # Whatever it is, it is no trouble of the landing's.
            except Exception as error:
                if len(self._kept) < KEPT_WRITES:
                    self._kept.appendleft(rows)
                self.close()
                logger.log(logging.DEBUG if self._failing else logging.INFO, "no rows for %s: %s", TABLE, error)
                self._failing = True
                return

    def close(self) -> None:
        """Disconnects."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _insert(self, rows: Sequence[Row]) -> None:
        from ingestors import clickhouse

        self._client = self._client or clickhouse.connect(self._settings, timeout_s=TIMEOUT_S)
        # Rows that come again, because their answer was lost, are dropped by the table as a block that it knows.
        settings = {"async_insert": 0, "insert_deduplicate": 1}
        self._client.insert(TABLE, rows, column_names=COLUMNS, settings=settings)


def taken(meters: Sequence[PartitionMeter], sink: str, stream: StreamIdentity) -> list[Row]:
    """A row for each hop of each partition that landed anything since this was called last."""
    return [row for meter in meters for row in _rows(meter, sink, str(stream))]


def _rows(meter: PartitionMeter, sink: str, stream: str) -> Iterator[Row]:
    window = meter.take_window()
    for hop, samples_ms in window.samples_ms.items():
        if samples_ms:
            yield [
                datetime.now(UTC),
                sink,
                meter.partition,
                hop,
                stream,
                window.last_sequence,
                utc(window.recorded_us),
                utc(window.landed_us),
                meter.lag_messages,
                window.messages,
                window.events,
                samples_ms,
            ]
