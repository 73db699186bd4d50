"""``recorder``: what a call costs the agent, against an OpenTelemetry span; and how fast an outbox is drained."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from nervous_system.events import decode
from nervous_system.outbox.draining import Acknowledgement, Drain
from nervous_system.outbox.opening import connect, outbox_path
from nervous_system.outbox.outbox import Outbox, OutboxOptions
from nervous_system.outbox.rows import event_row
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from tests.benchmarks.material import PROJECT, events
from tests.benchmarks.report import Contender, compare

CALLS = 10_000
DURABLE_CALLS = 200
THREADS = 16
# As an agent that works beside its recording: a burst of calls, then something else for a moment.
BURST = 20
PAUSE_S = 0.002
ROUNDS = 3
DRAINED_EVENTS = 100_000
STREAM = StreamIdentity("BENCH", 1)
TEXT = "keep prices in cents because floats lose pennies when sums are long"

Call = Callable[[], object]


def run(folder: Path) -> None:
    """Calls in turns with the span's, then the outbox's reading rate."""
    settings = Settings(home=folder / "home")
    with Recorder(str(PROJECT), agent="coder-7", settings=settings) as recorder, _tracing() as span:
        _compare_calls(
            {
                "decision()": lambda: recorder.decision(TEXT, confidence=0.5),
                "OpenTelemetry span, one event, batch exporter to OTLP/HTTP": span,
            }
        )
        _tell_durable(recorder)
    _compare_draining(folder)


def _compare_calls(calls: dict[str, Call]) -> None:
    print(f"\nrecorder: a call, {CALLS:,} in bursts of {BURST} (median of {ROUNDS} rounds, µs)")
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            measured[name].append(_percentiles_us(_times_s(call, CALLS)))
    medians = {name: tuple(map(statistics.median, zip(*all_, strict=True))) for name, all_ in measured.items()}
    *_, baseline = medians.values()
    for name, (p50, p99) in medians.items():
        against = "baseline" if (p50, p99) == baseline else f"{p50 / baseline[0]:.2f} x, {p99 / baseline[1]:.2f} x"
        print(f"  {name:<60} p50 {p50:>8.1f}  p99 {p99:>8.1f}  {against}", flush=True)


def _tell_durable(recorder: Recorder) -> None:
    print("\nrecorder: a durable call, on disk when it returns (µs)")
    p50, p99 = _percentiles_us(_times_s(lambda: recorder.decision(TEXT, durable=True), DURABLE_CALLS))
    print(f"  {'one thread':<60} p50 {p50:>8.1f}  p99 {p99:>8.1f}", flush=True)
    began_s = time.perf_counter()
    times_s: list[float] = []
    threads = [
        threading.Thread(
            target=lambda: times_s.extend(_times_s(lambda: recorder.decision(TEXT, durable=True), DURABLE_CALLS))
        )
        for _ in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = THREADS * DURABLE_CALLS / (time.perf_counter() - began_s)
    p50, p99 = _percentiles_us(times_s)
    print(f"  {f'{THREADS} threads, which share commits':<60} p50 {p50:>8.1f}  p99 {p99:>8.1f}  {rate:,.0f} events/s")


def _times_s(call: Call, count: int) -> list[float]:
    times_s = []
    for number in range(count):
        began_s = time.perf_counter()
        call()
        times_s.append(time.perf_counter() - began_s)
        if number % BURST == 0:
            time.sleep(PAUSE_S)
    return times_s


def _percentiles_us(times_s: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(times_s, n=100)
    return cuts[49] * 1e6, cuts[98] * 1e6


@contextmanager
def _tracing() -> Iterator[Call]:
    """A span with one event and attributes like a decision's, exported to a server that takes and forgets it."""

    class Null(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Null)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{server.server_port}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("bench")

    def span() -> None:
        with tracer.start_as_current_span("decision") as made:
            made.add_event("decision", {"rationale": TEXT, "confidence": 0.5})

    try:
        yield span
    finally:
        provider.shutdown()
        server.shutdown()
        server.server_close()


def _compare_draining(folder: Path) -> None:
    settings = Settings(home=folder / "draining")
    outbox = Outbox(OutboxOptions.of(settings, PROJECT))
    outbox.append([event_row(decode(data), data) for data in events(DRAINED_EVENTS)])
    outbox.close()
    path = outbox_path(settings, PROJECT)
    compare(
        "recorder: draining an outbox, acknowledged as fast as it is read",
        "events",
        [Contender("Drain: stored boundaries, payloads, acknowledgements", DRAINED_EVENTS, lambda: _fresh(path))],
        Contender("SELECT data FROM rows, nothing else", DRAINED_EVENTS, lambda: lambda: _select(path)),
    )


def _fresh(path: Path) -> Call:
    connection = connect(path)
    connection.execute("DELETE FROM batches")
    connection.close()
    return lambda: _drain(path)


def _drain(path: Path) -> None:
    sequence = 0
    with Drain(path) as drain:
        while batches := drain.pending():
            assert all(batch.payload for batch in batches)
            acknowledgements = [Acknowledgement(batch.number, sequence + n) for n, batch in enumerate(batches, 1)]
            drain.acknowledge(STREAM, acknowledgements)
            sequence += len(batches)
    assert sequence >= DRAINED_EVENTS // 1_000


def _select(path: Path) -> None:
    connection = connect(path)
    assert sum(1 for _ in connection.execute("SELECT data FROM rows ORDER BY number")) == DRAINED_EVENTS
    connection.close()
