"""Taking back what changed names: files that were renamed, by the same agent or by others, and names in use again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nervous_system.ledger.transaction import Engine
from replay.undoing.selection import ByAgent, ByEvent
from tests.contract.hub import opened_hub
from tests.contract.swarm import BASE, Swarm, lines


@pytest.fixture
def swarm(engine: Engine, address: str) -> Iterator[Swarm]:
    with opened_hub(engine, address) as hub:
        yield Swarm(hub)


def test_a_rename_goes_back_and_takes_what_others_wrote_along(swarm: Swarm) -> None:
    swarm.write("ada", "a", BASE)
    swarm.rename("bob", "a", "b", BASE, lines(one="ONE"))
    swarm.write("ada", "b", lines(one="ONE", seven="SEVEN"), lines(one="ONE"))
    plan, decision = swarm.undo(ByAgent("bob"))
    assert [(each.kind, each.resource, each.renamed_from) for each in plan.changes] == [("renamed", "a", "b")]
    assert swarm.files() == {"a": lines(seven="SEVEN")}
    swarm.undo(ByEvent(decision))
    assert swarm.files() == {"b": lines(one="ONE", seven="SEVEN")}
    assert swarm.is_sound()


def test_lines_are_taken_back_wherever_others_moved_the_file(swarm: Swarm) -> None:
    swarm.write("ada", "a", BASE)
    swarm.write("bob", "a", lines(one="ONE"), BASE)
    swarm.rename("ada", "a", "b", lines(one="ONE"))
    swarm.write("ada", "a", b"another file\n")
    swarm.undo(ByAgent("bob"))
    assert swarm.files() == {"a": b"another file\n", "b": BASE}


def test_edits_before_and_after_a_rename_go_with_it(swarm: Swarm) -> None:
    swarm.write("ada", "a", BASE)
    swarm.write("bob", "a", lines(one="ONE"), BASE)
    swarm.rename("bob", "a", "b", lines(one="ONE"))
    swarm.write("bob", "b", lines(one="one!", four="FOUR"), lines(one="ONE"))
    swarm.write("ada", "b", lines(one="one!", four="FOUR", seven="SEVEN"), lines(one="one!", four="FOUR"))
    swarm.undo(ByAgent("bob"))
    assert swarm.files() == {"a": lines(seven="SEVEN")}


def test_a_rename_over_another_file_brings_both_back(swarm: Swarm) -> None:
    swarm.write("ada", "a", BASE)
    swarm.write("ada", "b", b"b\n")
    swarm.rename("bob", "a", "b", BASE)
    swarm.undo(ByAgent("bob"))
    assert swarm.files() == {"a": BASE, "b": b"b\n"}


def test_names_that_were_swapped_are_swapped_back(swarm: Swarm) -> None:
    swarm.write("ada", "a", b"a\n")
    swarm.write("ada", "b", b"b\n")
    swarm.rename("bob", "a", "c", b"a\n")
    swarm.rename("bob", "b", "a", b"b\n")
    swarm.rename("bob", "c", "b", b"a\n")
    assert swarm.files() == {"a": b"b\n", "b": b"a\n"}
    _, decision = swarm.undo(ByAgent("bob"))
    assert swarm.files() == {"a": b"a\n", "b": b"b\n"}
    swarm.undo(ByEvent(decision))
    assert swarm.files() == {"a": b"b\n", "b": b"a\n"}
    assert swarm.is_sound()


def test_a_rename_stays_where_the_old_name_or_the_new_one_is_in_use(swarm: Swarm) -> None:
    swarm.write("ada", "a", BASE)
    swarm.write("ada", "c", BASE)
    swarm.rename("bob", "a", "b", BASE)
    swarm.rename("bob", "c", "d", BASE)
    swarm.write("ada", "a", b"again\n")
    swarm.rename("ada", "d", "e", BASE)
    plan = swarm.plan(ByAgent("bob"))
    assert plan.changes == ()
    assert [conflict.resource for conflict in plan.conflicts] == ["a", "e"]


@pytest.mark.parametrize("since_then", ["a/x", "A", "a"])
def test_what_has_no_room_any_more_stays_away(swarm: Swarm, since_then: str) -> None:
    swarm.write("ada", "a", BASE)
    swarm.delete("bob", "a", BASE)
    swarm.write("ada", since_then, b"x\n")
    plan = swarm.plan(ByAgent("bob"))
    assert plan.changes == ()
    assert [conflict.resource for conflict in plan.conflicts] == ["a"]


def test_what_stays_for_want_of_room_takes_room_itself(swarm: Swarm) -> None:
    swarm.write("ada", "x", b"x\n")
    swarm.write("ada", "y", b"y\n")
    swarm.rename("bob", "x", "z", b"x\n")
    swarm.rename("bob", "y", "x", b"y\n")
    swarm.write("ada", "Y", b"in y's way\n")
    plan = swarm.plan(ByAgent("bob"))
    assert plan.changes == ()
    assert sorted(conflict.resource for conflict in plan.conflicts) == ["x", "y"]
