"""What a diff says of lines: applied to a list, it gives the lines of the content after."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.textdiff import split_lines, unified_diff
from replay.patches import PatchError, replaced_lines

texts = st.lists(st.sampled_from(["a", "b", "c", "-", "+", "\\", " ", "@@ -1 +1 @@"]), max_size=12).flatmap(
    lambda lines: st.sampled_from(["", "x"]).map(lambda last: "".join(f"{line}\n" for line in lines) + last)
)


@given(before=texts, after=texts)
def test_replacing_the_named_lines_gives_the_content_after(before: str, after: str) -> None:
    diff = unified_diff(before.encode(), after.encode())
    assert diff is not None
    old, new = split_lines(before), split_lines(after)
    built, position = [], 0
    for replacement in replaced_lines(diff):
        assert replacement.lines == new[replacement.new]
        built += old[position : replacement.old.start] + replacement.lines
        position = replacement.old.stop
    assert built + old[position:] == new


def test_a_side_without_lines_names_the_line_before_it() -> None:
    assert list(replaced_lines("@@ -2,0 +3 @@\n+x\n@@ -5 +5,0 @@\n-y\n")) == [
        (slice(2, 2), slice(2, 3), ["x\n"]),
        (slice(4, 5), slice(5, 5), []),
    ]


def test_what_is_no_patch_is_refused() -> None:
    with pytest.raises(PatchError):
        list(replaced_lines("hello\n"))
