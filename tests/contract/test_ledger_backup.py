"""A copy of an embedded ledger is the ledger of one instant, and goes on from there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from nervous_system.errors import SettingsError
from nervous_system.ledger.embedded.backups import back_up
from nervous_system.ledger.engines import open_engine
from nervous_system.ledger.ledger import Ledger
from replay.verification import Verification
from tests.contract.hub import Hub, opened_hub
from tests.samples import PROJECT, event, write


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def hub(file: Path) -> Iterator[Hub]:
    engine = open_engine(f"embedded://{file}")
    with opened_hub(engine, "embedded:") as opened:
        for number in range(1, 20):
            opened.put(event(number, state_change=write("f", b"%d" % number * 300)))
        yield opened
    engine.close()


def opened(path: Path, hub: Hub) -> Hub:
    return Hub(Ledger(open_engine(f"embedded://{path}"), hub.root), hub.root)


def test_it_has_all_and_goes_on_by_itself(hub: Hub, file: Path, tmp_path: Path) -> None:
    size_bytes = back_up(file, tmp_path / "copy")
    assert size_bytes == (tmp_path / "copy").stat().st_size
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    plain = apsw.Connection(str(tmp_path / "copy"))
    assert plain.execute("PRAGMA journal_mode").get == "wal"
    plain.close()
    copy = opened(tmp_path / "copy", hub)
    assert copy.data() == hub.data()
    copy.sequence = copy.cursor().sequence
    copy.put(event(30))
    assert (len(copy.data()), len(hub.data())) == (20, 19)
    assert not list(Verification(copy.history(), copy.ledger.audit(PROJECT)).faults())


def test_it_is_of_one_instant_while_others_write(hub: Hub, file: Path, tmp_path: Path) -> None:
    stopping = threading.Event()

    def write_on() -> None:
        number = 100
        while not stopping.is_set():
            hub.put(event(number, state_change=write("f", b"%d" % number)))
            number += 1

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        for name in ("one", "two", "three"):
            back_up(file, tmp_path / name)
    finally:
        stopping.set()
        writer.join()
    everything = hub.data()
    for name in ("one", "two", "three"):
        copy = opened(tmp_path / name, hub)
        found = copy.data()
        assert found == everything[: len(found)]
        assert copy.cursor().sequence == len(found)
        assert not list(Verification(copy.history(), copy.ledger.audit(PROJECT)).faults())


def test_what_stands_there_is_left_alone(hub: Hub, file: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("mine")
    with pytest.raises(SettingsError, match="exists already"):
        back_up(file, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "mine"
    with pytest.raises(SettingsError, match="no folder"):
        back_up(file, tmp_path / "nowhere" / "copy")
    with pytest.raises(SettingsError, match="no ledger"):
        back_up(tmp_path / "other", tmp_path / "copy2")
    assert sorted(path.name for path in tmp_path.iterdir() if "ledger" not in path.name) == ["copy"]
