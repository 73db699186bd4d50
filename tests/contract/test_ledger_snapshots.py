"""Snapshots change how long an answer takes, and never the answer."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from nervous_system.contract import AgentDecision, MessageKind, Operation, StateChange, SwarmEvent
from nervous_system.ledger import keys
from nervous_system.ledger.history import History, Outline
from nervous_system.ledger.records import ContentForm
from nervous_system.ledger.snapshots import Held, Manifest
from nervous_system.ledger.transaction import Engine
from nervous_system.ledger.versions import Version
from nervous_system.projects import ProjectName
from nervous_system.textdiff import unified_diff
from replay.contents import Contents
from replay.forking import opening
from replay.keeping import DIFFS_LIMIT, Keeper
from replay.merging import Merger, Policy
from replay.moments import Moment, resolve
from replay.snapshots import state_at
from replay.state import State, fold
from replay.verification import Fault, Verification
from tests.contract.hub import Hub, opened_hub
from tests.samples import BEGAN_US, PROJECT, delete, event, patch, write

FORK = ProjectName(PROJECT.tenant, "fork")
PATHS = ["a", "b", "c/d", "e"]
SECOND_US = 1_000_000


@pytest.fixture
def hub(engine: Engine, address: str) -> Iterator[Hub]:
    with opened_hub(engine, address) as opened:
        yield opened


def keeper(hub: Hub, project: ProjectName = PROJECT, told: list[SwarmEvent] | None = None) -> Keeper:
    tell = (told if told is not None else []).extend
    return Keeper(hub.history(project), hub.ledger.snapshots(project), tell, least_events=4)


def random_change(chance: random.Random, contents: dict[str, list[bytes]]) -> StateChange:
    """A change that mostly fits what was written last, and at times starts from something older."""
    path = chance.choice(PATHS)
    known = contents[path]
    before = chance.choice(known[-3:]) if known and chance.random() < 0.3 else known[-1] if known else None
    if before is not None and chance.random() < 0.15:
        return delete(path, before if chance.random() < 0.7 else None)
    lines = (before or b"1\n2\n3\n4\n5\n6\n7\n8\n").splitlines(keepends=True)
    lines[chance.randrange(len(lines))] = f"{chance.randrange(1000)}\n".encode()
    after = b"".join(lines)
    contents[path].append(after)
    diff = unified_diff(before, after) if before is not None else None
    if before is not None and diff and chance.random() < 0.5:
        return patch(path, before, after, diff)
    return write(path, after, before if chance.random() < 0.8 else None)


def random_event(
    number: int, chance: random.Random, contents: dict[str, list[bytes]], project: ProjectName
) -> SwarmEvent:
    shift_s = chance.choice([0, 0, 0, 0, -7, 500])
    occurred_us = BEGAN_US + (number + shift_s) * SECOND_US
    if chance.random() < 0.2:
        return event(number, project, occurred_us=occurred_us, decision=AgentDecision(rationale="r"))
    return event(number, project, occurred_us=occurred_us, state_change=random_change(chance, contents))


def by_model(history: History, moment: Moment, policy: Policy) -> State:
    merger = Merger(Contents(history), policy)
    return fold(history.path_changes(through=moment.through), moment, merger)


def assert_same(history: History, chance: random.Random) -> None:
    versions = [stored.version for stored in history.events()]
    for _ in range(30):
        moment = Moment(
            chance.choice(versions),
            chance.choice([None, BEGAN_US + chance.randrange(0, 60) * SECOND_US]),
            chance.choice([None, None, BEGAN_US + chance.randrange(0, 60) * SECOND_US]),
        )
        policy = chance.choice(list(Policy))
        expected = by_model(history, moment, policy)
        found = state_at(history, moment, Merger(Contents(history), policy))
        assert found.tree == expected.tree, moment
        assert set(found.conflicts) == set(expected.conflicts), moment


@pytest.mark.parametrize("seed", range(12))
def test_every_moment_is_the_same_with_snapshots_as_without(hub: Hub, seed: int) -> None:
    chance = random.Random(seed)
    contents: dict[str, list[bytes]] = {path: [] for path in PATHS}
    following: Keeper | None = None
    for number in range(1, 50):
        hub.put(random_event(number, chance, contents, PROJECT))
        if chance.random() < 0.2:
            # The one that went on all the time, or one that starts from what is kept.
            following = following if following and chance.random() < 0.5 else keeper(hub)
            following.advance()
    assert len(hub.history().snapshots()) >= 3
    assert_same(hub.history(), chance)
    history = hub.history()
    at = chance.choice([str(chance.choice([each.version for each in history.events()])), "now"])
    hub.land(hub.message(event(200, FORK, checkpoint=opening(history, resolve(history, at))), project=FORK))
    for number in range(201, 220):
        hub.land(hub.message(random_event(number, chance, contents, FORK), project=FORK))
    assert_same(hub.history(FORK), chance)
    keeper(hub, FORK).advance()
    assert_same(hub.history(FORK), chance)


def test_a_moment_long_ago_is_read_without_what_came_after(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 41):
        hub.put(event(number, state_change=write("f", str(number).encode())))
    keeper(hub).advance()
    history, read = hub.history(), itertools.count()
    at = Moment(history.head().version, at_us=BEGAN_US + 10 * SECOND_US)
    outlines = History.outlines

    def counted(self: History, *, after: Version | None = None, through: Version | None = None) -> Iterator[Outline]:
        for outline in outlines(self, after=after, through=through):
            next(read)
            yield outline

    monkeypatch.setattr(History, "outlines", counted)
    assert Contents(history)(state_at(history, at).tree["f"].content_hash) == b"10"
    assert next(read) <= 8


def test_a_damaged_snapshot_costs_no_truth(hub: Hub, engine: Engine) -> None:
    for number in range(1, 13):
        hub.put(event(number, state_change=write("f", str(number).encode())))
    keeper(hub).advance()
    history = hub.history()
    last = history.snapshots()[-1]
    project = hub.ledger._place(PROJECT).keys
    engine.run(lambda transaction: transaction.set(keys.chunk(project.manifest(last.version), 0), b"garbage"))
    assert Contents(history)(state_at(history, resolve(history, "now")).tree["f"].content_hash) == b"12"
    hub.ledger.snapshots(PROJECT).clear()
    assert hub.history().snapshots() == []
    assert keeper(hub).advance() == 3


def test_a_long_chain_of_diffs_gets_a_whole_content(hub: Hub) -> None:
    text = b"".join(b"%d\n" % line for line in range(50))
    hub.put(event(1, state_change=write("f", text)))
    digests = []
    for number in range(2, 2 * DIFFS_LIMIT + 10):
        after = text.replace(b"\n7", b"\n%d\n7" % number, 1)
        diff = unified_diff(text, after)
        assert diff
        change = patch("f", text, after, diff)
        hub.put(event(number, state_change=change))
        digests.append(bytes.fromhex(change.new_state_hash))
        if number % 10 == 0:
            keeper(hub).advance()
        text = after
    forms = [source and source.form for source in hub.history().content_sources(digests)]
    assert forms.count(ContentForm.BLOB) >= 2
    assert Contents(hub.history())(digests[-1].hex()) == text


def test_a_conflict_is_told_once(hub: Hub) -> None:
    hub.put(event(1, state_change=write("f", b"one\n")))
    hub.put(
        event(2, state_change=write("f", b"two\n", b"one\n")), event(3, state_change=write("f", b"tre\n", b"one\n"))
    )
    told: list[SwarmEvent] = []
    keeper(hub, told=told).advance()
    (conflict,) = told
    assert conflict.message.kind == MessageKind.MESSAGE_KIND_CONFLICT
    assert conflict.causation_id == event(3).event_id
    assert "'f'" in conflict.message.content
    again: list[SwarmEvent] = []
    keeper(hub, told=again).advance()
    assert again == told
    hub.put(conflict)
    keeper(hub, told=again).advance()
    assert again == told


def test_what_merges_and_what_is_written_anew_is_no_conflict(hub: Hub) -> None:
    base = b"1\n2\n3\n4\n5\n"
    hub.put(event(1, state_change=write("f", base)))
    hub.put(event(2, state_change=write("f", b"one" + base[1:], base)))
    hub.put(event(3, state_change=write("f", base[:-2] + b"five\n", base)))
    told: list[SwarmEvent] = []
    keeper(hub, told=told).advance()
    assert told == []
    hub.put(event(4, state_change=write("f", b"x", b"nowhere", operation=Operation.OPERATION_MODIFY)))
    hub.put(event(5, state_change=write("f", b"settled")))
    keeper(hub, told=told).advance()
    assert len(told) == 1
    assert state_at(hub.history(), resolve(hub.history(), "now")).conflicts == []


def test_verification_finds_a_snapshot_that_tells_something_else(hub: Hub) -> None:
    for number in range(1, 13):
        hub.put(event(number, state_change=write(PATHS[number % 4], str(number).encode())))
    keeper(hub).advance()
    assert faults(hub) == []
    last = hub.history().snapshots()[-1]
    wrong = Manifest({"invented": Held(0o100644, bytes(32), 0)}, frozenset())
    hub.ledger.snapshots(PROJECT).save(last, wrong)
    assert [fault.version for fault in faults(hub)] == [last.version]


def faults(hub: Hub) -> list[Fault]:
    return list(Verification(hub.history(), hub.ledger.audit(PROJECT)).faults())
