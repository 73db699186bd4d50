"""Finding what is at fault by halves: all of it, nothing else, in few steps."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from ingestors.clickhouse import culprits
from nervous_system.columns import Located, located
from tests.samples import event, message

ROWS = [(row, b"") for row in located([message(1, [event(number) for number in range(40)])])]


@given(st.integers(0, 40), st.sets(st.integers(0, 39)))
def test_each_row_at_fault_is_found_alone(count: int, bad: set[int]) -> None:
    steps = 0

    def fault(framed: Sequence[tuple[Located, bytes]]) -> str:
        nonlocal steps
        steps += 1
        found = [landed.index for (_, landed), _ in framed if landed.index in bad]
        return ", ".join(map(str, found))

    present = sorted(index for index in bad if index < count)
    found = [(landed.index, text) for (_, landed), text in culprits(ROWS[:count], fault)]
    assert found == [(index, str(index)) for index in present]
    # Each halving asks twice, and there are six of them above any of 40 rows.
    assert steps <= 1 + 12 * len(present)
