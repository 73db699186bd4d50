"""``latency``: how long it takes from emitting an event until SQL sees it, beside other sinks and alone."""

from __future__ import annotations

import bisect
import math
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ingestors.clickhouse import TABLE, connect
from nervous_system.settings import Settings
from tests.benchmarks.load import DRAIN_LIMIT_S, SINKS, Backlog, Load, stack

RUNS = ((5_000, SINKS), (5_000, ("clickhouse",)), (25_000, ("clickhouse",)))
DURATION_S = 20.0
# Left out: connections are made, and what is done once is done.
WARM_UP_S = 3.0
MESSAGES_A_SECOND = 25
POLL_S = 0.01

_LAST = f"SELECT max(log_sequence) FROM {TABLE}"


@dataclass(slots=True)
class Visibility:
    """Asks ClickHouse again and again up to which message SQL sees the events; of one project, so in order."""

    settings: Settings
    sequences: list[int] = field(default_factory=list)
    seen_s: list[float] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until ``stop``."""
        client = connect(self.settings)
        while not self._stopping.wait(POLL_S):
            sequence = int(client.query(_LAST).result_rows[0][0])
            if not self.sequences or sequence > self.sequences[-1]:
                # The answer's time: an event is visible no earlier than somebody has seen it.
                self.seen_s.append(time.monotonic())
                self.sequences.append(sequence)
        client.close()

    def when_s(self, sequence: int) -> float:
        """When a message was first seen, by ``time.monotonic``; infinite where it was not."""
        place = bisect.bisect_left(self.sequences, sequence)
        return self.seen_s[place] if place < len(self.seen_s) else math.inf

    def await_seen(self, sequence: int, limit_s: float) -> None:
        """Returns once the message has been seen, or after ``limit_s``."""
        deadline_s = time.monotonic() + limit_s
        while (not self.sequences or self.sequences[-1] < sequence) and time.monotonic() < deadline_s:
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Ends ``run``."""
        self._stopping.set()


def run(folder: Path) -> None:
    """Each run on a stack of its own, so that none meets another's backlog."""
    print(f"\nlatency: emitted to visible in SQL, one project, {DURATION_S:.0f} s at each rate")
    for number, (rate, sinks) in enumerate(RUNS):
        with stack(folder / str(number), sinks) as settings:
            _measure(settings, rate, sinks)


def _measure(settings: Settings, rate: int, sinks: Sequence[str]) -> None:
    # Answers once every worker has made its consumer, and so its table.
    Backlog(settings, sinks).await_empty()
    visibility = Visibility(settings)
    watching = threading.Thread(target=visibility.run, name="visibility", daemon=True)
    watching.start()
    load = Load(settings, 1, rate // MESSAGES_A_SECOND)
    emitted: list[tuple[int, float]] = []
    began_s = time.monotonic()
    reached = load.run(rate, WARM_UP_S + DURATION_S, lambda sequence, at_s: emitted.append((sequence, at_s)))
    visibility.await_seen(emitted[-1][0], DRAIN_LIMIT_S)
    visibility.stop()
    watching.join()
    load.close()
    counted = [(sequence, at_s) for sequence, at_s in emitted if at_s >= began_s + WARM_UP_S]
    took_s = [visibility.when_s(sequence) - at_s for sequence, at_s in counted]
    _print(f"{rate:,} events/s ({reached:,.0f} acknowledged), {', '.join(sinks)}", took_s)


def _print(name: str, took_s: list[float]) -> None:
    cuts = statistics.quantiles(took_s, n=100)
    figures = "  ".join(f"p{percent} {cuts[percent - 1] * 1e3:>7,.0f} ms" for percent in (50, 90, 99))
    print(f"  {name:<68} {figures}  most {max(took_s) * 1e3:,.0f} ms", flush=True)
