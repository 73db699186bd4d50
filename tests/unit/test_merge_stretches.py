"""Where a merge's lines come from: put together from the sides as it is said, they are the merged content."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nervous_system.textdiff import split_lines
from replay.merge import Side, merge, stretches

texts = st.lists(st.sampled_from("abcde"), max_size=8).flatmap(
    lambda lines: st.sampled_from(["", "x"]).map(lambda last: "".join(f"{line}\n" for line in lines) + last)
)
MARKERS = {"<<<<<<< ours\n", "=======\n", ">>>>>>> theirs\n"}


@given(base=texts, ours=texts, theirs=texts)
def test_the_stretches_make_the_merged_content(base: str, ours: str, theirs: str) -> None:
    merged = merge(base.encode(), ours.encode(), theirs.encode())
    parts = stretches(base.encode(), ours.encode(), theirs.encode())
    assert merged is not None
    assert parts is not None
    sides = {Side.OURS: split_lines(ours), Side.THEIRS: split_lines(theirs)}
    expected = [line for side, lines in parts for line in (sides[side][lines] if side in sides else ["marker"])]
    found = ["marker" if line in MARKERS else line for line in split_lines(merged.content.decode())]
    # A line that has no line feed gets one where a marker follows it.
    assert [line.rstrip("\n") for line in found] == [line.rstrip("\n") for line in expected]
    assert expected.count("marker") == 3 * merged.conflicts


def test_bytes_have_no_lines() -> None:
    assert stretches(b"\0", b"a", b"b") is None
