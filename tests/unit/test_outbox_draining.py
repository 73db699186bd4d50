"""Draining an outbox: order, what a retry is, what goes and what is sent again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nervous_system.errors import NotFoundError, UnavailableError
from nervous_system.events import BATCH_LIMIT_BYTES, BATCH_LIMIT_EVENTS, content_hash, cut_batch
from nervous_system.outbox.draining import Acknowledgement, Drain, OutboxBatch
from nervous_system.outbox.outbox import Outbox, OutboxOptions, Row
from nervous_system.outbox.rows import event_row, part_row
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from tests.outboxes import PROJECT
from tests.samples import BEGAN_US, STREAM, event

ANEW = StreamIdentity(STREAM.name, STREAM.created_us + 1)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(OutboxOptions.of(Settings(home=tmp_path), PROJECT))
    yield made
    made.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return OutboxOptions.of(Settings(home=tmp_path), PROJECT).path


def row(number: int) -> Row:
    return event_row(event(number), event(number).SerializeToString())


def part(content: bytes) -> Row:
    return part_row(content, content_hash(content))


def send(drain: Drain, log: list[OutboxBatch], stream: StreamIdentity = STREAM, limit: int = 3) -> None:
    """Sends all that waits to ``log``, whose places are the sequences."""
    while batches := drain.pending(limit):
        for batch in batches:
            log.append(batch)
            drain.acknowledged(batch.number, stream, len(log))


def sent(log: list[OutboxBatch]) -> list[bytes]:
    return [data for batch in log for data in batch.data]


def test_events_go_together_and_parts_alone_before_what_names_them(outbox: Outbox, path: Path) -> None:
    rows = [row(1), row(2), part(b"x"), part(b"y"), row(3), *map(row, range(4, BATCH_LIMIT_EVENTS + 10))]
    outbox.append(rows)
    with Drain(path) as drain:
        log: list[OutboxBatch] = []
        send(drain, log)
        assert [(each.kind, len(each.data)) for each in log] == [
            ("events", 2),
            ("part", 1),
            ("part", 1),
            ("events", BATCH_LIMIT_EVENTS),
            ("events", 7),
        ]
        assert sent(log) == [each.data for each in rows]
        assert cut_batch(log[0].payload) == [rows[0].data, rows[1].data]
        assert (log[1].payload, log[1].part_hash, log[0].part_hash) == (b"x", content_hash(b"x"), "")
        assert drain.pending() == []


def test_a_batch_is_no_larger_than_a_message(outbox: Outbox, path: Path) -> None:
    sizes = [BATCH_LIMIT_BYTES - 10, 10, 1, 900_000, 5]
    outbox.append([event_row(event(number), bytes(size)) for number, size in enumerate(sizes)])
    with Drain(path) as drain:
        assert [[len(data) for data in each.data] for each in drain.pending()] == [sizes[:2], [1], [900_000], [5]]


def test_what_is_sent_again_is_the_same_message(outbox: Outbox, path: Path) -> None:
    outbox.append([row(1)])
    with Drain(path) as drain:
        [first] = drain.pending()
    outbox.append([row(2)])
    with Drain(path) as drain:
        again, second = drain.pending()
        assert again == first
        assert second.message_id != first.message_id
        drain.acknowledged(first.number, STREAM, 1)
        assert drain.pending() == [second]


def test_one_drains_at_a_time(outbox: Outbox, path: Path) -> None:
    with Drain(path), pytest.raises(UnavailableError, match="Another process drains"):
        Drain(path)
    Drain(path).close()
    with pytest.raises(NotFoundError):
        Drain(path.with_name("none.db"))


def test_what_waits_and_since_when(outbox: Outbox, path: Path) -> None:
    outbox.append([row(1), row(2), part(b"x"), row(3)])
    with Drain(path) as drain:
        assert (drain.backlog().rows, drain.backlog().since_us) == (4, BEGAN_US + 1_000_000)
        first, *_ = drain.pending()
        drain.acknowledged(first.number, STREAM, 1)
        left = drain.backlog()
        assert (left.rows, left.size_bytes, left.since_us) == (2, row(3).size_bytes + 1, BEGAN_US + 3_000_000)
        assert (left.uncovered, drain.uncovered()) == (1, [(STREAM, 1)])
        drain.cover(STREAM, 1)
        send(drain, [])
        drain.cover(STREAM, 100)
        assert (drain.backlog().rows, drain.backlog().since_us, drain.uncovered()) == (0, None, [])


def test_only_what_the_ledger_has_goes_and_only_in_time(outbox: Outbox, path: Path) -> None:
    outbox.append([row(1), part(b"x"), row(2)])
    with Drain(path) as drain:
        log: list[OutboxBatch] = []
        send(drain, log)
        assert drain.prune(0) == 0
        assert drain.cover(ANEW, 100) == 0
        assert drain.cover(STREAM, 2) == 2
        assert drain.cover(STREAM, 2) == 0
        assert drain.prune(3600) == 0
        assert drain.prune(0) == 2
        assert drain.backlog().uncovered == 1
        outbox.append([row(3)])
        send(drain, log)
        assert sent(log)[-1] == row(3).data


def test_a_log_that_lost_something_is_given_it_again(outbox: Outbox, path: Path) -> None:
    outbox.append([row(1), part(b"x"), row(2), part(b"y"), row(3)])
    with Drain(path) as drain:
        log: list[OutboxBatch] = []
        send(drain, log)
        drain.cover(STREAM, 4)
        assert drain.rewind(STREAM, 5) == 0
        # The log was put back to an older backup.
        assert drain.rewind(STREAM, 3) == 2
        again = drain.pending()
        assert again == log[3:]
        send(drain, log := log[:3])
        assert sent(log) == [each.data for each in (row(1), part(b"x"), row(2), part(b"y"), row(3))]
        # It was made anew: nothing of it counts, and nothing is deleted.
        assert drain.rewind(ANEW, 0) == 5
        assert drain.prune(0) == 0
        anew: list[OutboxBatch] = []
        send(drain, anew, ANEW)
        assert [each.message_id for each in anew] == [each.message_id for each in log]


STEPS = st.sampled_from(["append", "send", "cover", "prune", "lose", "reopen"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=25), limit=st.integers(1, 4))
def test_whatever_happens_nothing_is_missing(
    steps: list[str], limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    options = OutboxOptions.of(Settings(home=tmp_path_factory.mktemp("steps")), PROJECT)
    outbox = Outbox(options)
    drain = Drain(options.path)
    log: list[OutboxBatch] = []
    landed = recorded = 0
    for step in [*steps, "append", "send"]:
        match step:
            case "append":
                outbox.append([row(recorded), part(b"%d" % recorded), row(recorded + 1)])
                recorded += 2
            case "send":
                drain.rewind(STREAM, len(log))
                send(drain, log, limit=limit)
            case "cover":
                landed = len(log)
                drain.cover(STREAM, landed)
            case "prune":
                drain.prune(0)
            case "lose":
                # What the ledger has, and may be gone from the outbox, is safe.
                del log[max(landed, len(log) - 2) :]
            case "reopen":
                drain.close()
                drain = Drain(options.path)
    events = [data for batch in log if batch.kind == "events" for data in batch.data]
    assert events == [row(number).data for number in range(recorded)]
    assert [batch.data[0] for batch in log if batch.kind == "part"] == [b"%d" % each for each in range(0, recorded, 2)]
    drain.close()
    outbox.close()


def test_acknowledgements_together(outbox: Outbox, path: Path) -> None:
    outbox.append([part(b"x"), part(b"y"), part(b"z")])
    with Drain(path) as drain:
        batches = drain.pending(2)
        drain.acknowledge(STREAM, [Acknowledgement(each.number, each.number) for each in batches])
        assert [each.data for each in drain.pending()] == [(b"z",)]
