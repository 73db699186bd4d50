"""What stands in two texts: the same lines in the same order, as many as can be, and changes as late as can be."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay import alignment
from replay.alignment import aligned

texts = st.lists(st.sampled_from("abcd"), max_size=14)


def longest_common(before: Sequence[str], after: Sequence[str]) -> int:
    """How many lines two texts have in common, by the textbook's table."""
    row = [0] * (len(after) + 1)
    for line in before:
        last = row
        row = [0]
        for index, other in enumerate(after):
            row.append(last[index] + 1 if line == other else max(last[index + 1], row[index]))
    return row[-1]


@pytest.mark.parametrize("limit_lines", [1_000, 0])
@given(before=texts, after=texts)
def test_pairs_are_alike_and_in_order(limit_lines: int, before: list[str], after: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(alignment, "DIFFERENCE_LIMIT_LINES", limit_lines)
        pairs = aligned(before, after)
    assert all(before[old] == after[new] for old, new in pairs)
    for side in (0, 1):
        numbers = [pair[side] for pair in pairs]
        assert numbers == sorted(set(numbers))


@given(before=texts, after=texts)
def test_no_more_could_be_kept(before: list[str], after: list[str]) -> None:
    assert len(aligned(before, after)) == longest_common(before, after)


@pytest.mark.parametrize(
    ("before", "after", "kept_after"),
    [
        ("a}", "a}a}", [0, 1]),
        ("f}g}", "f}x}g}", [0, 1, 4, 5]),
        ("aab", "ab", [0, 1]),
        ("", "x", []),
        ("x", "", []),
    ],
)
def test_a_change_stands_as_late_as_it_can(before: str, after: str, kept_after: list[int]) -> None:
    assert [new for _, new in aligned(before, after)] == kept_after
