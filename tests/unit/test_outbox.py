"""The outbox's file: what it takes, what it refuses, what goes when it is full."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from nervous_system.contract import SwarmEvent, SystemSignal
from nervous_system.errors import NotFoundError, SettingsError, UnavailableError
from nervous_system.events import content_hash
from nervous_system.outbox.draining import Acknowledgement, Drain
from nervous_system.outbox.opening import connect, outbox_path
from nervous_system.outbox.outbox import SIGNAL, Outbox, OutboxOptions, Row
from nervous_system.outbox.reading import OutboxReader
from nervous_system.outbox.rows import event_row, part_row
from nervous_system.settings import Settings
from tests.outboxes import PROJECT
from tests.samples import STREAM, event

DATA_BYTES = 100_000


@pytest.fixture
def options(tmp_path: Path) -> OutboxOptions:
    return OutboxOptions.of(Settings(home=tmp_path), PROJECT)


def row(number: int, size_bytes: int = 10) -> Row:
    made = event(number)
    return event_row(made, bytes(size_bytes))


def signal(number: int) -> Row:
    return event_row(event(number, system_signal=SystemSignal(detail="beat")), bytes(DATA_BYTES))


def part(content: bytes) -> Row:
    return part_row(content, content_hash(content))


def ids(options: OutboxOptions) -> list[str]:
    with OutboxReader(options.path) as reader:
        return [each.event_id or each.resource for each in reader.rows()]


def test_rows_stand_in_the_order_they_came_in_any_number(options: OutboxOptions) -> None:
    rows = [row(number) for number in range(1_234)]
    outbox = Outbox(options)
    assert [outbox.append(rows[:1_000]), outbox.append(rows[1_000:1_001]), outbox.append(rows[1_001:])] == [
        1000,
        1,
        233,
    ]
    outbox.close()
    assert ids(options) == [each.event_id for each in rows]
    with OutboxReader(options.path) as reader:
        assert (reader.backlog().rows, reader.backlog().size_bytes, reader.is_whole) == (1_234, 12_340, True)
        assert [each.event_id for each in reader.rows(after=1_230)] == [each.event_id for each in rows[1_230:]]


def test_any_sqlite_tool_reads_it(options: OutboxOptions) -> None:
    outbox = Outbox(options)
    outbox.append([event_row(event(5), b"five"), part(b"x")])
    outbox.close()
    plain = sqlite3.connect(options.path)
    assert plain.execute("SELECT time, agent, what, summary, state FROM log").fetchall() == [
        ("2023-11-14T22:13:25.000Z", "ada", "checkpoint", "c5", "waiting")
    ]
    assert plain.execute("SELECT value FROM about WHERE key = 'project'").fetchone() == ("acme/shop",)
    plain.close()


def test_a_part_that_waits_is_not_kept_twice(options: OutboxOptions) -> None:
    outbox = Outbox(options)
    assert outbox.append([part(b"x"), row(1)]) == 2
    assert outbox.append([part(b"x"), row(2)]) == 2
    with Drain(options.path) as drain:
        batches = drain.pending()
        drain.acknowledge(STREAM, [Acknowledgement(each.number, each.number) for each in batches])
        drain.cover(STREAM, 100)
    # The ledger has the first one, which may be deleted at any time now.
    assert outbox.append([part(b"x")]) == 1
    outbox.close()
    assert [len(each) == 64 for each in ids(options)] == [True, False, False, True]
    with OutboxReader(options.path) as reader:
        assert (reader.part(content_hash(b"x")), reader.part(content_hash(b"y"))) == (b"x", None)


def test_a_full_outbox_takes_what_there_is_room_for(options: OutboxOptions) -> None:
    outbox = Outbox(replace(options, max_bytes=25 * DATA_BYTES))
    taken = outbox.append([row(number, DATA_BYTES) for number in range(40)])
    assert 10 <= taken < 25
    assert outbox.append([row(41, 12 * DATA_BYTES)]) == 0
    outbox.close()
    assert len(ids(options)) == taken


def test_what_the_ledger_has_goes_first(options: OutboxOptions) -> None:
    outbox = Outbox(replace(options, max_bytes=20 * DATA_BYTES))
    outbox.append([row(number, DATA_BYTES) for number in range(15)])
    with Drain(options.path) as drain:
        first, second, *_ = drain.pending()
        drain.acknowledge(STREAM, [Acknowledgement(first.number, 7), Acknowledgement(second.number, 8)])
        drain.cover(STREAM, 7)
    assert outbox.append([row(20, 7 * DATA_BYTES)]) == 1
    # The second batch is in the log only.
    assert outbox.append([row(21, 12 * DATA_BYTES)]) == 0
    outbox.close()
    assert ids(options) == [row(number).event_id for number in (*range(len(first.data), 15), 20)]
    with OutboxReader(options.path) as reader:
        assert not reader.is_whole


def test_signals_make_room_and_are_counted(options: OutboxOptions) -> None:
    outbox = Outbox(replace(options, max_bytes=20 * DATA_BYTES, overflow="drop_signals"))
    outbox.append([signal(number) if number % 2 else row(number, DATA_BYTES) for number in range(18)])
    assert outbox.append([row(20, 5 * DATA_BYTES)]) == 1
    with OutboxReader(options.path) as reader:
        dropped = reader.backlog().dropped_signals
    kept = [number for number in range(18) if number % 2 == 0 or number > 2 * dropped]
    assert ids(options) == [row(number).event_id for number in (*kept, 20)]
    # Those that are in a batch are sent as they are; a new one goes before it is kept.
    with Drain(options.path) as drain:
        drain.pending()
    assert outbox.append([signal(30), row(31)]) == 2
    assert ids(options)[-1] == row(31).event_id
    assert outbox.append([row(32, 10 * DATA_BYTES)]) == 0
    outbox.close()
    connection = apsw.Connection(str(options.path))
    assert connection.execute("SELECT agent_id, signals FROM dropped").fetchall() == [("ada", dropped + 1)]


def test_what_is_no_outbox_is_told(options: OutboxOptions, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nothing was recorded"):
        connect(options.path)
    Outbox(options).close()
    with pytest.raises(SettingsError, match="belongs to the project acme/shop"):
        Outbox(replace(options, project=replace(PROJECT, project="other")))
    apsw.Connection(str(options.path)).execute("UPDATE about SET value = 2 WHERE key = 'format'")
    with pytest.raises(SettingsError, match="format 2"):
        OutboxReader(options.path)
    other = tmp_path / "other.db"
    apsw.Connection(str(other)).execute("CREATE TABLE t (x)")
    for opening in (lambda: Outbox(replace(options, path=other)), lambda: connect(other)):
        with pytest.raises(SettingsError, match="not an outbox"):
            opening()
    text = tmp_path / "text.db"
    text.write_text("no database at all, but long enough to be taken for one" * 100)
    with pytest.raises(SettingsError, match="nor any SQLite database"):
        Outbox(replace(options, path=text))
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot be opened"):
        Outbox(replace(options, path=tmp_path / "file" / "x.db"))


def test_a_damaged_outbox_is_told(options: OutboxOptions) -> None:
    outbox = Outbox(options)
    outbox.append([row(number, 1_000) for number in range(1_000)])
    outbox.close()
    with options.path.open("r+b") as file:
        file.seek(8 * 4096)
        file.write(b"\xff" * 4096 * 60)
    with OutboxReader(options.path) as reader, pytest.raises(UnavailableError, match="damaged"):
        list(reader.rows())


def test_where_outboxes_are(tmp_path: Path) -> None:
    assert outbox_path(Settings(home=tmp_path), PROJECT) == tmp_path / "outbox/acme/shop.db"
    assert outbox_path(Settings(home=tmp_path, outbox="/x"), PROJECT) == Path("/x/acme/shop.db")
    # The policy knows signals by this name, and so does the schema.
    assert SIGNAL in SwarmEvent.DESCRIPTOR.fields_by_name
