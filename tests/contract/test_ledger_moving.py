"""A ledger that is moved to another engine is the same ledger, and goes on there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.errors import EnchantedError, SettingsError
from nervous_system.ledger import moving
from nervous_system.ledger.engines import open_engine
from nervous_system.ledger.gate import Gate, GateError, Shut
from nervous_system.ledger.ledger import SYSTEM, Ledger
from nervous_system.ledger.moving import Move, Side, differences, shares
from nervous_system.ledger.transaction import Engine
from nervous_system.projects import ProjectName
from replay.contents import Contents
from replay.forking import opening
from replay.keeping import Keeper
from replay.merging import tree_at
from replay.moments import resolve
from replay.verification import Verification
from tests.contract.hub import SINK, Hub, opened_hub
from tests.samples import PROJECT, STREAM, event, write

OTHER = ProjectName("beta", "shop")
FORK = ProjectName(PROJECT.tenant, "fork")
LARGE = bytes(range(256)) * 1_000


@pytest.fixture
def hub(engine: Engine, address: str) -> Iterator[Hub]:
    """Two tenants, a fork, a snapshot, contents apart and in parts."""
    with opened_hub(engine, address) as opened:
        for number in range(1, 30):
            opened.put(event(number, state_change=write(f"f{number % 5}", b"%d" % number * 200)))
        opened.put(event(30, state_change=write("large", LARGE)))
        opened.land(opened.message(event(31, OTHER, state_change=write("f", b"theirs")), project=OTHER))
        history = opened.history()
        origin = event(32, FORK, checkpoint=opening(history, resolve(history, event(9).event_id)))
        opened.land(opened.message(origin, event(33, FORK, state_change=write("f0", b"forked")), project=FORK))
        yield opened


@pytest.fixture
def goal(tmp_path: Path) -> Iterator[Engine]:
    opened = open_engine(f"embedded://{tmp_path}/goal.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "PAGE_ROWS", 7)
    monkeypatch.setattr(moving, "WRITE_BYTES", 700)


def move(hub: Hub, engine: Engine, goal: Engine) -> Move:
    return Move(Side(engine, "embedded:///here"), Side(goal, "embedded:///there"), hub.root)


def everything(ledger: Ledger) -> dict[str, object]:
    """What people ask of a ledger, versions included."""
    known: dict[str, object] = {"cursor": ledger.cursor(SINK, STREAM, 0)}
    for project in sorted(ledger.projects(), key=str):
        history = ledger.history(project)
        contents = Contents(history)
        events = list(history.events())
        known[str(project)] = (
            events,
            history.head(),
            [tree_at(history, resolve(history, str(each.version)), contents) for each in events[-3:]],
            [contents(entry.content_hash) for entry in tree_at(history, resolve(history, "now"), contents).values()],
            [snapshot.version for snapshot in history.snapshots()],
            list(Verification(history, ledger.audit(project)).faults()),
        )
    return known


def test_it_is_the_same_ledger_there(hub: Hub, engine: Engine, goal: Engine, small_pages: None) -> None:
    Keeper(hub.history(), hub.ledger.snapshots(PROJECT), least_events=4).advance()
    assert list(hub.history().snapshots())
    before = everything(hub.ledger)
    tally = move(hub, engine, goal).run()
    assert everything(Ledger(goal, hub.root)) == before
    assert tally.passes == 2
    assert tally.written >= tally.rows


def test_what_comes_later_stands_behind_what_was_moved(hub: Hub, engine: Engine, goal: Engine) -> None:
    move(hub, engine, goal).run()
    there = Hub(Ledger(goal, hub.root), hub.root, sequence=hub.sequence)
    there.put(event(40, state_change=write("f1", b"after the move")))
    versions = [each.version for each in there.history().events()]
    assert versions == sorted(versions)
    assert [version.incarnation for version in versions[-2:]] == [1, 2]
    assert there.data()[:-1] == hub.data()
    assert not list(Verification(there.history(), there.ledger.audit(PROJECT)).faults())


def test_the_old_one_takes_nothing_more_and_says_where_to_go(hub: Hub, engine: Engine, goal: Engine) -> None:
    move(hub, engine, goal).run()
    with pytest.raises(GateError, match="moved to embedded:///there"):
        hub.put(event(40))
    assert len(hub.data()) == 30


def test_nothing_lands_there_before_it_is_whole(hub: Hub, engine: Engine, goal: Engine) -> None:
    class CutOffError(Exception):
        pass

    def cut(_: object) -> None:
        raise CutOffError

    with pytest.raises(CutOffError):
        move(hub, engine, goal).run(cut)
    early = Hub(Ledger(goal, hub.root), hub.root, sequence=hub.sequence)
    with pytest.raises(GateError, match="being moved here from embedded:///here"):
        early.put(event(40))


def test_what_lands_meanwhile_goes_along(hub: Hub, engine: Engine, goal: Engine, small_pages: None) -> None:
    numbers = iter(range(50, 60))

    def land_too(_: object) -> None:
        try:
            number = next(numbers, None)
            if number is not None:
                hub.put(event(number, state_change=write(f"new{number}", b"x" * 300)))
        except GateError:
            return

    move(hub, engine, goal).run(land_too)
    assert Hub(Ledger(goal, hub.root), hub.root).data() == hub.data()
    assert len(hub.data()) > 30


@pytest.mark.parametrize("reports", [1, 5, 20, 40])
def test_cut_off_anywhere_it_is_run_again(
    hub: Hub, engine: Engine, goal: Engine, small_pages: None, reports: int
) -> None:
    before = everything(hub.ledger)
    left = iter(range(reports))

    def cut(_: object) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(hub, engine, goal).run(cut)
    move(hub, engine, goal).run()
    assert everything(Ledger(goal, hub.root)) == before


def test_it_is_done_once(hub: Hub, engine: Engine, goal: Engine) -> None:
    move(hub, engine, goal).run()
    there = Hub(Ledger(goal, hub.root), hub.root, sequence=hub.sequence)
    there.put(event(40))
    assert move(hub, engine, goal).run().passes == 0
    assert len(there.data()) == 31


@pytest.mark.parametrize(
    "shut", [(Shut.REBUILDING, ""), (Shut.MOVING_HERE, "embedded:///first"), (Shut.MOVED_AWAY, "embedded:///other")]
)
def test_what_is_not_the_whole_ledger_is_not_moved(
    hub: Hub, engine: Engine, goal: Engine, shut: tuple[Shut, str]
) -> None:
    system = engine.directory((hub.root, SYSTEM))
    assert system is not None
    Gate(engine, system).shut(*shut)
    with pytest.raises(SettingsError, match="cannot be moved"):
        move(hub, engine, goal).run()
    assert Gate(engine, system).state() == shut


def test_a_ledger_in_use_is_not_overwritten(hub: Hub, engine: Engine, goal: Engine) -> None:
    used = Hub(Ledger(goal, hub.root), hub.root)
    used.put(event(1))
    with pytest.raises(SettingsError, match="is in use"):
        move(hub, engine, goal).run()
    # Neither was touched: both go on.
    assert len(used.data()) == 1
    hub.put(event(40))


def test_a_move_is_given_up(hub: Hub, engine: Engine, goal: Engine) -> None:
    def cut(tally: moving.Tally) -> None:
        if tally.passes == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(hub, engine, goal).run(cut)
    with pytest.raises(GateError):
        hub.put(event(40))
    move(hub, engine, goal).abandon()
    hub.sequence -= 1
    hub.put(event(40))
    assert len(hub.data()) == 31


def test_a_move_that_came_to_its_end_is_not_given_up(hub: Hub, engine: Engine, goal: Engine) -> None:
    move(hub, engine, goal).run()
    with pytest.raises(SettingsError, match="nothing to give up"):
        move(hub, engine, goal).abandon()


def test_who_goes_on_writing_is_noticed(hub: Hub, engine: Engine, goal: Engine) -> None:
    prefix = engine.directory((hub.root, PROJECT.tenant, PROJECT.project))
    assert prefix is not None
    numbers = iter(range(10**6))

    def scribble(_: object) -> None:
        engine.run(lambda transaction: transaction.set(prefix + b"\x02zzz\x00", b"%d" % next(numbers)))

    with pytest.raises(EnchantedError, match="goes on writing"):
        move(hub, engine, goal).run(scribble)


rows = st.dictionaries(st.binary(max_size=3), st.binary(max_size=3))


@given(rows, rows, st.integers(1, 20))
def test_differences_make_one_side_the_other(wanted: dict[bytes, bytes], there: dict[bytes, bytes], size: int) -> None:
    for share in shares(differences(wanted, there), size):
        assert share
        for key, value in share.items():
            if value is None:
                del there[key]
            else:
                there[key] = value
    assert there == wanted
