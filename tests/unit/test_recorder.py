"""The recorder and its outbox: what is on disk when, and what is linked to what."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from nervous_system.async_recorder import AsyncRecorder
from nervous_system.contract import Operation, SwarmEvent
from nervous_system.errors import ContractError, SettingsError, UnavailableError
from nervous_system.events import INLINE_LIMIT_BYTES, content_hash
from nervous_system.inspection import inspect
from nervous_system.outbox.draining import Drain
from nervous_system.outbox.reading import OutboxReader
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from tests.outboxes import PROJECT, events_in, path_in

PATIENCE_S = 60.0
ID = "0197f0c0-0000-7000-8000-000000000000"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
STREAM = StreamIdentity("SWARM", 1)


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROJECT", "AGENT", "ROLE", "SESSION", "CAUSATION"):
        monkeypatch.delenv(f"ENCHANTED_{name}", raising=False)
    monkeypatch.delenv("TRACEPARENT", raising=False)


def recorder(home: Path, agent: str = "ada", **options: Any) -> Recorder:
    return Recorder(str(PROJECT), agent=agent, settings=Settings(home=home, **options))


def wait_until(reached: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def test_every_kind_of_event_is_kept_as_the_stores_take_it(tmp_path: Path) -> None:
    large = os.urandom(3 * INLINE_LIMIT_BYTES)
    with recorder(tmp_path) as made:
        ids = [
            made.decision("why", confidence=0.5, attributes={"a": "b"}),
            made.file_changed("a", b"1\n"),
            made.file_changed("a", b"2\n", previous=b"1\n", attributes={"by": "hand"}),
            made.file_changed("a", b"3\n", previous_hash=content_hash(b"2\n")),
            made.file_changed("large", large),
            made.file_changed("a", None, previous_hash=content_hash(b"3\n")),
            made.message("hello", to="bob", attributes={"m": "n"}),
            made.tool_call("ls", attributes={"x": "y"}),
            made.signal("idle"),
            made.checkpoint("v1"),
        ]
    events = events_in(tmp_path)
    for event in events:
        inspect(event.SerializeToString(), PROJECT)
    assert [event.event_id for event in events] == ids
    assert [event.agent_sequence for event in events] == list(range(1, 11))
    changes = [event.state_change for event in events[1:6]]
    assert [each.operation for each in changes[:3]] == [
        Operation.OPERATION_CREATE,
        Operation.OPERATION_MODIFY,
        Operation.OPERATION_MODIFY,
    ]
    assert dict(changes[1].attributes) == {"by": "hand"}
    assert changes[2].previous_state_hash == content_hash(b"2\n")
    with OutboxReader(path_in(tmp_path)) as reader:
        parts = [reader.part(digest.hex()) for digest in changes[3].blob_parts]
        kinds = [row.kind for row in reader.rows()]
    assert b"".join(part or b"" for part in parts) == large
    assert kinds.index("part") < 4 + len(parts)


def test_durable_is_on_disk_when_it_returns_and_all_else_soon(tmp_path: Path) -> None:
    made = recorder(tmp_path, outbox_commit_within_s=30.0)
    made.signal()
    made.decision("now", durable=True)
    assert len(events_in(tmp_path)) == 2
    made.signal()
    made.flush()
    assert len(events_in(tmp_path)) == 3
    made.signal()
    made.close()
    assert len(events_in(tmp_path)) == 4
    quick = recorder(tmp_path)
    quick.signal()
    wait_until(lambda: len(events_in(tmp_path)) == 5)
    quick.close()


def test_a_closed_recorder_says_so(tmp_path: Path) -> None:
    made, other = recorder(tmp_path), recorder(tmp_path)
    made.close()
    made.close()
    for call in (made.signal, made.flush, lambda: made.file_changed("large", bytes(2 * INLINE_LIMIT_BYTES))):
        with pytest.raises(UnavailableError, match="closed"):
            call()
    # The other one shares the file, and goes on.
    other.signal(durable=True)
    other.close()
    assert len(events_in(tmp_path)) == 1


def test_what_cannot_be_kept_is_refused_at_once_and_leaves_no_gap(tmp_path: Path) -> None:
    lone = "\ud800"
    with recorder(tmp_path) as made:
        refusals: list[Callable[[], object]] = [
            lambda: made.decision("x", occurred=datetime(2024, 1, 1)),  # noqa: DTZ001 - that is the fault
            lambda: made.decision("x", occurred=datetime(1800, 1, 1, tzinfo=UTC)),
            lambda: made.decision("x", confidence=float("nan")),
            lambda: made.decision("x" * 1_000_000),
            lambda: made.decision(lone),
            lambda: made.decision("x", correlation_id=lone),
            lambda: made.decision(7),  # type: ignore[arg-type]
            lambda: made.message("x", kind="gossip"),
            lambda: made.tool_call("x", input_tokens=-1),
            lambda: made.file_changed("../x", b""),
            lambda: made.file_changed("/".join(["x" * 200] * 50), b""),
            lambda: made.file_changed("x", b"", previous_hash="beef"),
            lambda: made.file_changed("x", None, renamed_from="y"),
            lambda: made.file_changed("x", bytes(2 * INLINE_LIMIT_BYTES), attributes={lone: ""}),
            lambda: made.checkpoint("a:b"),
        ]
        for refused in refusals:
            with pytest.raises(ContractError):
                refused()
        made.decision("at last")
    assert [event.agent_sequence for event in events_in(tmp_path)] == [1]
    with pytest.raises(ContractError):
        Recorder("acme/shop", agent="ada", role="jester", settings=Settings(home=tmp_path))
    with pytest.raises(ContractError, match="ENCHANTED_AGENT"):
        Recorder("acme/shop", settings=Settings(home=tmp_path))
    with pytest.raises(ContractError, match="ENCHANTED_PROJECT"):
        Recorder(agent="ada", settings=Settings(home=tmp_path))


def test_what_is_recorded_inside_follows(tmp_path: Path) -> None:
    with recorder(tmp_path) as made:
        with made.decision("task", correlation_id="t1") as outer:
            first = made.tool_call("ls")
            with made.decision("step", correlation_id="t2") as inner:
                second = made.signal()
            third = made.signal(causation_id=first, correlation_id="t3")
            fourth = made.signal()
            threading.Thread(target=made.signal).start()
        made.signal()
        wait_until(lambda: len(events_in(tmp_path)) == 8)
    links = {event.event_id: (event.causation_id, event.correlation_id) for event in events_in(tmp_path)}
    assert links[first] == links[fourth] == (outer, "t1")
    assert links[inner] == (outer, "t2")
    assert links[second] == (inner, "t2")
    assert links[third] == (first, "t3")
    assert sorted(links.values())[:3] == [("", ""), ("", ""), ("", "t1")]


def test_surroundings_and_spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PROJECT", str(PROJECT)), ("AGENT", "bob"), ("ROLE", "tester"), ("SESSION", "s9")):
        monkeypatch.setenv(f"ENCHANTED_{name}", value)
    monkeypatch.setenv("ENCHANTED_CAUSATION", ID)
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-{SPAN}-01")
    tracer = TracerProvider().get_tracer("test")
    with Recorder(settings=Settings(home=tmp_path)) as made:
        made.signal()
        with tracer.start_as_current_span("work") as span:
            made.signal()
            made.signal(trace_id="ab", span_id="cd")
    plain, traced, given = events_in(tmp_path)
    assert (plain.agent_id, plain.session_id, plain.causation_id) == ("bob", "s9", ID)
    assert (plain.trace_id, plain.span_id) == (TRACE, SPAN)
    context = span.get_span_context()
    assert (traced.trace_id, traced.span_id) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")
    assert (given.trace_id, given.span_id) == ("ab", "cd")
    monkeypatch.setenv("TRACEPARENT", f"00-{'0' * 32}-{SPAN}-01")
    with Recorder(agent="eve", settings=Settings(home=tmp_path)) as made:
        made.signal()
    assert (events_in(tmp_path)[-1].agent_id, events_in(tmp_path)[-1].trace_id) == ("eve", "")


def test_recorders_of_a_process_stand_in_the_order_they_recorded_in(tmp_path: Path) -> None:
    with recorder(tmp_path, "ada") as ada, recorder(tmp_path, "bob") as bob:
        ids = [each.signal() for _ in range(200) for each in (ada, bob)]
    assert [event.event_id for event in events_in(tmp_path)] == ids


def test_threads_share_a_recorder_and_its_commits(tmp_path: Path) -> None:
    durable: list[int] = []

    def work(made: Recorder) -> None:
        for _ in range(20):
            made.signal()
            made.signal(durable=True)
        durable.append(len(events_in(tmp_path)))

    with recorder(tmp_path) as made:
        threads = [threading.Thread(target=work, args=(made,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert max(durable) == 8 * 40
    assert [event.agent_sequence for event in events_in(tmp_path)] == list(range(1, 8 * 40 + 1))


def test_a_signals_handler_may_record(tmp_path: Path) -> None:
    with recorder(tmp_path) as made:
        before = signal.signal(signal.SIGALRM, lambda *_: made.signal("stopped"))
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            for _ in range(3_000):
                made.signal()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    numbers = sorted(event.agent_sequence for event in events_in(tmp_path))
    assert len(numbers) > 3_000
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_full_outbox_holds_the_agent_back_until_it_is_drained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = recorder(tmp_path, outbox_max_bytes=4 * 1024 * 1024)
    done = threading.Event()

    def work() -> None:
        for _ in range(20):
            made.decision("x" * 400_000)
        made.flush()
        done.set()

    with caplog.at_level(logging.WARNING):
        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        wait_until(lambda: "holds the 4194304 bytes that it may" in caplog.text)
        seen: list[SwarmEvent] = []
        with Drain(path_in(tmp_path)) as drain:
            while not done.is_set() or drain.backlog().rows:
                assert drain.path.stat().st_size < 8 * 1024 * 1024
                for batch in drain.pending():
                    seen += [SwarmEvent.FromString(data) for data in batch.data]
                    drain.acknowledged(batch.number, STREAM, batch.number)
                drain.cover(STREAM, 1_000)
                time.sleep(0.01)
    worker.join()
    made.close()
    assert [event.agent_sequence for event in seen] == list(range(1, 21))
    assert "has room again" in caplog.text


def test_signals_let_decisions_in(tmp_path: Path) -> None:
    with recorder(tmp_path, outbox_max_bytes=4 * 1024 * 1024, outbox_overflow="drop_signals") as made:
        for _ in range(100):
            made.signal(detail="x" * 100_000)
            made.decision("x" * 10_000)
    kinds = [event.WhichOneof("payload") for event in events_in(tmp_path)]
    assert kinds.count("decision") == 100
    with OutboxReader(path_in(tmp_path)) as reader:
        assert kinds.count("system_signal") + reader.backlog().dropped_signals == 100
    assert kinds[-2:] == ["system_signal", "decision"]


def test_an_outbox_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "outbox").touch()
    with pytest.raises(SettingsError, match="cannot be opened"):
        recorder(tmp_path)


def test_an_outbox_that_is_moved_away_is_told_and_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with recorder(tmp_path) as made:
        made.decision("old", durable=True)
        path_in(tmp_path).parent.rename(tmp_path / "away")
        with suppress(UnavailableError):
            made.decision("new", durable=True)
        made.flush()
    assert [event.decision.rationale for event in events_in(tmp_path)] == ["new"]
    assert "moved away or deleted" in caplog.text


def test_coroutines_record_and_the_loop_goes_on(tmp_path: Path) -> None:
    async def task(made: AsyncRecorder, number: int) -> None:
        with await made.decision(f"task {number}") as decision:
            await made.file_changed(f"f{number}", os.urandom(2 * INLINE_LIMIT_BYTES))
            await made.signal(detail=str(decision), durable=True)
            assert len(events_in(tmp_path)) >= 3

    async def work() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        async with AsyncRecorder(str(PROJECT), agent="ada", settings=Settings(home=tmp_path)) as made:
            ticking = asyncio.create_task(tick())
            await asyncio.gather(*(task(made, number) for number in range(20)))
            ticking.cancel()
            with pytest.raises(ContractError):
                await made.checkpoint("a:b")
        assert ticks > 20

    asyncio.run(work())
    events = events_in(tmp_path)
    assert [event.agent_sequence for event in events] == list(range(1, 61))
    for event in events:
        if event.HasField("system_signal"):
            assert event.causation_id == event.system_signal.detail
        if event.HasField("state_change"):
            assert event.causation_id


def test_coroutines_wait_for_room_without_holding_up_the_loop(tmp_path: Path) -> None:
    async def drain() -> None:
        with Drain(path_in(tmp_path)) as drain:
            while True:
                for batch in drain.pending():
                    drain.acknowledged(batch.number, STREAM, batch.number)
                drain.cover(STREAM, 1_000)
                await asyncio.sleep(0.001)

    async def work() -> None:
        settings = Settings(home=tmp_path, outbox_max_bytes=4 * 1024 * 1024)
        async with AsyncRecorder(str(PROJECT), agent="ada", settings=settings) as made:
            draining = asyncio.create_task(drain())
            for _ in range(60):
                await made.decision("x" * 500_000)
            await made.flush()
            draining.cancel()

    asyncio.run(asyncio.wait_for(work(), PATIENCE_S))
    assert events_in(tmp_path)[-1].agent_sequence == 60
