"""One agent's or one event's changes are taken back, and everyone else's stay: planned, told as events, and landed."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator

import pytest

from nervous_system.contract import AgentDecision, AgentRole, StateChange, SwarmEvent
from nervous_system.errors import NotFoundError
from nervous_system.events import INLINE_LIMIT_BYTES, PART_LIMIT_BYTES, utc
from nervous_system.ledger.transaction import Engine
from nervous_system.projects import ProjectName
from replay.forking import opening
from replay.moments import resolve
from replay.state import ConflictError
from replay.tree import EXECUTABLE, FILE, SYMLINK
from replay.undoing.selection import ByAgent, ByEvent, UndoError, since
from tests.contract.hub import opened_hub
from tests.contract.swarm import BASE, WORDS, Swarm, lines
from tests.samples import BEGAN_US, PROJECT

FORK = ProjectName(PROJECT.tenant, "fork")
SECOND_US = 1_000_000


@pytest.fixture
def swarm(engine: Engine, address: str) -> Iterator[Swarm]:
    with opened_hub(engine, address) as hub:
        yield Swarm(hub)


def test_one_agents_lines_go_and_the_others_stay(swarm: Swarm) -> None:
    swarm.write("ada", "f", BASE)
    swarm.write("bob", "f", lines(one="ONE"), BASE)
    swarm.write("ada", "f", lines(one="ONE", four="FOUR"), lines(one="ONE"))
    swarm.write("bob", "f", lines(one="ONE", four="FOUR", seven="SEVEN"), lines(one="ONE", four="FOUR"))
    swarm.write("bob", "only bob's", b"new\n")
    plan, decision = swarm.undo(ByAgent("bob"))
    assert swarm.files() == {"f": lines(four="FOUR")}
    assert len(plan.taken) == 3
    assert [(change.kind, change.resource) for change in plan.changes] == [("deleted", "only bob's"), ("modified", "f")]
    assert (plan.conflicts, plan.left) == ((), ())
    swarm.undo(ByEvent(decision))
    assert swarm.files() == {"f": lines(one="ONE", four="FOUR", seven="SEVEN"), "only bob's": b"new\n"}
    # And again, though the undo of the undo stands between.
    swarm.undo(ByAgent("bob"))
    assert swarm.files() == {"f": lines(four="FOUR")}
    assert swarm.plan(ByAgent("bob")).left == ("f", "only bob's")
    assert swarm.is_sound()


def test_what_has_been_changed_since_is_a_conflict_with_both_sides(swarm: Swarm) -> None:
    swarm.write("ada", "f", BASE)
    swarm.write("bob", "f", lines(one="ONE", seven="SEVEN"), BASE)
    swarm.write("ada", "f", lines(one="Uno", seven="SEVEN"), lines(one="ONE", seven="SEVEN"))
    before = swarm.tree()
    plan = swarm.plan(ByAgent("bob"))
    (conflict,) = plan.conflicts
    assert (conflict.resource, conflict.reason) == ("f", "the same lines have been changed since")
    marked = b"<<<<<<< now\nUno\n=======\none\n>>>>>>> without bob\n" + BASE.partition(b"\n")[2]
    assert conflict.marked == marked
    hashes = [hashlib.sha256(lines(**each)).hexdigest() for each in ({"one": "Uno", "seven": "SEVEN"}, {})]
    assert [held.entry.content_hash for held in (conflict.ours, conflict.theirs) if held] == hashes
    assert swarm.tree() == before
    swarm.undo(ByAgent("bob"))
    assert swarm.files() == {"f": marked}


def test_a_file_made_goes_unless_somebody_has_changed_it(swarm: Swarm) -> None:
    for path in ("kept", "gone"):
        swarm.write("bob", path, BASE)
    swarm.write("ada", "kept", lines(two="TWO"), BASE)
    plan, _ = swarm.undo(ByAgent("bob"))
    assert swarm.files() == {"kept": lines(two="TWO")}
    (conflict,) = plan.conflicts
    assert conflict.resource == "kept"
    assert conflict.theirs is None
    assert conflict.marked is None


def test_a_file_deleted_comes_back_unless_something_stands_there(swarm: Swarm) -> None:
    for path in ("back", "taken"):
        swarm.write("ada", path, BASE)
        swarm.delete("bob", path, BASE)
    swarm.write("ada", "taken", b"mine\n")
    plan, _ = swarm.undo(ByAgent("bob"))
    assert swarm.files() == {"back": BASE, "taken": b"mine\n"}
    assert [(conflict.resource, conflict.base) for conflict in plan.conflicts] == [("taken", None)]


def test_what_others_took_away_already_is_left(swarm: Swarm) -> None:
    swarm.write("ada", "f", BASE)
    swarm.write("bob", "f", lines(one="ONE"), BASE)
    swarm.write("ada", "f", BASE, lines(one="ONE"))
    swarm.write("bob", "g", b"g\n")
    swarm.delete("ada", "g", b"g\n")
    swarm.write("ada", "g", b"another\n")
    plan = swarm.plan(ByAgent("bob"))
    assert (plan.changes, plan.conflicts, plan.left, plan.taken) == ((), (), ("f", "g"), ())


def test_modes_are_merged_beside_contents(swarm: Swarm) -> None:
    swarm.write("ada", "f", BASE)
    swarm.write("bob", "f", BASE, BASE, mode=EXECUTABLE)
    swarm.write("ada", "f", lines(one="ONE"), BASE, mode=EXECUTABLE)
    swarm.write("ada", "g", BASE)
    swarm.write("bob", "g", lines(one="ONE"), BASE)
    swarm.write("ada", "g", lines(one="ONE"), lines(one="ONE"), mode=EXECUTABLE)
    swarm.undo(ByAgent("bob"))
    assert {path: entry.mode for path, entry in swarm.tree().items()} == {"f": FILE, "g": EXECUTABLE}
    assert swarm.files() == {"f": lines(one="ONE"), "g": BASE}


def test_bytes_and_links_are_put_back_but_never_merged(swarm: Swarm) -> None:
    for path, mode in (("binary", FILE), ("link", SYMLINK), ("binary2", FILE), ("link2", SYMLINK)):
        zero = b"" if mode == SYMLINK else b"\0"
        swarm.write("ada", path, zero + b"one", mode=mode)
        swarm.write("bob", path, zero + b"two", zero + b"one", mode=mode)
        if path.endswith("2"):
            swarm.write("ada", path, zero + b"three", zero + b"two", mode=mode)
    plan, _ = swarm.undo(ByAgent("bob"))
    assert swarm.files() == {"binary": b"\0one", "link": b"one", "binary2": b"\0three", "link2": b"three"}
    assert [(conflict.resource, conflict.marked) for conflict in plan.conflicts] == [("binary2", None), ("link2", None)]


def test_large_contents_travel_in_parts(swarm: Swarm) -> None:
    large = bytes(range(256)) * (PART_LIMIT_BYTES // 200)
    parts = [large[start : start + PART_LIMIT_BYTES] for start in range(0, len(large), PART_LIMIT_BYTES)]
    assert len(large) > INLINE_LIMIT_BYTES
    for part in parts:
        swarm.hub.land(swarm.hub.part(part))
    digest = hashlib.sha256(large).hexdigest()
    change = StateChange(target_resource="large", mode=FILE, new_state_hash=digest, blob_hash=digest)
    change.blob_parts.extend(hashlib.sha256(part).digest() for part in parts)
    swarm.tell("ada", SwarmEvent(state_change=change))
    swarm.delete("bob", "large", large)
    swarm.undo(ByAgent("bob"))
    assert swarm.files() == {"large": large}
    assert swarm.is_sound()


def test_a_decision_stands_for_the_changes_that_it_led_to(swarm: Swarm) -> None:
    decision = swarm.tell("bob", SwarmEvent(decision=AgentDecision(rationale="because")))
    swarm.write("ada", "f", BASE)
    swarm.write("bob", "f", lines(one="ONE"), BASE, cause=decision)
    other = swarm.write("bob", "f", lines(one="ONE", seven="SEVEN"), lines(one="ONE"))
    swarm.write("carl", "g", b"g\n", cause=decision)
    plan, told = swarm.undo(ByEvent(decision), "It was wrong.")
    assert swarm.files() == {"f": lines(seven="SEVEN")}
    assert len(plan.taken) == 2
    history = swarm.hub.history()
    stored = [SwarmEvent.FromString(data) for data in swarm.hub.data()][-3:]
    assert stored[0].event_id == told
    assert stored[0].decision.rationale == "It was wrong."
    assert dict(stored[0].decision.attributes) == {
        "undone_event": decision,
        "undone_changes": "2",
        "undone_files": "2",
    }
    assert [each.causation_id for each in stored] == ["", told, told]
    assert len({each.correlation_id for each in stored}) == 1
    assert {each.agent_role for each in stored} == {AgentRole.ROLE_OPERATOR}
    swarm.undo(ByEvent(str(history.version_of_event(other))))
    assert swarm.files() == {"f": BASE}
    with pytest.raises(UndoError, match="changed nothing"):
        swarm.plan(ByEvent(swarm.tell("bob", SwarmEvent(decision=AgentDecision(rationale="idle")))))


def test_a_beginning_is_left_out_and_an_end_taken_in(swarm: Swarm) -> None:
    contents = [lines(**{word: word.upper() for word in WORDS[:count]}) for count in range(8)]
    ids = [swarm.write("ada", "f", contents[0])]
    ids += [swarm.write("bob", "f", after, before) for before, after in itertools.pairwise(contents)]
    history = swarm.hub.history()

    def remaining(begin: str | None, end: str | None) -> list[str]:
        until = None if end is None else resolve(history, end)
        plan = swarm.plan(ByAgent("bob", None if begin is None else since(history, begin), until))
        return [event_id for event_id in ids if event_id not in plan.taken]

    def at(number: int) -> str:
        return utc(BEGAN_US + number * SECOND_US).isoformat()

    assert remaining(None, None) == ids[:1]
    assert remaining(ids[3], None) == ids[:4]
    assert remaining(at(4), None) == ids[:4]
    assert remaining("2001-01-01T00:00Z", None) == ids[:1]
    assert remaining(ids[5], ids[6]) == [*ids[:6], ids[7]]
    assert remaining(None, at(5)) == [ids[0], *ids[5:]]
    with pytest.raises(UndoError, match=r"'bob' has changed nothing in .* since "):
        remaining(ids[7], None)


def test_an_unknown_agent_is_told_who_there_is(swarm: Swarm) -> None:
    for number in range(12):
        swarm.write(f"agent-{number}", f"f{number}", BASE)
    with pytest.raises(NotFoundError, match=r"no agent 'ada': there are 'agent-0', .*'agent-9' and 2 more\."):
        swarm.plan(ByAgent("ada"))
    with pytest.raises(NotFoundError):
        swarm.plan(ByEvent("00000000-0000-7000-8000-000000000000"))


def test_what_was_merged_from_two_sides_is_taken_apart_again(swarm: Swarm) -> None:
    swarm.write("ada", "f", BASE)
    swarm.write("ada", "f", lines(one="ONE"), BASE)
    # Offline, from the same content.
    swarm.write("bob", "f", lines(seven="SEVEN"), BASE)
    assert swarm.files() == {"f": lines(one="ONE", seven="SEVEN")}
    _, decision = swarm.undo(ByAgent("bob"))
    assert swarm.files() == {"f": lines(one="ONE")}
    swarm.undo(ByEvent(decision))
    assert swarm.files() == {"f": lines(one="ONE", seven="SEVEN")}
    swarm.undo(ByAgent("ada"))
    assert swarm.is_sound()


def test_a_change_that_never_fitted_is_taken_back_and_with_it_the_dispute(swarm: Swarm) -> None:
    swarm.write("ada", "f", BASE)
    swarm.write("carl", "f", lines(seven="SEVEN"), BASE)
    swarm.write("ada", "f", lines(one="ONE", seven="SEVEN"), lines(seven="SEVEN"))
    swarm.write("bob", "f", lines(one="Uno", seven="SEVEN"), lines(seven="SEVEN"))
    with pytest.raises(ConflictError):
        swarm.tree()
    plan = swarm.plan(ByAgent("carl"))
    assert plan.changes == ()
    (conflict,) = plan.conflicts
    assert "must be decided first" in conflict.reason
    swarm.undo(ByAgent("bob"))
    assert swarm.files() == {"f": lines(one="ONE", seven="SEVEN")}


def test_a_fork_takes_back_what_it_shares_and_its_origin_keeps_it(swarm: Swarm) -> None:
    swarm.write("ada", "f", BASE)
    swarm.write("bob", "f", lines(one="ONE"), BASE)
    swarm.write("ada", "f", lines(one="ONE", seven="SEVEN"), lines(one="ONE"))
    history = swarm.hub.history()
    fork = Swarm(swarm.hub, FORK, itertools.count(100))
    fork.tell("ada", SwarmEvent(checkpoint=opening(history, resolve(history, "now"))))
    fork.write("bob", "g", b"g\n")
    _, decision = fork.undo(ByAgent("bob"))
    assert fork.files() == {"f": lines(seven="SEVEN")}
    fork.undo(ByEvent(decision))
    assert fork.files() == {"f": lines(one="ONE", seven="SEVEN"), "g": b"g\n"}
    # Back to contents that the origin has as diffs from one another.
    fork.undo(ByAgent("ada"))
    fork.undo(ByAgent("bob"))
    assert fork.is_sound()
    assert swarm.files() == {"f": lines(one="ONE", seven="SEVEN")}
