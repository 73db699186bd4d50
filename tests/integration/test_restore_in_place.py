"""Restoring into a folder in use: what is written, replaced, removed, left alone and refused; and all of it undone."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from nervous_system.paths import PathError
from replay.restoring.failures import DriftError, TargetError
from replay.restoring.inplace_undo import plan_undo, undo
from replay.restoring.steps import Action
from replay.tree import EXECUTABLE, FILE, SUBMODULE, SYMLINK
from tests.integration.restoring import Model, Past, lay, names, photograph

BEFORE: Model = {
    "same": (FILE, b"same\n"),
    "edited": (FILE, b"old\n"),
    "run": (FILE, b"#!/bin/sh\n"),
    "gone": (FILE, b"gone\n"),
    "old/only": (FILE, b"only\n"),
    "file-to-folder": (FILE, b"a file\n"),
    "folder-to-file/x": (FILE, b"x\n"),
    "link-to-folder": (SYMLINK, b"old"),
    "retargeted": (SYMLINK, b"same"),
    "becomes-link": (FILE, b"content\n"),
}
AFTER: Model = {
    "same": (FILE, b"same\n"),
    "edited": (FILE, b"new\n"),
    "run": (EXECUTABLE, b"#!/bin/sh\n"),
    "added/deep/file": (FILE, b"added\n"),
    "file-to-folder/inner": (FILE, b"inner\n"),
    "folder-to-file": (EXECUTABLE, b"now a file\n"),
    "link-to-folder/inner": (FILE, b"inner\n"),
    "retargeted": (SYMLINK, b"edited"),
    "becomes-link": (SYMLINK, b"same"),
    "vendor/lib": (SUBMODULE, b""),
}
UNTRACKED: Model = {
    "notes.txt": (FILE, b"mine"),
    "old-notes/x": (FILE, b"mine"),
    "added-by-me": (SYMLINK, b"/nowhere"),
    ".git/config": (FILE, b"git's"),
    "node_modules/a/b": (FILE, b"much"),
}


@pytest.fixture
def folder(quick: Path) -> Path:
    """A folder with the tree before, and what the project never knew."""
    lay(quick / "folder", {**BEFORE, **UNTRACKED})
    return quick / "folder"


@pytest.fixture
def past() -> Past:
    return Past(AFTER, BEFORE)


def test_a_folder_in_use_becomes_the_tree_and_back_again(folder: Path, past: Past) -> None:
    before, laid = photograph(folder), folder.parent / "expected"
    lay(laid, {**AFTER, **UNTRACKED})
    plan = past.put(folder)
    assert plan.counts == {"write": 4, "replace": 4, "change_mode": 1, "remove": 6, "leave": 1}
    assert photograph(folder) == photograph(laid)
    assert past.plan(folder).counts == {"write": 0, "replace": 0, "change_mode": 0, "remove": 0, "leave": len(AFTER)}
    undo(folder)
    assert photograph(folder) == before
    assert ".enchanted" not in names(folder)


def test_the_plan_says_what_happens_to_each_path(folder: Path, past: Past) -> None:
    before = photograph(folder)
    plan = past.plan(folder)
    actions = {step.resource: step.action for step in plan.steps}
    assert actions == {
        "same": Action.LEAVE,
        "edited": Action.REPLACE,
        "run": Action.CHANGE_MODE,
        "gone": Action.REMOVE,
        "old": Action.REMOVE,
        "old/only": Action.REMOVE,
        "added/deep/file": Action.WRITE,
        "file-to-folder": Action.REMOVE,
        "file-to-folder/inner": Action.WRITE,
        "folder-to-file": Action.REPLACE,
        "folder-to-file/x": Action.REMOVE,
        "link-to-folder": Action.REMOVE,
        "link-to-folder/inner": Action.WRITE,
        "retargeted": Action.REPLACE,
        "becomes-link": Action.REPLACE,
        "vendor/lib": Action.WRITE,
    }
    assert plan.new_folders == ("added", "added/deep", "file-to-folder", "link-to-folder", "vendor")
    assert (plan.drift, plan.blocked) == ([], ())
    assert photograph(folder) == before
    assert ".enchanted" not in names(folder)


def test_what_restores_keep_is_private_and_ignored_by_git(folder: Path, past: Past) -> None:
    past.put(folder)
    own = folder / ".enchanted"
    assert (own / ".gitignore").read_bytes() == b"*\n"
    assert names(own / "restores") == ["1"]
    assert stat.S_IMODE((own / "restores").stat().st_mode) == 0o700
    assert (own / "restores/1/journal.json").exists()


def test_a_folder_in_which_something_stays_is_not_removed(folder: Path, past: Past) -> None:
    (folder / "old/mine").write_text("mine")
    past.put(folder)
    assert names(folder / "old") == ["mine"]


@pytest.mark.parametrize("make", [lambda place: place.mkdir(), lambda place: (place / "x").mkdir(parents=True)])
def test_empty_folders_that_the_project_never_knew_stay(folder: Path, past: Past, make: Callable[[Path], None]) -> None:
    make(folder / "old/empty")
    past.put(folder)
    assert (folder / "old/empty").is_dir()


def test_a_checked_out_submodule_is_left_alone(folder: Path, past: Past) -> None:
    lay(folder / "vendor/lib", {"code.c": (FILE, b"theirs"), ".git": (FILE, b"gitdir: elsewhere")})
    assert "vendor/lib" in past.plan(folder).resources(Action.LEAVE)
    past.put(folder)
    assert names(folder / "vendor/lib") == [".git", "code.c"]


# Drift


def _edit(folder: Path) -> None:
    (folder / "edited").write_text("never recorded")


def _edit_gone(folder: Path) -> None:
    (folder / "gone").write_text("never recorded")


def _untracked_in_a_folder_to_go(folder: Path) -> None:
    (folder / "folder-to-file/mine").write_text("never recorded")


def _link(folder: Path) -> None:
    (folder / "edited").unlink()
    (folder / "edited").symlink_to("/never/recorded")


def _untracked_in_the_way(folder: Path) -> None:
    (folder / "added").write_text("never recorded")


def _folder_in_the_way(folder: Path) -> None:
    (folder / "edited").unlink()
    lay(folder / "edited", {"a/b": (FILE, b"never recorded"), "a/c": (SUBMODULE, b""), "d": (SYMLINK, b"..")})


DRIFT = [
    (_edit, ["edited"]),
    (_edit_gone, ["gone"]),
    (_untracked_in_a_folder_to_go, ["folder-to-file/mine"]),
    (_link, ["edited"]),
    (_untracked_in_the_way, ["added"]),
    (_folder_in_the_way, ["edited/a/b", "edited/d"]),
]


@pytest.mark.parametrize(("make", "drift"), DRIFT)
def test_what_was_never_recorded_is_replaced_by_force_only_and_comes_back(
    folder: Path, past: Past, make: Callable[[Path], None], drift: list[str]
) -> None:
    make(folder)
    before = photograph(folder)
    assert past.plan(folder).drift == drift
    with pytest.raises(DriftError, match=f"'{drift[0]}'.* was never recorded and would be .*--force"):
        past.put(folder)
    assert photograph(folder) == before
    assert ".enchanted" not in names(folder)
    past.put(folder, is_forced=True)
    assert past.plan(folder).counts["leave"] == len(AFTER)
    undo(folder)
    assert photograph(folder) == before


def test_a_recorded_content_at_another_path_is_no_drift(folder: Path, past: Past) -> None:
    (folder / "edited").write_bytes(BEFORE["gone"][1])
    assert past.plan(folder).drift == []


def _pipe(folder: Path) -> None:
    (folder / "edited").unlink()
    os.mkfifo(folder / "edited")


def _pipe_where_nothing_is_wanted(folder: Path) -> None:
    (folder / "gone").unlink()
    os.mkfifo(folder / "gone")


def _repository_in_the_way(folder: Path) -> None:
    lay(folder / "folder-to-file", {".git/config": (FILE, b"theirs")})


def _disguised_repository_in_the_way(folder: Path) -> None:
    lay(folder / "folder-to-file", {".GIT/config": (FILE, b"theirs")})


def _unspeakable_name_in_the_way(folder: Path) -> None:
    (folder / "folder-to-file/back\\slash").touch()


@pytest.mark.parametrize(
    "make",
    [
        _pipe,
        _pipe_where_nothing_is_wanted,
        _repository_in_the_way,
        _disguised_repository_in_the_way,
        _unspeakable_name_in_the_way,
    ],
)
def test_what_is_never_touched_blocks_even_a_forced_restore(
    folder: Path, past: Past, make: Callable[[Path], None]
) -> None:
    make(folder)
    assert past.plan(folder).blocked
    for is_forced in (False, True):
        with pytest.raises(DriftError, match=r"is in the way, and is never touched, because .*Move it away first"):
            past.put(folder, is_forced=is_forced)
    undoing = (folder / "edited").lstat(), (folder / "folder-to-file").lstat()
    assert all(undoing)
    assert ".enchanted" not in names(folder)


def test_special_files_that_do_not_matter_are_left_alone(folder: Path, past: Past) -> None:
    os.mkfifo(folder / "pipe")
    past.put(folder)
    assert stat.S_ISFIFO((folder / "pipe").stat().st_mode)


def test_a_tree_that_has_the_restores_own_folder_goes_into_new_folders_only(quick: Path) -> None:
    past = Past({".Enchanted/x": (FILE, b"x")})
    lay(quick / "used", {"a": (FILE, b"a")})
    with pytest.raises(
        TargetError, match=r"'\.Enchanted/x', where a restore keeps what it replaces: name a new folder"
    ):
        past.put(quick / "used")
    past.put(quick / "new")
    assert names(quick / "new") == [".Enchanted"]


# Subtrees


@pytest.mark.parametrize("place", ["folder", "new"])
def test_only_a_subtree_is_restored(folder: Path, past: Past, place: str) -> None:
    before = photograph(folder)
    past.put(folder.parent / place, "added/deep", "run")
    after = photograph(folder.parent / place)
    assert {path for path in after if after[path] != before.get(path)} == (
        {"added", "added/deep", "added/deep/file", "run"}
    )
    assert set(after) - set(before) == {"added", "added/deep", "added/deep/file"} if place == "folder" else True


def test_a_subtree_that_is_gone_by_the_moment_is_removed(folder: Path, past: Past) -> None:
    assert [step.resource for step in past.plan(folder, "old").steps] == ["old", "old/only"]
    past.put(folder, "old")
    assert "old" not in names(folder)
    assert "gone" in names(folder)
    assert past.plan(folder, "gone").resources(Action.REMOVE) == ["gone"]


def test_beside_a_subtree_nothing_is_looked_at(folder: Path, past: Past) -> None:
    (folder / "edited").write_text("never recorded")
    (folder / "added").mkdir()
    (folder / "added/mine").write_text("mine")
    past.put(folder, "added/deep")
    assert (folder / "edited").read_text() == "never recorded"
    assert names(folder / "added") == ["deep", "mine"]


@pytest.mark.parametrize("subtree", ["nowhere", "notes.txt", "node_modules", "edit", "added/deep/file/x"])
@pytest.mark.parametrize("place", ["folder", "new"])
def test_a_subtree_that_names_nothing_is_refused(folder: Path, past: Past, subtree: str, place: str) -> None:
    with pytest.raises(TargetError, match=f"'{subtree}' names nothing"):
        past.put(folder.parent / place, "run", subtree)


@pytest.mark.parametrize("subtree", ["..", "../folder", "/etc", "", ".git"])
def test_a_subtree_that_no_project_has_is_refused(folder: Path, past: Past, subtree: str) -> None:
    with pytest.raises(PathError):
        past.put(folder, subtree)


# Undo


def test_restores_are_undone_one_by_one(folder: Path) -> None:
    models: list[Model] = [{"a": (FILE, str(number).encode()), f"n{number}": (FILE, b"")} for number in range(4)]
    past = [Past(model, *models, BEFORE) for model in models]
    seen = []
    for each in past:
        seen.append(photograph(folder))
        each.put(folder)
    for expected in reversed(seen):
        undo(folder)
        assert photograph(folder) == expected
    with pytest.raises(TargetError, match="There is nothing to undo"):
        undo(folder)


def test_the_last_ten_can_be_undone(folder: Path) -> None:
    models: list[Model] = [{"a": (FILE, str(number).encode())} for number in range(13)]
    for model in models:
        Past(model, *models).put(folder)
    assert len(names(folder / ".enchanted/restores")) == 10
    for _ in range(10):
        undo(folder)
    assert (folder / "a").read_bytes() == b"2"
    with pytest.raises(TargetError, match="There is nothing to undo"):
        undo(folder)


def test_what_changed_since_is_put_aside_by_force_only(folder: Path, past: Past) -> None:
    before = photograph(folder)
    past.put(folder, note="acme/shop as of now")
    (folder / "edited").write_text("my work")
    (folder / "added/deep/mine").write_text("my new file")
    (folder / "gone").write_text("made again")
    (folder / "file-to-folder/more").write_text("in a folder that has to go")
    (folder / "becomes-link").unlink()
    after = photograph(folder)
    changed = ("becomes-link", "edited", "file-to-folder", "gone")
    assert tuple(sorted(plan_undo(folder).changed)) == changed
    with pytest.raises(
        DriftError, match=r"Nothing was undone in .* and 1 more changed since it was restored\. Say --force"
    ):
        undo(folder)
    assert photograph(folder) == after
    done = undo(folder, is_forced=True)
    assert done.note == "acme/shop as of now"
    assert sorted(done.kept) == ["edited", "file-to-folder", "gone"]
    assert (folder / done.kept["edited"]).read_text() == "my work"
    assert (folder / done.kept["gone"]).read_text() == "made again"
    assert names(folder / done.kept["file-to-folder"]) == ["more"]
    # A folder that was made stays where something else came to be in it.
    assert names(folder / "added/deep") == ["mine"]
    kept = {"added": before["old"], "added/deep": before["old"], "added/deep/mine": after["added/deep/mine"]}
    assert photograph(folder) == {**before, **kept}


def test_what_is_put_back_needs_its_folder_only(folder: Path) -> None:
    past = Past({"a/b": (FILE, b"new")}, {"a/b": (FILE, b"old")}, BEFORE)
    lay(folder, {"a/b": (FILE, b"old")})
    past.put(folder, "a")
    (folder / "a/b").unlink()
    (folder / "a").rmdir()
    undo(folder, is_forced=True)
    assert (folder / "a/b").read_bytes() == b"old"


def test_what_cannot_be_put_back_is_kept(folder: Path) -> None:
    past = Past({"a/b": (FILE, b"new")}, {"a/b": (FILE, b"old")}, BEFORE)
    lay(folder, {"a/b": (FILE, b"old")})
    past.put(folder, "a")
    outside = folder.parent / "outside"
    (folder / "a").rename(outside)
    (folder / "a").symlink_to(outside)
    done = undo(folder, is_forced=True)
    assert (folder / done.kept["a/b"]).read_bytes() == b"old"
    assert (outside / "b").read_bytes() == b"new"


def test_hard_links_to_what_is_replaced_keep_their_content(folder: Path, past: Past) -> None:
    outside = folder.parent / "outside"
    for name in ("edited", "run"):
        os.link(folder / name, folder.parent / name)
    past.put(folder)
    assert (folder.parent / "edited").read_bytes() == b"old\n"
    assert not (folder.parent / "run").stat().st_mode & stat.S_IXUSR
    assert not outside.exists()
