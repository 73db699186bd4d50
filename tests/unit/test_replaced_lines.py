"""What a diff says of lines: applied to a list, it gives the lines of the content after."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.textdiff import split_lines, unified_diff
from replay.patches import PatchError, replaced_lines

texts = st.lists(st.sampled_from("abcd"), max_size=12).flatmap(
    lambda lines: st.sampled_from(["", "x"]).map(lambda last: "".join(f"{line}\n" for line in lines) + last)
)


@given(before=texts, after=texts)
def test_replacing_the_named_lines_gives_the_content_after(before: str, after: str) -> None:
    diff = unified_diff(before.encode(), after.encode())
    assert diff is not None
    old, new = split_lines(before), split_lines(after)
    built, position = [], 0
    for taken, given_back in replaced_lines(diff):
        built += old[position : taken.start] + new[given_back]
        position = taken.stop
    assert built + old[position:] == new


def test_what_is_no_patch_is_refused() -> None:
    with pytest.raises(PatchError):
        list(replaced_lines("hello\n"))
