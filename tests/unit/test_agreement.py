"""Comparing a store with the archive: repetitions are understood, and whatever else differs is found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestors import agreement
from ingestors.agreement import Archived, Difference, Digest, Held, Side, difference, digested, hash_of, partition_of
from nervous_system.ledger.cold import Position
from nervous_system.projects import ProjectName
from nervous_system.streams import StreamIdentity

PROJECT = ProjectName("acme", "shop")
STREAM = StreamIdentity("SWARM", 1)
# An event by its id and its bytes: the same id comes again, now and then with other bytes.
Event = tuple[int, int]
logs = st.lists(st.tuples(st.integers(0, 12), st.sampled_from([0, 0, 0, 1])), max_size=30)


def archived(log: Sequence[Event]) -> list[Archived]:
    return [
        Archived("acme", f"id{number}", digest((number, variant)), Position(STREAM, 0, sequence, 0))
        for sequence, (number, variant) in enumerate(log, start=1)
    ]


def digest(event: Event) -> bytes:
    return hashlib.sha256(repr(event).encode()).digest()


def taken(log: Sequence[Event]) -> list[tuple[int, Event]]:
    """What a store takes: of each id the first, with its place in the log."""
    first: dict[int, tuple[int, Event]] = {}
    for sequence, event in enumerate(log, start=1):
        first.setdefault(event[0], (sequence, event))
    return list(first.values())


def compare(
    log: Sequence[Event], held: Sequence[tuple[int, Event]], landed: int = 10**6, covers: int = 10**6
) -> Difference | None:
    rows = [
        Held(digest(event), order, lambda event=event: f"id{event[0]}", lambda order=order: f"place {order}", sequence)  # type: ignore[misc]
        for order, (sequence, event) in enumerate(held)
    ]
    by_id = {row.event_id(): row for row in reversed(rows)}
    side = Side(
        "ledger",
        rows,
        lambda ids: {name: by_id[name] for name in ids if name in by_id},
        lambda row: row.position.sequence <= landed,
        lambda row: row.recorded_us <= covers,
    )
    return difference(PROJECT, archived(log), side)


@pytest.fixture(autouse=True, scope="module", params=[2, agreement.LOOKED_UP])
def looked_up(request: pytest.FixtureRequest) -> Iterator[None]:
    """How many events are asked for at once makes no difference."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agreement, "LOOKED_UP", request.param)
        yield


@given(logs)
def test_a_store_that_took_each_id_once_agrees(log: list[Event]) -> None:
    assert compare(log, taken(log)) is None


@given(logs, st.integers(0, 30))
def test_what_has_not_landed_yet_is_no_difference(log: list[Event], landed: int) -> None:
    assert compare(log, [each for each in taken(log) if each[0] <= landed], landed) is None


@given(logs, st.integers(0, 30))
def test_what_is_not_archived_yet_is_no_difference(log: list[Event], covers: int) -> None:
    assert compare(log[:covers], taken(log), covers=covers) is None


@given(logs.filter(lambda log: len(taken(log)) > 1), st.data())
def test_whatever_else_differs_is_found(log: list[Event], data: st.DataObject) -> None:
    good = taken(log)
    place = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.integers(0, len(good) - 1).filter(lambda number: number != place))
    changed = (good[place][0], (good[place][1][0], 7))
    swapped = list(good)
    swapped[place], swapped[other] = swapped[other], swapped[place]
    added = (good[place][0], (99, 0))
    for held in (
        [*good[:place], changed, *good[place + 1 :]],
        [*good[:place], *good[place + 1 :]],
        swapped,
        [*good[:place], added, *good[place:]],
    ):
        found = compare(log, held)
        assert found is not None
        assert found.project == "acme/shop"


@given(logs.filter(bool))
def test_what_is_there_twice_is_found(log: list[Event]) -> None:
    once = list(dict.fromkeys(log))
    assert compare(once, [*taken(once), taken(once)[0]]) is not None


@given(logs)
def test_a_digest_does_not_depend_on_the_order_and_adds_up(log: list[Event]) -> None:
    rows = archived(log)
    whole, first, second = Digest(), Digest(), Digest()
    assert list(digested(rows, whole, hash_of)) == rows
    for row in reversed(rows):
        (first if row.position.sequence % 2 else second).add(hash_of(row))
    assert first + second == whole


def test_partitions_are_those_that_nats_gives() -> None:
    # Taken from a server.
    known = {"acme/shop": 3, "zenith/site": 2, "a/b": 2, "Chaos/red-1": 0}
    assert {name: partition_of(ProjectName.parse(name), 4) for name in known} == known
