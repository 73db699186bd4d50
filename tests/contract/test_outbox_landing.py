"""An outbox straight into a ledger: the keys that the log's worker would write, each event once, in order."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nervous_system.events import INLINE_LIMIT_BYTES, decode
from nervous_system.ledger.ledger import Ledger
from nervous_system.ledger.transaction import Engine
from nervous_system.outbox.draining import Drain
from nervous_system.outbox.opening import outbox_path
from nervous_system.outbox.reading import OutboxReader
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from replay.contents import Contents
from syncer.to_ledger import LedgerCarriage, refused_path
from tests.contract.hub import Hub, opened_hub
from tests.samples import PROJECT


@pytest.fixture
def hub(engine: Engine, address: str) -> Iterator[Hub]:
    with opened_hub(engine, address) as hub:
        yield hub


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def record(settings: Settings, count: int) -> None:
    with Recorder(str(PROJECT), agent="ada", settings=settings) as recorder:
        for number in range(count):
            recorder.decision(f"decision {number}")
        recorder.file_changed("large.bin", os.urandom(INLINE_LIMIT_BYTES + 1))


def recorded(settings: Settings) -> list[bytes]:
    with OutboxReader(outbox_path(settings, PROJECT)) as reader:
        return [row.data for row in reader.rows() if row.kind == "event"]


def bring(ledger: Ledger, settings: Settings, keep_s: float = 1_000.0) -> int:
    """Lands what waits; gives how many batches that was."""

    async def run() -> int:
        with Drain(outbox_path(settings, PROJECT)) as drain:
            carriage = LedgerCarriage(ledger, drain, keep_s)
            await carriage.look()
            sent = await carriage.send(lambda _: None, lambda: False)
            assert await carriage.cover()
            return sent

    return asyncio.run(run())


def test_it_is_in_the_ledger_as_by_the_log(hub: Hub, settings: Settings) -> None:
    record(settings, 1_500)
    assert bring(hub.ledger, settings) == 3 + 1
    assert hub.data() == recorded(settings)
    assert bring(hub.ledger, settings) == 0
    history = hub.history()
    *_, last = history.events()
    change = decode(last.data).state_change
    assert len(Contents(history)(change.new_state_hash)) == INLINE_LIMIT_BYTES + 1


def test_what_comes_by_the_log_as_well_is_dropped_whoever_is_first(hub: Hub, settings: Settings) -> None:
    record(settings, 2)
    bring(hub.ledger, settings)
    expected = recorded(settings)
    assert hub.put(*expected).duplicates == len(expected)
    record(settings, 2)
    later = recorded(settings)[len(expected) :]
    assert hub.put(*later).events == len(later)
    bring(hub.ledger, settings)
    assert hub.data() == expected + later


@pytest.mark.parametrize("forgotten", ["sequence", "nothing"])
def test_a_landing_that_was_not_noted_is_not_done_again(hub: Hub, settings: Settings, forgotten: str) -> None:
    record(settings, 3)
    bring(hub.ledger, settings)
    if forgotten == "sequence":
        with Drain(outbox_path(settings, PROJECT)) as drain:
            drain._connection.execute("UPDATE batches SET stream = NULL, sequence = NULL, covered_us = NULL")
    record(settings, 1)
    bring(hub.ledger, settings)
    assert hub.data() == recorded(settings)


def test_a_ledger_restored_from_an_older_backup_gets_what_it_lost(
    engine: Engine, address: str, settings: Settings
) -> None:
    record(settings, 3)
    with opened_hub(engine, address) as lost:
        bring(lost.ledger, settings)
    record(settings, 3)
    with opened_hub(engine, address) as another:
        bring(another.ledger, settings)
        assert another.data() == recorded(settings)


def test_what_has_landed_goes_when_it_was_kept_long_enough(hub: Hub, settings: Settings) -> None:
    record(settings, 3)
    expected = recorded(settings)
    bring(hub.ledger, settings, keep_s=0.0)
    assert recorded(settings) == []
    assert hub.data() == expected


def test_what_the_ledger_refuses_is_kept_beside_the_outbox_and_holds_nothing_up(hub: Hub, settings: Settings) -> None:
    record(settings, 3)
    path = outbox_path(settings, PROJECT)
    expected = recorded(settings)
    with Drain(path) as drain:
        drain._connection.execute("UPDATE rows SET data = ?, size_bytes = 3 WHERE number = 2", (b"bad",))
    bring(hub.ledger, settings)
    assert hub.data() == [expected[0], *expected[2:]]
    (line,) = refused_path(path).read_text().splitlines()
    assert json.loads(line)["code"] == "undecodable"
