"""A steady load on the whole stack, and how far each sink is with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nats.errors
import psutil
from nats.js import api
from nats.js.errors import NotFoundError

from infrastructure.local.home import Home
from infrastructure.local.stack import running_stack
from infrastructure.local.state import read_state
from nervous_system import bus, subjects
from nervous_system.events import now_us, uuid7
from nervous_system.projects import ProjectName
from nervous_system.publisher import Publisher
from nervous_system.settings import Settings
from tests.benchmarks.material import events

SINKS = ("ledger", "clickhouse", "siphon")
SERVERS = ("nats", "clickhouse", "s3")
TEMPLATES = 3_000
POLL_S = 0.2
DRAIN_LIMIT_S = 90.0

# An event's bytes begin with its id: tag and length, and the id's text.
_ID_START, _ID_END = 2, 2 + 36


@contextmanager
def stack(folder: Path, sinks: Sequence[str] = SINKS) -> Iterator[Settings]:
    """Servers and sinks, each a process of its own, as ``enchanted up`` starts them."""
    with running_stack(folder / "home", [*SERVERS, *(f"ingest-{sink}" for sink in sinks)]) as settings:
        yield settings


class Load:
    """Publishes events of several projects at a steady rate, each project's through a connection of its own.

    Args:
        settings: of the stack.
        projects: how many.
        message_events: how many events share a message, and so an acknowledgement.
    """

    def __init__(self, settings: Settings, projects: int, message_events: int) -> None:
        self._message_events = message_events
        self._names = [ProjectName("bench", f"load-{number}") for number in range(projects)]
        self._templates = [events(TEMPLATES, name, seed) for seed, name in enumerate(self._names)]
        self._closing = ExitStack()
        self._publishers = [Publisher(settings, name) for name in self._names]
        for publisher in self._publishers:
            self._closing.callback(publisher.close)
        self.messages = self._turn = 0
        """Messages published."""

    def run(self, rate: int, duration_s: float, sent: Callable[[int, float], None] = lambda *_: None) -> float:
        """Publishes ``rate`` events a second for ``duration_s``, or as many as are acknowledged in time.

        Args:
            rate: events a second.
            duration_s: seconds.
            sent: called for each message acknowledged, with its stream sequence and when its events were emitted, by
                ``time.monotonic``.

        Returns:
            Events a second, as they were acknowledged.
        """
        began_s, first = time.monotonic(), self.messages
        interval_s = self._message_events / rate
        while (due_s := began_s + (self.messages - first) * interval_s) < began_s + duration_s:
            time.sleep(max(0.0, due_s - time.monotonic()))
            if time.monotonic() >= began_s + duration_s:
                break
            emitted_s = time.monotonic()
            sequence = self._publish()
            sent(sequence, emitted_s)
        return (self.messages - first) * self._message_events / (time.monotonic() - began_s)

    def close(self) -> None:
        """Disconnects."""
        self._closing.close()

    def _publish(self) -> int:
        place, self._turn = self._turn % len(self._publishers), self._turn + 1
        publisher, templates = self._publishers[place], self._templates[place]
        start = self.messages * self._message_events
        for number in range(start, start + self._message_events):
            publisher.put(_renewed(templates[number % TEMPLATES]))
        publisher.flush()
        self.messages += 1
        return publisher.last_sequence


@dataclass(frozen=True, slots=True)
class Backlog:
    """Messages that a sink has not landed, asked of the log."""

    settings: Settings
    sinks: Sequence[str] = SINKS

    def waiting(self) -> dict[str, int]:
        """By sink, over all partitions; raises UnavailableError where the log does not answer."""
        return asyncio.run(self._waiting())

    def await_empty(self) -> dict[str, float]:
        """Returns once all have landed everything, or after DRAIN_LIMIT_S: by sink, how many seconds that took."""
        began_s, took_s = time.monotonic(), dict[str, float]()
        while len(took_s) < len(self.sinks) and time.monotonic() < began_s + DRAIN_LIMIT_S:
            waiting = self.waiting()
            took_s |= {
                sink: time.monotonic() - began_s for sink in self.sinks if sink not in took_s and not waiting[sink]
            }
            time.sleep(POLL_S)
        return took_s

    async def _waiting(self) -> dict[str, int]:
        client = await bus.connect(self.settings)
        try:
            ask = partial(client.jetstream().consumer_info, self.settings.stream)
            found = dict.fromkeys(self.sinks, 0)
            for sink in self.sinks:
                for partition in range(self.settings.partitions):
                    info = await _patiently(partial(ask, subjects.consumer(sink, partition)))
                    found[sink] += (info.num_pending or 0) + (info.num_ack_pending or 0)
            return found
        finally:
            await client.close()


@dataclass(frozen=True, slots=True)
class Consumption:
    """What a process of the stack, with those that it started, holds in memory and has had of the processors."""

    memory_mb: float
    cpu_s: float


def consumption(settings: Settings) -> dict[str, Consumption]:
    """By component."""
    state = read_state(Home.at(settings.home))
    assert state is not None, "the stack runs"
    return {child.name: _consumption(child.process.pid) for child in state.children if child.process is not None}


def _consumption(pid: int) -> Consumption:
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    memory_mb = sum(float(each.memory_info().rss) for each in family) / 1e6
    return Consumption(memory_mb, sum(each.cpu_times().user + each.cpu_times().system for each in family))


def _renewed(event: bytes) -> bytes:
    """The same event under another id."""
    return event[:_ID_START] + uuid7(now_us() // 1_000).encode() + event[_ID_END:]


async def _patiently(ask: Callable[[], Awaitable[api.ConsumerInfo]]) -> api.ConsumerInfo:
    """The answer, also where a worker is just making its consumer anew."""
    while True:
        try:
            return await ask()
        except (NotFoundError, TimeoutError, nats.errors.Error):
            await asyncio.sleep(POLL_S)
