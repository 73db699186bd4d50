"""What the janitor tells of itself. No label names a tenant or a project."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingestors.janitor.plan import STORES, Report

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.registry import Collector


@dataclass(slots=True)
class Rounds:
    """Adds up what rounds did.

    Args:
        count: rounds that ended well.
        failures: those that did not.
        ended_s: when the last one ended well, seconds since 1970; 0 before the first.
    """

    count: int = 0
    failures: int = 0
    ended_s: float = 0.0
    items: Counter[str] = field(default_factory=Counter)
    freed: Counter[str] = field(default_factory=Counter)

    @property
    def freed_bytes(self) -> int:
        """How much room was given back, in all stores."""
        return sum(self.freed.values())

    def add(self, report: Report) -> None:
        """Counts a round."""
        self.count += 1
        self.ended_s = time.time()
        for done in report.stores:
            self.items[done.store] += done.items
            # Where more was landed than given back, nothing was.
            self.freed[done.store] += max(done.freed_bytes, 0)


def collector(rounds: Rounds) -> Collector:
    """Gives the numbers whenever the page is asked for."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector

    class RoundsCollector(Collector):
        def collect(self) -> Iterator[Metric]:
            yield CounterMetricFamily("enchanted_janitor_rounds", "Rounds through all stores ended", rounds.count)
            yield CounterMetricFamily("enchanted_janitor_failures", "Rounds broken off", rounds.failures)
            yield GaugeMetricFamily(
                "enchanted_janitor_last_round_timestamp_seconds", "When a round ended last, 0 for never", rounds.ended_s
            )
            removed = CounterMetricFamily(
                "enchanted_janitor_removed", "Events, messages or objects removed", labels=["store"]
            )
            freed = CounterMetricFamily("enchanted_janitor_freed_bytes", "Room given back", labels=["store"])
            for store in STORES:
                removed.add_metric([store], rounds.items[store])
                freed.add_metric([store], rounds.freed[store])
            yield from (removed, freed)

    return RoundsCollector()
