"""Three-way merge: laws that any merge must keep, and git's own answer beside it."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from replay.merge import Merged, merge

texts = st.lists(st.sampled_from("abcde"), max_size=8).flatmap(
    lambda lines: st.sampled_from([b"", b"x"]).map(lambda last: "".join(f"{line}\n" for line in lines).encode() + last)
)


@given(base=texts, side=texts)
def test_one_side_alone_is_taken(base: bytes, side: bytes) -> None:
    assert merge(base, side, base) == Merged(side, 0)
    assert merge(base, base, side) == Merged(side, 0)
    assert merge(base, side, side) == Merged(side, 0)


@given(base=texts, ours=texts, theirs=texts)
def test_a_clean_merge_does_not_depend_on_whose_side_is_whose(base: bytes, ours: bytes, theirs: bytes) -> None:
    one, other = merge(base, ours, theirs), merge(base, theirs, ours)
    assert one is not None
    assert other is not None
    assert one.conflicts == other.conflicts
    if not one.conflicts:
        assert one == other


@given(base=texts, ours=texts, theirs=texts)
def test_nothing_that_a_side_wrote_is_lost(base: bytes, ours: bytes, theirs: bytes) -> None:
    merged = merge(base, ours, theirs)
    assert merged is not None
    if merged.conflicts:
        written = set(ours.splitlines()) | set(theirs.splitlines())
        written -= set(base.splitlines())
        assert written <= set(merged.content.splitlines())


@settings(max_examples=60, deadline=None)
@given(base=texts, ours=texts, theirs=texts)
def test_what_git_merges_cleanly_is_merged_alike_or_left_to_a_person(base: bytes, ours: bytes, theirs: bytes) -> None:
    merged = merge(base, ours, theirs)
    assert merged is not None
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("ours", "base", "theirs")]
        for path, content in zip(paths, (ours, base, theirs), strict=True):
            path.write_bytes(content)
        done = subprocess.run(["git", "merge-file", "-p", *map(str, paths)], capture_output=True, check=False)
    # Two aligners may see the same change at different lines, so only a merge that both call clean is compared,
    # and of those only where every line of the base is a different one: then there is one way to align.
    distinct = len(set(base.splitlines())) == len(base.splitlines())
    if distinct and done.returncode == 0 and merged.conflicts == 0 and _aligns_one_way(base, ours, theirs):
        assert merged.content == done.stdout


def _aligns_one_way(*contents: bytes) -> bool:
    return all(len(set(content.splitlines())) == len(content.splitlines()) for content in contents)


def test_changes_apart_are_put_together_and_changes_that_meet_are_shown() -> None:
    base = b"one\ntwo\nthree\nfour\nfive\n"
    apart = merge(base, base.replace(b"one", b"ONE"), base.replace(b"five", b"FIVE"))
    assert apart == Merged(b"ONE\ntwo\nthree\nfour\nFIVE\n", 0)
    met = merge(base, base.replace(b"three", b"3"), base.replace(b"three", b"III"), ("a", "b"))
    assert met == Merged(b"one\ntwo\n<<<<<<< a\n3\n=======\nIII\n>>>>>>> b\nfour\nfive\n", 1)


def test_bytes_that_are_not_text_cannot_be_merged() -> None:
    assert merge(b"a\n", b"\0", b"c\n") is None
    assert merge(b"a\n", b"\0", b"a\n") == Merged(b"\0", 0)
