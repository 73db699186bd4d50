"""Two agents change one file from the same base: merged where they do not meet, decided by policy where they do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nervous_system.contract import Operation, StateChange
from nervous_system.ledger.transaction import Engine
from nervous_system.textdiff import unified_diff
from replay.contents import Contents
from replay.keeping import Keeper
from replay.merging import Policy, tree_at
from replay.moments import resolve
from replay.state import ConflictError
from tests.contract.hub import Hub, opened_hub
from tests.samples import PROJECT, delete, event, patch, write

BASE = b"one\ntwo\nthree\nfour\nfive\n"
TOP = BASE.replace(b"one", b"ONE")
BOTTOM = BASE.replace(b"five", b"FIVE")
OTHER_TOP = BASE.replace(b"one", b"uno")


@pytest.fixture
def hub(engine: Engine, address: str) -> Iterator[Hub]:
    with opened_hub(engine, address) as opened:
        opened.put(event(1, state_change=write("f", BASE)))
        yield opened


def diffed(before: bytes, after: bytes) -> StateChange:
    return patch("f", before, after, unified_diff(before, after) or "")


def standing(hub: Hub, policy: Policy = Policy.FAIL, at: str = "now") -> bytes | None:
    """What the file holds; None where there is none."""
    history = hub.history()
    contents = Contents(history)
    entry = tree_at(history, resolve(history, at), contents, policy).get("f")
    return None if entry is None else contents(entry.content_hash)


def test_changes_apart_are_merged_and_work_goes_on_from_either_side(hub: Hub) -> None:
    hub.put(event(2, state_change=diffed(BASE, TOP)), event(3, state_change=diffed(BASE, BOTTOM)))
    assert standing(hub) == b"ONE\ntwo\nthree\nfour\nFIVE\n"
    # The second agent, still offline, goes on from its own content.
    hub.put(event(4, state_change=diffed(BOTTOM, BOTTOM + b"six\n")))
    assert standing(hub) == b"ONE\ntwo\nthree\nfour\nFIVE\nsix\n"
    assert standing(hub, at=event(2).event_id) == TOP


def test_the_same_change_twice_is_one(hub: Hub) -> None:
    hub.put(event(2, state_change=diffed(BASE, TOP)), event(3, state_change=diffed(BASE, TOP)))
    assert standing(hub) == TOP


def test_changes_that_meet_are_for_a_policy_to_decide(hub: Hub) -> None:
    hub.put(event(2, state_change=diffed(BASE, TOP)), event(3, state_change=diffed(BASE, OTHER_TOP)))
    with pytest.raises(ConflictError, match="--on-conflict"):
        standing(hub)
    assert standing(hub, at=f"before:{event(3).event_id}") == TOP
    assert standing(hub, Policy.OURS) == TOP
    assert standing(hub, Policy.THEIRS) == OTHER_TOP
    assert standing(hub, Policy.MARK) == b"<<<<<<< ours\nONE\n=======\nuno\n>>>>>>> theirs\n" + BASE[4:]


@pytest.mark.parametrize("deleted_first", [True, False])
def test_of_a_change_and_a_deletion_neither_is_guessed(hub: Hub, deleted_first: bool) -> None:
    changes = [event(2, state_change=delete("f", BASE)), event(3, state_change=diffed(BASE, TOP))]
    hub.put(*(changes if deleted_first else reversed(changes)))
    with pytest.raises(ConflictError):
        standing(hub)
    first, second = (None, TOP) if deleted_first else (TOP, None)
    assert standing(hub, Policy.OURS) == first
    assert standing(hub, Policy.THEIRS) == second
    assert standing(hub, Policy.MARK) == TOP


def test_bytes_are_never_merged(hub: Hub) -> None:
    hub.put(event(2, state_change=write("f", b"\0one", BASE)), event(3, state_change=write("f", b"\0two", BASE)))
    for policy in (Policy.FAIL, Policy.MARK):
        with pytest.raises(ConflictError):
            standing(hub, policy)
    assert standing(hub, Policy.THEIRS) == b"\0two"


def test_work_goes_on_from_a_merge_under_an_earlier_name(hub: Hub) -> None:
    hub.put(event(2, state_change=diffed(BASE, TOP)), event(3, state_change=diffed(BASE, BOTTOM)))
    merged = b"ONE\ntwo\nthree\nfour\nFIVE\n"
    longer, other = merged + b"six\n", merged.replace(b"three", b"THREE")
    moved = patch("a", merged, longer, unified_diff(merged, longer) or "")
    moved.renamed_from, moved.operation = "f", Operation.OPERATION_RENAME
    hub.put(event(4, state_change=moved))
    # And there two changes meet, so that the content is asked for while the paths are gone through by name.
    hub.put(event(5, state_change=patch("a", longer, longer + b"7\n", unified_diff(longer, longer + b"7\n") or "")))
    first = other + b"six\n"
    hub.put(event(6, state_change=patch("a", longer, first, unified_diff(longer, first) or "")))
    history = hub.history()
    for _ in range(2):
        contents = Contents(history)
        tree = tree_at(history, resolve(history, "now"), contents)
        assert contents(tree["a"].content_hash) == other + b"six\n7\n"
        Keeper(history, hub.ledger.snapshots(PROJECT), least_events=1).advance()
