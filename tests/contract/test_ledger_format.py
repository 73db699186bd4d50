"""A ledger in another format is refused in a sentence, by readers and writers alike."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nervous_system.errors import SettingsError
from nervous_system.ledger import tuples
from nervous_system.ledger.formats import FORMAT
from nervous_system.ledger.ledger import SYSTEM, Ledger
from nervous_system.ledger.transaction import Engine
from tests.contract.hub import Hub, opened_hub
from tests.samples import event


@pytest.fixture
def hub(engine: Engine, address: str) -> Iterator[Hub]:
    with opened_hub(engine, address) as opened:
        yield opened


def test_a_ledger_reads_what_it_wrote(hub: Hub, engine: Engine) -> None:
    hub.put(event(1))
    assert [stored.data for stored in Ledger(engine, hub.root).history(hub.ledger.projects()[0]).events()] == hub.data()


@pytest.mark.parametrize("value", [None, (FORMAT + 1).to_bytes(2, "big")])
def test_another_format_is_refused(hub: Hub, engine: Engine, value: bytes | None) -> None:
    hub.put(event(1))
    prefix = engine.directory((hub.root, SYSTEM))
    assert prefix is not None
    key = tuples.pack(("format",), prefix)
    engine.run(lambda transaction: transaction.clear(key) if value is None else transaction.set(key, value))
    with pytest.raises(SettingsError, match="format"):
        Ledger(engine, hub.root)


def test_the_format_before_stubs_is_read_and_marked_anew(hub: Hub, engine: Engine) -> None:
    hub.put(event(1))
    prefix = engine.directory((hub.root, SYSTEM))
    assert prefix is not None
    key = tuples.pack(("format",), prefix)
    engine.run(lambda transaction: transaction.set(key, (2).to_bytes(2, "big")))
    hub.ledger = Ledger(engine, hub.root)
    hub.put(event(2))
    assert len(hub.data()) == 2
    assert engine.run(lambda transaction: transaction.get(key)) == FORMAT.to_bytes(2, "big")
