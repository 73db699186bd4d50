"""Waiting: it doubles, it is spread, and it has a limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nervous_system.retries import Backoff

waits = st.floats(0.001, 100)


@given(waits, waits, st.integers(1, 10_000), st.floats(0, 1))
def test_a_wait_lies_between_half_and_all_of_its_step(
    first_s: float, longest_s: float, failures: int, spread: float
) -> None:
    backoff = Backoff(first_s, longest_s)
    step_s = min(first_s * 2.0 ** min(failures - 1, 40), longest_s)
    assert step_s / 2 <= backoff.wait_s(failures, spread) <= step_s
    assert backoff.wait_s(failures, 0) == step_s / 2
    assert backoff.wait_s(failures, 1) == step_s


def test_the_standing_waits() -> None:
    assert [Backoff().wait_s(failures, 1) for failures in (1, 2, 3, 8, 9, 10**9)] == [0.1, 0.2, 0.4, 12.8, 15.0, 15.0]
