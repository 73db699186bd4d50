"""What the syncer tells of itself. No label names a tenant or a project."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from nervous_system.errors import EnchantedError
from nervous_system.events import now_us
from nervous_system.outbox.opened import Backlog
from nervous_system.outbox.reading import OutboxReader
from syncer.watching import Watch


class SyncCollector(Collector):
    """Looks into the outboxes whenever the page is asked for.

    Args:
        watch: what empties them.
        find: gives their files.
    """

    def __init__(self, watch: Watch, find: Callable[[], Sequence[Path]]) -> None:
        self._watch = watch
        self._find = find

    def collect(self) -> Iterator[Metric]:
        """The numbers as they are now."""
        backlogs = [backlog for path in self._find() if (backlog := _backlog(path)) is not None]
        since_us = min((backlog.since_us for backlog in backlogs if backlog.since_us is not None), default=None)
        age_s = 0.0 if since_us is None else max(0.0, (now_us() - since_us) / 1e6)
        yield CounterMetricFamily("enchanted_sync_sent_events", "Events sent to the hub", self._watch.sent_events)
        yield GaugeMetricFamily("enchanted_outboxes", "Outboxes on this machine", len(backlogs))
        yield GaugeMetricFamily(
            "enchanted_outbox_waiting_rows",
            "Events and parts of contents that the log does not have",
            sum(backlog.rows for backlog in backlogs),
        )
        yield GaugeMetricFamily(
            "enchanted_outbox_waiting_bytes", "Their bytes", sum(backlog.size_bytes for backlog in backlogs)
        )
        yield GaugeMetricFamily(
            "enchanted_outbox_oldest_waiting_seconds", "How long ago the oldest of them happened; 0 for none", age_s
        )


def _backlog(path: Path) -> Backlog | None:
    """None where the file is damaged or gone, which the syncer's own trouble tells."""
    try:
        with OutboxReader(path) as reader:
            return reader.backlog()
    except EnchantedError:
        return None
