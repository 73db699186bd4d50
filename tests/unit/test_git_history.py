"""The pure parts of reading a Git history: patches, commits, the order of changes, what is left out of a tree."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nervous_system.paths import PathError, check_link_target, check_resource, check_tree, resource_from_bytes
from nervous_system.textdiff import unified_diff
from replay import patches
from replay.git.changes import Entry, FileChange, in_order
from replay.git.commits import Commit, decoded
from replay.git.safety import TreeView

FILE, LINK = 0o100644, 0o120000

line = st.sampled_from(["", "a", "b", "\r", "- a", "+b", "@@ -1 +1 @@", "\\ No newline at end of file", "ü\u2028x"])
texts = st.builds(lambda lines, end: ("\n".join(lines) + end).encode(), st.lists(line, max_size=30), st.sampled_from(["", "\n"]))  # fmt: skip  # noqa: E501


@given(texts, texts)
@example(b"", b"a")
@example(b"a\n", b"a")
@example(b"a", b"a\n")
@example(b"a", b"")
@example(b"x\na", b"x\n")
def test_a_diff_s_patch_gives_the_new_content(before: bytes, after: bytes) -> None:
    patch = unified_diff(before, after)
    assert patch is not None
    assert patches.apply(patch, before) == after


@given(texts, texts, texts)
def test_a_patch_never_applies_to_lines_that_are_not_its_own(before: bytes, after: bytes, other: bytes) -> None:
    patch = unified_diff(before, after)
    assert patch is not None
    try:
        made = patches.apply(patch, other)
    except patches.PatchError:
        return
    # Where it applies elsewhere, the other content has the same lines in the same places, and turning round undoes it.
    back = unified_diff(made, other)
    assert back is not None
    assert patches.apply(back, made) == other
    assert (made == other) == (before == after)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(texts, texts)
def test_git_s_patch_gives_the_new_content(tmp_path: Path, before: bytes, after: bytes) -> None:
    (tmp_path / "before").write_bytes(before)
    (tmp_path / "after").write_bytes(after)
    command = ["git", "diff", "--no-index", "--text", "--no-color", "--no-ext-diff", "before", "after"]
    output = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).stdout
    start = output.find(b"\n@@ ") + 1
    assert patches.apply(output[start:].decode() if start else "", before) == after


@pytest.mark.parametrize(
    "patch",
    [
        "nonsense",
        "nonsense\n",
        "@@ -1 +1 @@\n-a\n",
        "@@ -1 +1 @@\n-a\n+b",
        "@@ -1 +1 @@\n-b\n+a\n",
        "@@ -2 +2 @@\n-a\n+b\n",
        "@@ -1 +2 @@\n-a\n+b\n",
        "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n",
        "@@ -1 +1 @@\n-a\n+b\n\\ No newline at end of file\n",
        "@@ -1 +1,2 @@\n-a\n+b\n\\ No newline at end of file\n+c\n",
        "@@ -9,0 +10 @@\n+b\n",
        "@@ -3,0 +4 @@\n+b\n",
        "@@ -1 +1 @@\n\\ No newline at end of file\n-a\n+b\n",
        "@@ -1,0 +2 @@\n+b\n@@ -1 +1 @@\n-a\n+b\n",
        "@@ -1 +1 @@\n-a\n+b\n-c\n",
        "@@ -2 +2 @@\n-c\n+\n\\ No newline at end of file\n",
        "@@ -99999999999999999999 +1 @@\n-a\n+b\n",
    ],
)
def test_a_broken_patch_is_refused(patch: str) -> None:
    with pytest.raises(patches.PatchError):
        patches.apply(patch, b"a\nc\n")


def test_a_heading_after_the_hunk_s_place_is_allowed() -> None:
    assert patches.apply("@@ -1 +1 @@ def f():\n-a\n+b\n", b"a\nc\n") == b"b\nc\n"


def test_a_commit_is_read() -> None:
    raw = (
        b"tree " + b"1" * 40 + b"\nparent " + b"2" * 40 + b"\nparent " + b"3" * 40 + b"\n"
        b"author J\xfcrgen <j@x> 1700000000 +0530\ncommitter Ada <a@x> -5 -0030\nencoding ISO-8859-1\n"
        b"gpgsig -----BEGIN-----\n \n author Nobody <n@x> 1 +0000\n -----END-----\n\nGr\xfc\xdfe\n\nBody\n\n"
    )
    commit = Commit.parse("4" * 40, raw)
    assert commit.parents == ("2" * 40, "3" * 40)
    assert commit.author.identity == "Jürgen <j@x>"
    assert commit.author.date == "2023-11-15T03:43:20+05:30"
    assert commit.committer.date == "1969-12-31T23:30:00-00:30"
    assert commit.message == "Grüße\n\nBody"


@pytest.mark.parametrize(
    ("author", "identity", "date"),
    [
        (b"<only@address> 5 +0000", "<only@address>", "1970-01-01T00:00:05+00:00"),
        (b"Name Alone", "Name Alone <>", "1970-01-01T00:00:00+00:00"),
        (b"A <b> 1 +9999", "A <b>", "1970-01-01T00:00:01+00:00"),
        (b"A <b> 99999999999999999999 +0000", "A <b>", "9999-12-31T23:59:59+00:00"),
        (b"A <b> 99999999999999999999 +0100", "A <b>", "9999-12-31T23:59:59+00:00"),
        (b"A <b>c> 7", "A <b>c>", "1970-01-01T00:00:07+00:00"),
        (b"A <b> Thu Apr 7 1994", "A <b>", "1970-01-01T00:33:14+00:00"),
        (b"", "<>", "1970-01-01T00:00:00+00:00"),
    ],
)
def test_a_broken_signature_is_read_as_far_as_it_goes(author: bytes, identity: str, date: str) -> None:
    commit = Commit.parse("4" * 40, b"tree " + b"1" * 40 + b"\nauthor " + author + b"\n\n")
    assert commit.author.identity == identity
    assert commit.author.date == date


@given(st.binary(max_size=40), st.sampled_from(["utf-8", "utf-16", "utf-7", "hex", "idna", "nonsense", "\0", ""]))
def test_any_text_can_be_carried(raw: bytes, encoding: str) -> None:
    decoded(raw, encoding).encode("utf-8")


# Changes between two trees, with some of the pairs of a path that is gone and one that is new made renames.

_path = st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=3).map(b"/".join)


def _without_conflicts(paths: list[bytes]) -> set[bytes]:
    kept: set[bytes] = set()
    for path in paths:
        if not any(path.startswith(other + b"/") or other.startswith(path + b"/") for other in kept):
            kept.add(path)
    return kept


_tree = (
    st.lists(_path, max_size=8)
    .map(_without_conflicts)
    .flatmap(lambda paths: st.fixed_dictionaries({path: st.integers(0, 3) for path in sorted(paths)}))
)


@settings(max_examples=300)
@given(_tree, _tree, st.randoms(use_true_random=False))
def test_changes_can_be_made_one_after_the_other(
    before: dict[bytes, int], after: dict[bytes, int], random: object
) -> None:
    def entry(number: int) -> Entry:
        return Entry(FILE, str(number))

    gone, new = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    random.shuffle(gone)  # type: ignore[attr-defined]
    pairs = list(zip(gone, new, strict=False))[: random.randint(0, 8)]  # type: ignore[attr-defined]
    changes = [FileChange(target, entry(before[source]), entry(after[target]), source) for source, target in pairs]
    renamed = {path for pair in pairs for path in pair}
    for path in sorted((before.keys() | after.keys()) - renamed):
        old = entry(before[path]) if path in before else None
        changes.append(FileChange(path, old, entry(after[path]) if path in after else None))
    tree = {path: entry(number) for path, number in before.items()}
    for change in in_order(changes):
        assert tree.pop(change.renamed_from or change.path, None) == change.before
        if change.after is not None:
            assert not any(change.path.startswith(p + b"/") or p.startswith(change.path + b"/") for p in tree)
            assert change.path not in tree
            tree[change.path] = change.after
    assert tree == {path: entry(number) for path, number in after.items()}


def test_renames_that_are_not_in_each_other_s_way_stay_renames() -> None:
    one = FileChange(b"new/a", Entry(FILE, "1"), Entry(FILE, "1"), b"old/a")
    two = FileChange(b"new/b", Entry(FILE, "2"), Entry(FILE, "3"), b"old/b")
    own = FileChange(b"x/x", Entry(FILE, "4"), Entry(FILE, "4"), b"x")
    assert in_order([two, own, one]) == [one, two, own]


# Trees of names that collide in every way, and names and links that are unsafe by themselves.

_part = st.sampled_from(["a", "A", "b", "é", "E\u0301", "e\u0301", "ß", "ss", "con", "x ", "c\\d"])
_names = st.lists(_part, min_size=1, max_size=3).map(lambda parts: "/".join(parts).encode())
_entry = st.one_of(
    st.just(Entry(FILE, "1")),
    st.just(Entry(FILE, "2")),
    st.sampled_from(["a", "..", "../..", "b/..", "a/../..", "/abs"]).map(lambda target: Entry(LINK, target)),
)
_odd_tree = (
    st.lists(_names, max_size=7)
    .map(_without_conflicts)
    .flatmap(lambda paths: st.fixed_dictionaries(dict.fromkeys(sorted(paths), _entry)))
)


def _target(entry: Entry) -> bytes:
    return entry.oid.encode()


@settings(max_examples=300)
@given(st.lists(_odd_tree, min_size=1, max_size=4))
def test_what_is_left_out_depends_on_the_tree_alone(history: list[dict[bytes, Entry]]) -> None:
    view = TreeView(_target, history[0].items())
    seen = {path: entry for path, entry in history[0].items() if path not in view.left_out}
    for before, after in pairwise(history):
        paths = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        for change in in_order(view.filter(FileChange(p, before.get(p), after.get(p)) for p in paths)):
            assert seen.pop(change.path, None) == change.before
            if change.after is not None:
                seen[change.path] = change.after
        assert view.left_out == TreeView(_target, after.items()).left_out
        assert seen == {path: entry for path, entry in after.items() if path not in view.left_out}
        check_tree(resource_from_bytes(path) for path in seen)


@given(_odd_tree)
def test_nothing_is_left_out_of_a_tree_that_is_safe(tree: dict[bytes, Entry]) -> None:
    try:
        check_tree(resource_from_bytes(path) for path in tree)
        for path, entry in tree.items():
            check_resource(resource_from_bytes(path))
            if entry.mode == LINK:
                check_link_target(resource_from_bytes(path), _target(entry))
    except PathError:
        assert TreeView(_target, tree.items()).left_out
    else:
        left_out = TreeView(_target, tree.items()).left_out
        assert all(tree[path].mode == LINK for path in left_out)
