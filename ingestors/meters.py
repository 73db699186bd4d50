"""What an ingestor measures. No label ever names a tenant, a project or an agent.

Measured once a batch; the hops by a sample of at most SAMPLES messages of each batch, evenly spread, so that measuring
costs nothing that could be noticed. Histograms are by sink, not by partition: a cluster may have a thousand of those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from prometheus_client import Counter, Gauge, Histogram

from nervous_system.events import now_us, occurred_us
from nervous_system.landing import LandedMessage, Refusal
from nervous_system.telemetry.hops import HOPS, Passage, sample

SAMPLES = 16

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_COUNTS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000)
_BYTES = tuple(base * 10**power for power in range(3, 8) for base in (1, 3))
_EACH = ("sink", "partition")

BATCHES = Counter("enchanted_sink_batches", "Batches landed", _EACH)
MESSAGES = Counter("enchanted_sink_messages", "Messages of the log landed", _EACH)
EVENTS = Counter("enchanted_sink_events", "Events landed", _EACH)
BYTES = Counter("enchanted_sink_bytes", "Bytes of messages landed", _EACH)
RETRIES = Counter(
    "enchanted_sink_retries", "Failures after which a worker tried again, by their kind", (*_EACH, "kind")
)
DEAD = Counter("enchanted_dead_letters", "Refusals put into the dead-letter stream", _EACH)
REFUSALS = Counter("enchanted_refusals", "The same by reason code", ("sink", "code"))
BATCH_EVENTS = Histogram("enchanted_sink_batch_events", "Events of a batch", ("sink",), buckets=_COUNTS)
BATCH_BYTES = Histogram("enchanted_sink_batch_bytes", "Bytes of a batch", ("sink",), buckets=_BYTES)
LAND_SECONDS = Histogram("enchanted_sink_land_seconds", "How long a store took a batch", ("sink",), buckets=_SECONDS)
HOP_SECONDS = Histogram("enchanted_hop_seconds", "How long messages took a hop", ("sink", "hop"), buckets=_SECONDS)
NEGATIVE = Counter("enchanted_hop_negative", "Sampled hops that clocks made negative; taken for 0", ("sink", "hop"))
LAG = Gauge("enchanted_sink_lag_messages", "Messages of the log not landed yet", _EACH)
OLDEST = Gauge("enchanted_sink_oldest_unlanded_seconds", "Since when the log has the oldest message not landed", _EACH)
HELD = Gauge("enchanted_sink_held_messages", "Messages taken from the log for a batch that is not landed yet", _EACH)
LANDED_AT = Gauge("enchanted_sink_last_landed_timestamp_seconds", "When a batch was landed last, 0 for never", _EACH)
MAX_AGE = Gauge("enchanted_sink_max_age_seconds", "The age at which a batch is landed, as it is set", ("sink",))
STREAM_MESSAGES = Gauge("enchanted_stream_messages", "Messages that the log holds")
STREAM_BYTES = Gauge("enchanted_stream_bytes", "Bytes that the log holds")
DEAD_HELD = Gauge("enchanted_dead_letter_stream_messages", "Messages that the dead-letter stream holds")


@dataclass(slots=True)
class Window:
    """What a partition landed since it was asked last; samples in milliseconds, by hop."""

    messages: int = 0
    events: int = 0
    last_sequence: int = 0
    recorded_us: int = 0
    landed_us: int = 0
    samples_ms: dict[str, list[float]] = field(default_factory=lambda: {hop: [] for hop in HOPS})


class PartitionMeter:
    """Measures one worker: what it lands, how long that took, and where it stands."""

    def __init__(self, sink: str, partition: int) -> None:
        self._sink = sink
        self.partition = partition
        self.lag_messages = 0
        """As it was asked of the log last."""
        self._window = Window()
        labels = (sink, str(partition))
        self._labels = labels
        self._batches, self._messages, self._events = (each.labels(*labels) for each in (BATCHES, MESSAGES, EVENTS))
        self._bytes, self._dead = BYTES.labels(*labels), DEAD.labels(*labels)
        self._held, self._landed_at = HELD.labels(*labels), LANDED_AT.labels(*labels)
        self._lag, self._oldest = LAG.labels(*labels), OLDEST.labels(*labels)
        self._batch_events, self._batch_bytes = BATCH_EVENTS.labels(sink), BATCH_BYTES.labels(sink)
        self._land_seconds = LAND_SECONDS.labels(sink)
        self._hops = {hop: (HOP_SECONDS.labels(sink, hop), NEGATIVE.labels(sink, hop)) for hop in HOPS}

    def holding(self, messages: int) -> None:
        """So many messages wait in this process for their batch to be full."""
        self._held.set(messages)

    def waiting(self, messages: int, oldest_us: int) -> None:
        """So many messages are not landed; the log took the oldest at ``oldest_us``, 0 where there is none."""
        self.lag_messages = messages
        self._lag.set(messages)
        if oldest_us:
            # Grows by itself from here on, should nobody be able to ask again.
            self._oldest.set_function(lambda: max(0.0, (now_us() - oldest_us) / 1e6))
        else:
            self._oldest.set_function(lambda: 0.0)

    def landed(self, messages: Sequence[LandedMessage], published_us: Sequence[int], took_s: float) -> None:
        """A batch has landed; ``published_us`` has a number for each message, 0 where it is not known."""
        landed_us = now_us()
        events = sum(len(message.events) for message in messages)
        size_bytes = sum(message.size_bytes for message in messages)
        self._batches.inc()
        self._messages.inc(len(messages))
        self._events.inc(events)
        self._bytes.inc(size_bytes)
        self._batch_events.observe(events)
        self._batch_bytes.observe(size_bytes)
        self._land_seconds.observe(took_s)
        self._landed_at.set(landed_us / 1e6)
        self._held.set(0)
        window, last = self._window, messages[-1]
        window.messages += len(messages)
        window.events += events
        window.last_sequence, window.recorded_us, window.landed_us = last.sequence, last.recorded_us, landed_us
        for message, published in sample(list(zip(messages, published_us, strict=True)), SAMPLES):
            occurred = occurred_us(message.events[-1].event) if message.events else 0
            self._observe(Passage(occurred, published, message.recorded_us, landed_us))

    def failed(self, error: BaseException) -> None:
        """The worker tries again after ``error``."""
        RETRIES.labels(*self._labels, type(error).__name__).inc()
        self._held.set(0)

    def buried(self, refusal: Refusal) -> None:
        """The dead-letter stream has ``refusal``."""
        self._dead.inc()
        REFUSALS.labels(self._sink, refusal.code).inc()

    def forget(self) -> None:
        """Another process lands the partition from now on: what this one last knew of it is no longer told."""
        for gauge in (LAG, OLDEST, HELD, LANDED_AT):
            gauge.remove(*self._labels)

    def take_window(self) -> Window:
        """What landed since the last call."""
        taken, self._window = self._window, Window()
        return taken

    def _observe(self, passage: Passage) -> None:
        for hop, took_s in passage.hops_s().items():
            histogram, negative = self._hops[hop]
            if took_s < 0:
                negative.inc()
            histogram.observe(max(0.0, took_s))
            self._window.samples_ms[hop].append(max(0.0, took_s * 1e3))
