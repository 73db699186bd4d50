"""Plans: what a tree may hold, which targets take it, and what the plan says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.errors import EnchantedError
from nervous_system.paths import PathError
from replay.restoring.failures import TargetError
from replay.restoring.plan import plan_restore
from replay.restoring.steps import Action
from replay.tree import EXECUTABLE, FILE, SUBMODULE, SYMLINK, Entry, Limits, Tree, TreeError, tree_digest

BLOBS = {sha256(content).hexdigest(): content for content in (b"", b"hello\n", b"../hello", b"/etc/passwd", b"..")}
ENTRIES = st.builds(Entry, st.sampled_from([FILE, EXECUTABLE]), st.sampled_from(sorted(BLOBS)))


def entry(content: bytes, mode: int = FILE) -> Entry:
    """An entry whose content is among BLOBS."""
    return Entry(mode, sha256(content).hexdigest())


TREE = {
    "hello": entry(b"hello\n"),
    "bin/run": entry(b"hello\n", EXECUTABLE),
    "bin/link": entry(b"../hello", SYMLINK),
    "vendor": entry(b"0123", SUBMODULE),
}


def contents(content_hash: str) -> bytes:
    """What a hash names."""
    return BLOBS[content_hash]


def test_a_plan_for_a_new_folder_writes_every_path_in_order(tmp_path: Path) -> None:
    plan = plan_restore(TREE, tmp_path / "new", contents, sizes=lambda content_hash: len(BLOBS.get(content_hash, b"")))
    assert plan.target == tmp_path / "new"
    assert plan.digest == tree_digest(TREE)
    assert plan.resources(Action.WRITE) == ["bin/link", "bin/run", "hello", "vendor"]
    assert plan.counts == {"write": 4, "replace": 0, "change_mode": 0, "remove": 0, "leave": 0}
    assert plan.known_bytes == 6 + 6 + 8
    assert not (tmp_path / "new").exists()


def test_a_plan_as_json(tmp_path: Path) -> None:
    facts = json.loads(json.dumps(plan_restore(TREE, tmp_path / "new", contents).as_json()))
    assert facts["target"] == str(tmp_path / "new")
    assert facts["counts"]["write"] == 4
    assert (facts["bytes"], facts["unknown_sizes"]) == (8, 3)
    assert facts["steps"][0] == {
        "action": "write",
        "resource": "bin/link",
        "mode": "120000",
        "hash": sha256(b"../hello").hexdigest(),
        "bytes": 8,
    }


def test_only_the_contents_of_links_are_read(tmp_path: Path) -> None:
    asked: list[str] = []

    def noted(content_hash: str) -> bytes:
        asked.append(content_hash)
        return contents(content_hash)

    plan_restore(TREE, tmp_path / "new", noted)
    assert asked == [TREE["bin/link"].content_hash]


def test_targets_that_take_a_tree(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "alias").symlink_to("empty", target_is_directory=True)
    assert plan_restore(TREE, tmp_path / "empty", contents).target == tmp_path / "empty"
    assert plan_restore(TREE, tmp_path / "alias" / "new", contents).target == tmp_path / "empty" / "new"
    assert plan_restore(TREE, tmp_path / "no" / "such" / "parent", contents).target == tmp_path / "no/such/parent"


def _file(place: Path) -> None:
    place.write_text("precious")


def _filled(place: Path) -> None:
    place.mkdir()
    (place / "precious").touch()


def _link(place: Path) -> None:
    (place.parent / "elsewhere").mkdir()
    place.symlink_to("elsewhere", target_is_directory=True)


def _dangling(place: Path) -> None:
    place.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (_file, "is not a folder: name a new folder, or an empty one"),
        (_filled, "is not empty: name a new folder, or an empty one"),
        (_link, "is a symbolic link: name the folder itself"),
        (_dangling, "is a symbolic link: name the folder itself"),
    ],
)
def test_targets_that_do_not(tmp_path: Path, make: Callable[[Path], None], sentence: str) -> None:
    make(tmp_path / "target")
    with pytest.raises(TargetError, match=sentence):
        plan_restore(TREE, tmp_path / "target", contents)


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("/", "is the root of the file system"),
        ("/..", "is the root of the file system"),
        ("{}/file/below", "cannot be used: Not a directory"),
        ("{}/.git", "lies in a Git folder"),
        ("{}/.GIT/hooks/x", "lies in a Git folder"),
        ("{}/a\0b", "cannot be used"),
        ("{}/circle/x", "cannot be used"),
        ("{}/" + "n" * 300, "cannot be used: File name too long"),
        ("/proc", "mount point"),
    ],
)
def test_places_that_do_not(tmp_path: Path, place: str, sentence: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(TargetError, match=sentence):
        plan_restore(TREE, Path(place.format(tmp_path)), contents)


@pytest.mark.parametrize("name", [".", "../here", "{}"])
def test_the_current_folder_is_not_pulled_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(TargetError, match="is the folder you are in"):
        plan_restore(TREE, Path(name.format(here)), contents)


def test_a_relative_target_is_taken_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert plan_restore(TREE, Path("new"), contents).target == tmp_path / "new"


HOSTILE: list[tuple[Tree, type[EnchantedError], str]] = [
    ({"../x": entry(b"")}, PathError, "part '..'"),
    ({"/etc/x": entry(b"")}, PathError, "empty part"),
    ({".git/hooks/post-checkout": entry(b"", EXECUTABLE)}, PathError, "Git's own folder"),
    ({"a": entry(b"/etc/passwd", SYMLINK), "a/b": entry(b"")}, PathError, "cannot stand beside"),
    ({"a": entry(b"/etc/passwd", SYMLINK)}, PathError, "absolute"),
    ({"a": entry(b"..", SYMLINK)}, PathError, "out of the project"),
    ({"A": entry(b""), "a": entry(b"")}, PathError, "cannot stand beside"),
    ({"a": Entry(0o100600, "0" * 64)}, TreeError, "has the mode 100600"),
    ({"a": Entry(0o040000, "0" * 64)}, TreeError, "has the mode 40000"),
    ({"a": Entry(FILE, "../../x")}, TreeError, "no SHA-256"),
    ({"a": Entry(FILE, "A" * 64)}, TreeError, "no SHA-256"),
    ({"b/l": entry(b"..", SYMLINK), "l": entry(b"b/l/..", SYMLINK)}, PathError, "by way of another link"),
]
BLOBS[sha256(b"b/l/..").hexdigest()] = b"b/l/.."


@pytest.mark.parametrize(("tree", "kind", "sentence"), HOSTILE)
def test_a_hostile_tree_is_refused_whole(tmp_path: Path, tree: Tree, kind: type[EnchantedError], sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        plan_restore({"good": entry(b""), **tree}, tmp_path / "new", contents)
    assert not list(tmp_path.iterdir())


def test_a_link_whose_content_is_not_what_the_tree_says_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TreeError, match=r"'bin/link' is not what was recorded"):
        plan_restore(TREE, tmp_path / "new", lambda _: b"hello")


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (Limits(max_entries=3), "has 4 entries, more than the 3 allowed"),
        (Limits(max_depth_parts=1), "deeper than the 1 parts allowed"),
        (Limits(max_total_bytes=19), "holds 20 bytes, more than the 19 allowed"),
    ],
)
def test_caps(tmp_path: Path, limits: Limits, sentence: str) -> None:
    def sizes(content_hash: str) -> int:
        return len(BLOBS.get(content_hash, b""))

    with pytest.raises(TreeError, match=sentence):
        plan_restore(TREE, tmp_path / "new", contents, sizes=sizes, limits=limits)
    exact = Limits(max_entries=4, max_depth_parts=2, max_total_bytes=20)
    plan_restore(TREE, tmp_path / "new", contents, sizes=sizes, limits=exact)


def test_the_digest_is_stable() -> None:
    # Anyone can compute it: one line of JSON an entry, in order.
    lines = "".join(json.dumps([path, TREE[path].mode, TREE[path].content_hash]) + "\n" for path in sorted(TREE))
    assert tree_digest(TREE) == sha256(lines.encode()).hexdigest()
    assert tree_digest({}) == sha256(b"").hexdigest()


@given(st.dictionaries(st.text(max_size=4), ENTRIES, max_size=4), st.dictionaries(st.text(max_size=4), ENTRIES))
def test_trees_have_one_digest_where_they_are_equal(one: dict[str, Entry], other: dict[str, Entry]) -> None:
    assert tree_digest(one) == tree_digest(dict(reversed(one.items())))
    assert (tree_digest(one) == tree_digest(other)) == (one == other)


def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "shut" / "new"
    target.parent.mkdir(mode=0o000)
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(TargetError, match="Permission denied"):
            plan_restore(TREE, target, contents)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
