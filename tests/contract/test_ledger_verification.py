"""Whatever is altered, dropped, swapped or inserted in a ledger is found, and the first event at fault is named."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from nervous_system.events import content_hash
from nervous_system.ledger import keys
from nervous_system.ledger.keys import ProjectKeys
from nervous_system.ledger.records import EventRecord
from nervous_system.ledger.transaction import Engine, Transaction
from nervous_system.ledger.versions import Version
from nervous_system.textdiff import unified_diff
from replay.verification import Fault, Verification, first
from tests.contract.hub import Hub, opened_hub
from tests.samples import PROJECT, delete, event, patch, write

EVENTS = 9
LONG = b"a line that is long enough to be stored apart from its event\n" * 8


@pytest.fixture
def hub(engine: Engine, address: str) -> Iterator[Hub]:
    with opened_hub(engine, address) as opened:
        yield opened


@pytest.fixture
def versions(hub: Hub) -> list[Version]:
    """Nine events: a decision-like checkpoint, files written, edited and deleted."""
    edits = [b"one\n", b"one\ntwo\n", b"one\ntwo\nthree\n"]
    diffs = [unified_diff(before, after) or "" for before, after in itertools.pairwise(edits)]
    hub.put(event(1), event(2, state_change=write("a", edits[0])), event(3, state_change=write("b", LONG)))
    hub.put(
        event(4, state_change=patch("a", edits[0], edits[1], diffs[0])),
        event(5, state_change=patch("a", edits[1], edits[2], diffs[1])),
        event(6),
    )
    hub.put(event(7, state_change=delete("a", edits[2])), event(8), event(9, state_change=write("a", LONG + b"end")))
    return [stored.version for stored in hub.history().events()]


def faults(hub: Hub) -> list[Fault]:
    return list(Verification(hub.history(), hub.ledger.audit(PROJECT)).faults())


def project_keys(hub: Hub, engine: Engine) -> ProjectKeys:
    prefix = engine.directory((hub.root, PROJECT.tenant, PROJECT.project))
    assert prefix is not None
    return ProjectKeys(prefix)


def tampered(hub: Hub, engine: Engine, act: Callable[[Transaction, ProjectKeys], None]) -> list[Fault]:
    """The faults once somebody has written to the project's keys past the ledger."""
    found = project_keys(hub, engine)
    engine.run(lambda transaction: act(transaction, found))
    return faults(hub)


def test_a_ledger_that_nobody_touched_has_no_fault(hub: Hub, versions: list[Version]) -> None:
    assert len(versions) == EVENTS
    assert faults(hub) == []


@pytest.mark.parametrize("place", range(EVENTS))
def test_an_altered_event_is_named(hub: Hub, engine: Engine, versions: list[Version], place: int) -> None:
    def alter(transaction: Transaction, at: ProjectKeys) -> None:
        key = at.event(versions[place])
        value = transaction.get(key)
        assert value is not None
        transaction.set(key, value.replace(b"ada", b"eve"))

    found = first(tampered(hub, engine, alter))
    assert (found.version, found.event_id) == (versions[place], event(place + 1).event_id)


@pytest.mark.parametrize("place", range(EVENTS))
def test_a_dropped_event_is_named(hub: Hub, engine: Engine, versions: list[Version], place: int) -> None:
    def drop(transaction: Transaction, at: ProjectKeys) -> None:
        transaction.clear_range(at.event(versions[place]), keys.after(at.event(versions[place])))

    found = first(tampered(hub, engine, drop))
    assert (found.version, found.event_id) == (versions[place], event(place + 1).event_id)


def test_an_event_dropped_with_its_id_is_noticed_at_the_next(hub: Hub, engine: Engine, versions: list[Version]) -> None:
    def drop(transaction: Transaction, at: ProjectKeys) -> None:
        transaction.clear_range(at.event(versions[3]), keys.after(at.event(versions[3])))
        transaction.clear(at.id(event(4).event_id))

    found = tampered(hub, engine, drop)
    assert "chain" in next(fault.reason for fault in found if fault.version == versions[4])


def test_swapped_events_are_named(hub: Hub, engine: Engine, versions: list[Version]) -> None:
    def swap(transaction: Transaction, at: ProjectKeys) -> None:
        one, other = at.event(versions[5]), at.event(versions[7])
        values = transaction.get(one), transaction.get(other)
        assert values[0] is not None
        assert values[1] is not None
        transaction.set(one, values[1])
        transaction.set(other, values[0])

    found = tampered(hub, engine, swap)
    assert first(found).version == versions[5]
    assert versions[7] in {fault.version for fault in found}


def test_an_inserted_event_is_named(hub: Hub, engine: Engine, versions: list[Version]) -> None:
    between = Version(1, versions[4].stamp[:10] + b"\xff\xff")

    def insert(transaction: Transaction, at: ProjectKeys) -> None:
        forged = EventRecord(0, event(77).SerializeToString()).encode()
        transaction.set(at.event(between), forged)

    found = first(tampered(hub, engine, insert))
    assert (found.version, found.event_id) == (between, event(77).event_id)
    assert "inserted" in found.reason


@pytest.mark.parametrize("index", ["path", "occurred", "recorded"])
def test_an_index_without_a_row_is_named(hub: Hub, engine: Engine, versions: list[Version], index: str) -> None:
    def drop(transaction: Transaction, at: ProjectKeys) -> None:
        head = {"path": at.paths, "occurred": at.occurred(), "recorded": at.recorded()}[index]
        row = next(
            key for key, _ in transaction.get_range(*keys.within(head)) if keys.version_at_end(key) == versions[1]
        )
        transaction.clear(row)

    assert first(tampered(hub, engine, drop)).version == versions[1]


@pytest.mark.parametrize("index", ["path", "occurred"])
def test_a_row_of_no_event_is_found(hub: Hub, engine: Engine, versions: list[Version], index: str) -> None:
    stray = Version(1, b"\xfe" * 12)

    def add(transaction: Transaction, at: ProjectKeys) -> None:
        head = at.path("ghost") if index == "path" else at.occurred(5)
        value = next(value for _, value in transaction.get_range(*keys.within(at.paths)))
        transaction.set(head + keys.encode_version(stray), value if index == "path" else b"")

    assert [fault.version for fault in tampered(hub, engine, add)] == [stray]


def test_a_stored_content_that_was_altered_is_found(hub: Hub, engine: Engine, versions: list[Version]) -> None:
    tenant = engine.directory((hub.root, PROJECT.tenant))
    assert tenant is not None

    def alter(transaction: Transaction, _: ProjectKeys) -> None:
        transaction.set(keys.blob(tenant, bytes.fromhex(content_hash(LONG))), b"\x00other content")

    assert first(tampered(hub, engine, alter)).version == versions[2]


def test_a_head_that_was_altered_is_found(hub: Hub, engine: Engine, versions: list[Version]) -> None:
    def alter(transaction: Transaction, at: ProjectKeys) -> None:
        value = transaction.get(at.head)
        assert value is not None
        transaction.set(at.head, value[:-30] + bytes([value[-30] ^ 1]) + value[-29:])

    assert ["head" in fault.reason for fault in tampered(hub, engine, alter)] == [True]


def test_a_diff_that_never_led_where_it_said_is_named(hub: Hub) -> None:
    hub.put(event(1, state_change=write("a", b"one\n")))
    hub.put(event(2, state_change=patch("a", b"one\n", b"two\n", "@@ -1 +1 @@\n-one\n+three\n")))
    assert first(faults(hub)).event_id == event(2).event_id
