"""What the worker of snapshots tells of itself. No label names a tenant or a project."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from replay.keepers import Keepers


class KeepersCollector(Collector):
    """Reads the keepers' own numbers whenever the page is asked for."""

    def __init__(self, keepers: Keepers) -> None:
        self._keepers = keepers

    def collect(self) -> Iterator[Metric]:
        """The numbers as they are now."""
        keepers = self._keepers
        yield CounterMetricFamily("enchanted_snapshots_written", "Snapshots written", keepers.written)
        yield CounterMetricFamily("enchanted_snapshots_rounds", "Rounds through all projects ended", keepers.rounds)
        yield GaugeMetricFamily(
            "enchanted_snapshots_projects_behind", "Projects whose newest events are not followed yet", keepers.behind
        )
        yield GaugeMetricFamily(
            "enchanted_snapshots_projects_passed_over",
            "Projects that could not be followed, until they move again",
            len(keepers.passed_over),
        )
