"""A fork shares the past without copying it, and from there on the two go their own ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from nervous_system.contract import AgentDecision, Checkpoint, Origin, SwarmEvent
from nervous_system.events import decode, occurred_us, utc
from nervous_system.ledger.history import History
from nervous_system.ledger.records import DamagedError
from nervous_system.ledger.transaction import Engine
from nervous_system.ledger.versions import Version
from nervous_system.projects import ProjectName
from replay.contents import Contents
from replay.forking import opening
from replay.merging import tree_at
from replay.moments import Moment, resolve
from tests.contract.hub import Hub, opened_hub
from tests.samples import BEGAN_US, PROJECT, event, write

FORK = ProjectName(PROJECT.tenant, "fork")
FORK_OF_FORK = ProjectName(PROJECT.tenant, "fork-of-fork")
SECOND_US = 1_000_000


@pytest.fixture
def hub(engine: Engine, address: str) -> Iterator[Hub]:
    with opened_hub(engine, address) as opened:
        for number, content in enumerate((b"one", b"two", b"three"), start=1):
            opened.put(event(number, state_change=write("f", content), related_commit_hash=f"abc{number}"))
        yield opened


def fork(hub: Hub, name: ProjectName, at: str, *, of: ProjectName = PROJECT, number: int = 100) -> History:
    history = hub.history(of)
    first = event(number, name, checkpoint=opening(history, resolve(history, at)))
    hub.land(hub.message(first, project=name))
    return hub.history(name)


def put(hub: Hub, project: ProjectName, *events: SwarmEvent) -> None:
    hub.land(hub.message(*events, project=project))


def files(history: History, at: str = "now") -> dict[str, bytes]:
    contents = Contents(history)
    return {
        path: contents(entry.content_hash) for path, entry in tree_at(history, resolve(history, at), contents).items()
    }


def ids(history: History, *, reverse: bool = False) -> list[str]:
    return [decode(stored.data).event_id for stored in history.events(reverse=reverse)]


def test_a_fork_begins_where_it_parts_and_leaves_its_origin_alone(hub: Hub) -> None:
    history = fork(hub, FORK, event(2).event_id)
    assert files(history) == {"f": b"two"}
    put(hub, FORK, event(101, FORK, state_change=write("g", b"new")))
    put(hub, PROJECT, event(4, state_change=write("h", b"elsewhere")))
    assert files(hub.history(FORK)) == {"f": b"two", "g": b"new"}
    assert files(hub.history()) == {"f": b"three", "h": b"elsewhere"}
    assert files(hub.history(FORK), event(1).event_id) == {"f": b"one"}


def test_events_are_read_across_the_parting_both_ways(hub: Hub) -> None:
    fork(hub, FORK, event(2).event_id)
    put(hub, FORK, event(101, FORK), event(102, FORK))
    history = hub.history(FORK)
    expected = [event(number).event_id for number in (1, 2, 100, 101, 102)]
    assert ids(history) == expected
    assert ids(history, reverse=True) == expected[::-1]
    versions = [stored.version for stored in history.events()]
    assert versions == sorted(versions)
    assert [stored.version for stored in history.events_at(versions)] == versions
    for index, version in enumerate(versions):
        assert [stored.version for stored in history.events(after=version)] == versions[index + 1 :]
        assert [stored.version for stored in history.events(through=version)] == versions[: index + 1]
        assert history.version_of_event(expected[index]) == version
    assert history.version_of_event(event(3).event_id) is None
    assert not history.has(hub.history().head().version)


def test_a_fork_of_a_time_shares_what_had_occurred_by_then(hub: Hub) -> None:
    put(hub, PROJECT, event(4, occurred_us=BEGAN_US + SECOND_US, state_change=write("late", b"x")))
    put(hub, PROJECT, event(5, state_change=write("f", b"five")))
    at = utc(BEGAN_US + 2 * SECOND_US).isoformat()
    expected = files(hub.history(), at)
    assert expected == {"f": b"two", "late": b"x"}
    history = fork(hub, FORK, at)
    assert files(history) == expected
    assert ids(history) == [event(number).event_id for number in (1, 2, 4, 100)]
    assert history.commits("abc3") == {}
    assert list(history.commits("abc2")) == ["abc2"]
    assert not history.has_path("nowhere")
    assert history.has_path("late")


def test_a_fork_of_a_fork_goes_back_through_both(hub: Hub) -> None:
    fork(hub, FORK, event(2).event_id)
    put(hub, FORK, event(101, FORK, state_change=write("g", b"g1")))
    put(hub, FORK, event(102, FORK, state_change=write("g", b"g2")))
    history = fork(hub, FORK_OF_FORK, event(101).event_id, of=FORK, number=200)
    put(hub, FORK_OF_FORK, event(201, FORK_OF_FORK, state_change=write("i", b"i")))
    assert files(history) == {"f": b"two", "g": b"g1", "i": b"i"}
    assert [version.incarnation for version, _ in history.path_life("f", through=history.head().version)] == [1, 1]
    assert history.head().version.incarnation == 3
    # From before the first parting, too.
    again = fork(hub, ProjectName(PROJECT.tenant, "early"), event(1).event_id, of=FORK, number=300)
    assert files(again) == {"f": b"one"}


def test_decisions_checkpoints_and_paths_of_the_past_are_found(hub: Hub) -> None:
    decision = event(10, decision=AgentDecision(rationale="because"), session_id="s")
    put(hub, PROJECT, decision, event(11, checkpoint=Checkpoint(name="mark")))
    put(hub, PROJECT, event(12, checkpoint=Checkpoint(name="later")))
    history = fork(hub, FORK, event(11).event_id)
    head = history.head().version
    assert history.last_decision("ada", "s", before=head) == hub.history().version_of_event(decision.event_id)
    assert history.last_decision("ada", "other", before=head) is None
    assert history.named("mark") is not None
    assert history.named("later") is None
    assert [named.name for named in history.checkpoints()] == ["forked-from-shop", "mark"]


def test_only_a_first_event_makes_a_fork(hub: Hub) -> None:
    put(hub, FORK, event(50, FORK, state_change=write("own", b"x")))
    assert files(fork(hub, FORK, event(2).event_id)) == {"own": b"x"}


def test_a_fork_whose_past_is_not_there_says_so(hub: Hub) -> None:
    origin = Origin(project_id=PROJECT.project, through_event_id=event(77).event_id, chain=bytes(32), incarnation=2)
    put(hub, FORK, event(100, FORK, checkpoint=Checkpoint(name="x", origin=origin)))
    with pytest.raises(Exception, match="lacks event"):
        hub.history(FORK)


def test_forks_that_go_round_in_a_circle_are_refused(hub: Hub) -> None:
    names = [ProjectName(PROJECT.tenant, "ying"), ProjectName(PROJECT.tenant, "yang")]
    for number, name in enumerate(names):
        other = names[1 - number]
        origin = Origin(project_id=other.project, through_event_id=event(60).event_id, chain=bytes(32), incarnation=9)
        put(hub, name, event(60 + number, name, checkpoint=Checkpoint(name="x", origin=origin)))
    with pytest.raises(DamagedError, match="do not get older"):
        hub.history(names[0])


def test_a_project_moved_elsewhere_goes_on_behind_what_it_has(hub: Hub) -> None:
    before = hub.history().head().version
    assert hub.ledger.raise_incarnation(PROJECT) == 2
    put(hub, PROJECT, event(4, state_change=write("f", b"four")))
    history = hub.history()
    after = history.head().version
    assert (before.incarnation, after.incarnation) == (1, 2)
    assert after > Version(1, b"\xff" * 12)
    assert ids(history) == [event(number).event_id for number in (1, 2, 3, 4)]
    assert files(history) == {"f": b"four"}
    assert files(history, str(before)) == {"f": b"three"}


def test_a_fork_can_be_moved_and_forked_again(hub: Hub) -> None:
    fork(hub, FORK, event(3).event_id)
    assert hub.ledger.raise_incarnation(FORK) == 3
    put(hub, FORK, event(101, FORK, state_change=write("f", b"moved")))
    history = hub.history(FORK)
    assert opening(history, resolve(history, "now")).origin.incarnation == 4
    assert files(history) == {"f": b"moved"}
    assert files(history, event(1).event_id) == {"f": b"one"}


def test_known_at_bounds_what_is_shared(hub: Hub) -> None:
    history = hub.history()
    moment = replace(resolve(history, "now"), known_at_us=BEGAN_US + 2 * SECOND_US)
    assert isinstance(moment, Moment)
    first = event(100, FORK, checkpoint=opening(history, moment))
    put(hub, FORK, first)
    assert occurred_us(first) > BEGAN_US
    assert files(hub.history(FORK)) == {"f": b"two"}
