"""``together``: events a second that all three sinks land at once during a minute of publishing, and in what memory."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from ingestors.clickhouse import connect
from nervous_system.settings import Settings
from tests.benchmarks.load import DRAIN_LIMIT_S, SINKS, Backlog, Consumption, Load, consumption, stack

RATE = 25_000
DURATION_S = 60.0
SAMPLE_EVERY_S = 10.0
PROJECTS = 8
MESSAGE_EVENTS = 1_000


@dataclass(frozen=True, slots=True)
class Sample:
    """How it stands: seconds since the start, events published and by sink landed, what each process uses."""

    at_s: float
    published: int
    landed: dict[str, int]
    used: dict[str, Consumption]


@dataclass(slots=True)
class Watch:
    """Samples the stack in a thread of its own until told to stop."""

    settings: Settings
    load: Load
    samples: list[Sample] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _began_s: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Until ``stop``."""
        while not self._stopping.wait(SAMPLE_EVERY_S):
            self.take()

    def take(self) -> None:
        """One sample, now."""
        waiting = Backlog(self.settings).waiting()
        published = self.load.messages
        landed = {sink: (published - waiting[sink]) * MESSAGE_EVENTS for sink in SINKS}
        at_s = time.monotonic() - self._began_s
        self.samples.append(Sample(at_s, published * MESSAGE_EVENTS, landed, consumption(self.settings)))

    def stop(self) -> None:
        """Ends ``run``."""
        self._stopping.set()


def run(folder: Path) -> None:
    """Publishes at RATE for DURATION_S, sampling all the while; then waits until the last sink has everything."""
    with stack(folder) as settings:
        load = Load(settings, PROJECTS, MESSAGE_EVENTS)
        watch = Watch(settings, load)
        watching = threading.Thread(target=watch.run, name="watch", daemon=True)
        watching.start()
        acknowledged = load.run(RATE, DURATION_S)
        watch.stop()
        watching.join()
        watch.take()
        behind_s = Backlog(settings).await_empty()
        watch.take()
        load.close()
        _print(watch.samples, acknowledged, behind_s)
        _print_exact(settings, load.messages * MESSAGE_EVENTS)


def _print(samples: list[Sample], acknowledged: float, behind_s: dict[str, float]) -> None:
    ended, drained = samples[-2:]
    print(f"\ntogether: all sinks at once, {RATE:,} events a second asked for during {DURATION_S:.0f} s")
    print(f"  {'published, acknowledged on disk':<40} {acknowledged:>10,.0f} events/s")
    for sink in SINKS:
        late = f"the last {behind_s[sink]:.1f} s behind" if sink in behind_s else f"not all {DRAIN_LIMIT_S:.0f} s later"
        in_all = drained.landed[sink] / (ended.at_s + behind_s.get(sink, DRAIN_LIMIT_S))
        print(
            f"  {'landed in ' + sink + ' meanwhile':<40} {ended.landed[sink] / ended.at_s:>10,.0f} events/s, "
            f"in all {in_all:,.0f} events/s, {late}"
        )
    _print_used(samples)


def _print_used(samples: list[Sample]) -> None:
    names = list(samples[0].used)
    print(f"  {'memory, MB, after':<30}" + "".join(f"{name:>18}" for name in names))
    for sample in samples:
        figures = "".join(f"{sample.used[name].memory_mb:>18,.0f}" for name in names)
        print(f"  {sample.at_s:>6.0f} s, {sample.published:>10,} events  {figures}")
    last = samples[-1]
    # What a sink has not landed has not cost it anything; servers serve all.
    landed = {f"ingest-{sink}": count for sink, count in last.landed.items()}
    costs = {name: last.used[name].cpu_s / max(landed.get(name, last.published), 1) * 1e6 for name in names}
    print(f"  {'processor, us an event':<30}" + "".join(f"{costs[name]:>18,.1f}" for name in names))
    total_us, processors = sum(costs.values()), os.cpu_count() or 1
    limit = processors / total_us * 1e6
    print(f"  {total_us:.0f} us an event in all: {processors} processors can do {limit:,.0f} events/s at most")


def _print_exact(settings: Settings, events: int) -> None:
    client = connect(settings)
    rows, ids = client.query("SELECT count(), uniqExact(event_id) FROM swarm_events").result_rows[0]
    client.close()
    print(f"  ClickHouse holds {rows:,} events, {ids:,} ids, of {events:,} published", flush=True)
