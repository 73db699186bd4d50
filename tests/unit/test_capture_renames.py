"""Which moves are found, and that they are told in an order in which every step is a tree that can be restored."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nervous_system.capture.worktree.files import Entry, Signature
from nervous_system.capture.worktree.pending import BURST_LIMIT_S, QUIET_S, WRITING_LIMIT_S, Notice, Pending
from nervous_system.capture.worktree.renames import Sides, in_order, line_similarity, pair
from nervous_system.paths import PathError, check_tree
from nervous_system.projects import ProjectName

PROJECT = ProjectName("a", "b")
NAMES = ("a", "A", "b", "a/a", "a/b", "A/b", "a/a/a", "b/a", "b/b/a", "B/a", "c")
tree = st.dictionaries(st.sampled_from(NAMES), st.tuples(st.sampled_from("xyz"), st.integers(1, 4)), max_size=6)


def entry(digest: str, inode: int = 0, size_bytes: int = 1) -> Entry:
    return Entry(digest, Signature(size_bytes, 0, 0, inode, 0o100644), False)


def is_tree(names: object) -> bool:
    try:
        check_tree(names)  # type: ignore[arg-type]
    except PathError:
        return False
    return True


@given(tree.filter(is_tree), tree.filter(is_tree))
def test_each_step_is_a_tree_and_the_last_is_the_one_that_is_there(
    before: dict[str, tuple[str, int]], after: dict[str, tuple[str, int]]
) -> None:
    gone = {name.encode(): entry(*before[name]) for name in before.keys() - after.keys()}
    new = {name.encode(): entry(*after[name]) for name in after.keys() - before.keys()}
    pairs = pair(Sides(gone, new), lambda *_: True)
    assert len(set(pairs.values())) == len(pairs)
    deleted, renamed = in_order(gone, pairs)
    standing = {name: digest for name, (digest, _) in before.items()}
    for path in deleted:
        del standing[path.decode()]
    for target, source in renamed.items():
        del standing[source.decode()]
        standing[target.decode()] = after[target.decode()][0]
        check_tree(standing)
    for name in sorted(after):
        standing[name] = after[name][0]
        check_tree(standing)
    assert standing == {name: digest for name, (digest, _) in after.items()}


def test_the_same_inode_goes_before_the_same_name_and_that_before_the_same_content() -> None:
    gone = {b"d/n": entry("x", 1), b"e/m": entry("x", 2), b"e/o": entry("x", 3), b"void": entry("0", 9, 0)}
    new = {b"p": entry("x", 2), b"q/n": entry("x", 7), b"r": entry("x", 8), b"s": entry("0", 10, 0)}
    assert pair(Sides(gone, new), lambda *_: False) == {b"p": b"e/m", b"q/n": b"d/n", b"r": b"e/o"}


def test_an_inode_given_again_to_another_content_is_no_move() -> None:
    sides = Sides({b"old": entry("x", 1)}, {b"new": entry("y", 1)})
    assert pair(sides, lambda *_: False) == {}
    assert pair(sides, lambda *_: True) == {b"new": b"old"}
    assert line_similarity(b"a\nb\nc", b"a\nb\nd") > 0.6
    assert line_similarity(b"a\nb\nc", b"x\ny\nz") == 0


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.booleans(), st.booleans(), st.floats(0, 0.3)), max_size=40))
def test_no_notice_is_lost_and_none_waits_for_ever(noticed: list[tuple[bytes, bool, bool, float]]) -> None:
    pending, now_s = Pending(), 100.0
    waiting: dict[bytes, float] = {}
    trees: set[bytes] = set()

    def look() -> None:
        for notice in pending.take(now_s):
            assert notice.is_tree == (notice.path in trees)
            assert notice.path in waiting
            del waiting[notice.path]
            trees.discard(notice.path)

    for path, is_below, is_open, pause_s in noticed:
        pending.add(Notice(path, is_below, is_open), now_s)
        waiting.setdefault(path, now_s)
        if is_below:
            trees.add(path)
        now_s += pause_s
        look()
        # What is looked at late has been open, or has come last.
        assert all(now_s - since_s < WRITING_LIMIT_S + BURST_LIMIT_S + 0.3 for since_s in waiting.values())
    due_s = pending.due_s()
    assert (due_s is None) == (not waiting)
    while due_s is not None:
        now_s = max(now_s, due_s)
        look()
        due_s = pending.due_s()
    assert not waiting


def test_a_burst_is_one_look_and_an_open_file_is_waited_for() -> None:
    pending = Pending()
    for step in range(4):
        pending.add(Notice(b"a"), step * QUIET_S / 2)
        assert pending.take(step * QUIET_S / 2) == []
    pending.add(Notice(b"b", is_open=True), 2 * QUIET_S)
    assert pending.take(4 * QUIET_S) == [Notice(b"a")]
    pending.add(Notice(b"b"), 5 * QUIET_S)
    assert pending.take(7 * QUIET_S) == [Notice(b"b")]
