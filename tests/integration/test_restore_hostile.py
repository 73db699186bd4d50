"""Hostile folders and trees: whatever is planted in a folder in use, nothing outside it is written, moved or read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from nervous_system.paths import PathError
from replay.restoring import folders
from replay.restoring.failures import DriftError, RestoreError, TargetError
from replay.restoring.inplace_undo import plan_undo, recover, undo
from replay.restoring.journal import opened
from replay.restoring.plan import Plan
from replay.restoring.restore import act
from replay.restoring.steps import Action, Step
from replay.tree import FILE, SYMLINK, Entry
from tests.integration.restoring import Model, Past, lay, names, photograph

TREE: Model = {"a/b/file": (FILE, b"new"), "link": (SYMLINK, b"a"), "top": (FILE, b"new")}
EARLIER: Model = {"a/b/file": (FILE, b"old"), "a/b/gone": (FILE, b"old"), "top": (FILE, b"old")}


@pytest.fixture
def outside(quick: Path) -> Path:
    """What nobody may touch."""
    lay(quick / "outside", {"b/file": (FILE, b"precious"), "file": (FILE, b"precious"), "top": (FILE, b"precious")})
    return quick / "outside"


@pytest.fixture
def folder(quick: Path) -> Path:
    lay(quick / "folder", EARLIER)
    return quick / "folder"


@pytest.fixture
def past() -> Past:
    return Past(TREE, EARLIER)


def swap(place: Path, outside: Path) -> None:
    """Puts a link to ``outside`` in the place of what is there."""
    place.rename(place.parent / f"{place.name}-before")
    place.symlink_to(outside)


@pytest.mark.parametrize(("swapped", "to"), [("a", ""), ("a/b", "b"), ("a/b/file", "b/file"), ("top", "top")])
def test_links_planted_before_the_plan_are_seen_and_never_followed(
    folder: Path, outside: Path, past: Past, swapped: str, to: str
) -> None:
    precious = photograph(outside)
    swap(folder / swapped, outside / to)
    before = photograph(folder)
    plan = past.plan(folder)
    assert plan.drift == [swapped]
    with pytest.raises(DriftError):
        act(plan, past.contents)
    assert photograph(folder) == before
    act(plan, past.contents, is_forced=True)
    assert (folder / "a/b/file").read_bytes() == b"new"
    assert not (folder / "a").is_symlink()
    assert photograph(outside) == precious
    undo(folder)
    assert photograph(folder) == before
    assert photograph(outside) == precious


@pytest.mark.parametrize(("swapped", "to"), [("a", ""), ("a/b", "b"), ("a/b/file", "b/file"), ("top", "top")])
def test_folders_swapped_for_links_after_the_plan_are_found_out(
    folder: Path, outside: Path, past: Past, swapped: str, to: str
) -> None:
    precious = photograph(outside)
    plan = past.plan(folder)
    swap(folder / swapped, outside / to)
    before = photograph(folder)
    with pytest.raises(TargetError, match=r"Nothing was restored into .* has changed meanwhile"):
        act(plan, past.contents)
    assert photograph(folder) == before
    assert photograph(outside) == precious
    assert ".enchanted" not in names(folder)


def _edited(folder: Path) -> None:
    (folder / "top").write_text("my work")


def _made(folder: Path) -> None:
    (folder / "link").write_text("my work")


def _made_in_a_folder_to_go(folder: Path) -> None:
    (folder / "old").mkdir()


def _taken(folder: Path) -> None:
    (folder / "top").unlink()


def _chmodded(folder: Path) -> None:
    (folder / "top").chmod(0o755)


@pytest.mark.parametrize("change", [_edited, _made, _taken, _chmodded])
def test_what_changes_between_plan_and_act_is_never_lost(
    folder: Path, past: Past, change: Callable[[Path], None]
) -> None:
    plan = past.plan(folder)
    change(folder)
    before = photograph(folder)
    with pytest.raises(TargetError, match=r"'(top|link)' has changed meanwhile"):
        act(plan, past.contents, is_forced=True)
    assert photograph(folder) == before


def test_a_folder_to_go_that_was_filled_after_the_plan_stays(quick: Path) -> None:
    lay(quick / "folder", {"old/x": (FILE, b"x"), "kept": (FILE, b"")})
    past = Past({"kept": (FILE, b"")}, {"old/x": (FILE, b"x")})
    plan = past.plan(quick / "folder")
    (quick / "folder/old/mine").write_text("mine")
    before = photograph(quick / "folder")
    with pytest.raises(TargetError, match="'old' has changed meanwhile"):
        act(plan, past.contents)
    assert photograph(quick / "folder") == before


def test_the_folder_itself_swapped_for_a_link_is_not_followed(folder: Path, outside: Path, past: Past) -> None:
    precious = photograph(outside)
    plan = past.plan(folder)
    swap(folder, outside)
    with pytest.raises(RestoreError, match="Nothing was changed"):
        act(plan, past.contents)
    assert photograph(outside) == precious


@pytest.mark.parametrize("planted", [".enchanted", ".enchanted/restores", ".enchanted/restores/1"])
def test_links_in_the_place_of_what_restores_keep_are_not_followed(
    folder: Path, outside: Path, past: Past, planted: str
) -> None:
    precious = photograph(outside)
    (folder / planted).parent.mkdir(parents=True, exist_ok=True)
    (folder / planted).symlink_to(outside)
    before = photograph(folder)
    if planted == ".enchanted/restores/1":
        past.put(folder)
        undo(folder)
    else:
        with pytest.raises(
            RestoreError, match=r"Nothing was changed in .*a link or a file stands where a folder should be"
        ):
            past.put(folder)
    assert photograph(folder) == before
    assert photograph(outside) == precious


def plant(folder: Path, *moves: list[object], note: str = "acme/shop", done: bool = True) -> None:
    """A journal that no restore wrote, as it may come with a folder that was copied from elsewhere."""
    record = folder / ".enchanted/restores/1"
    for below in ("old", "new"):
        (record / below).mkdir(parents=True)
    (record / "journal.json").write_text(json.dumps({"format": 1, "note": note, "moves": moves}))
    (record / "old/0").write_text("planted")
    if done:
        (record / "done").touch()


OLD = [FILE, sha256(b"planted").hexdigest()]
ESCAPES = ["../outside/file", "/etc/x", ".git/hooks/post-checkout", ".GIT/config", "a/../../x", ".enchanted/x", "", "."]


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("path", ESCAPES)
def test_a_planted_journal_leads_nowhere(folder: Path, outside: Path, past: Past, path: str, done: bool) -> None:
    lay(folder, {".git/hooks/x": (FILE, b"")})
    plant(folder, [path, OLD, None], done=done)
    before, precious = photograph(folder), photograph(outside)
    for attempt in (undo, plan_undo) if done else (undo, plan_undo, recover):
        with pytest.raises(TargetError, match=r"The journal .* is damaged: .*Nothing was changed"):
            attempt(folder)
    assert photograph(folder) == before
    assert photograph(outside) == precious


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 2, "note": "", "moves": []}', '{"format": 1, "note": "", "moves": [["a"]]}', "\xff"]
    + [json.dumps({"format": 1, "note": "", "moves": [["a", entry, None]]}) for entry in ([FILE, "../x"], [4480, ""])],
)
def test_a_damaged_journal_is_a_sentence(folder: Path, text: str) -> None:
    plant(folder)
    (folder / ".enchanted/restores/1/journal.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(TargetError, match="is damaged"):
        undo(folder)


def test_a_planted_note_cannot_write_to_the_terminal(folder: Path) -> None:
    plant(folder, note="acme\x1b[2J/shop\n")
    assert plan_undo(folder).note == "acme[2J/shop"


def test_a_planted_journal_is_not_led_astray_by_links(folder: Path, outside: Path) -> None:
    precious = photograph(outside)
    swap(folder / "a", outside)
    plant(folder, ["a/file", OLD, None])
    done = undo(folder, is_forced=True)
    assert (folder / done.kept["a/file"]).read_text() == "planted"
    assert photograph(outside) == precious


ABSENT_RULES = ["../x", "a/../../x", "/x", "a//../x", ".", ".git/config", ".enchanted/restores/1/journal.json"]


@pytest.mark.parametrize("path", ABSENT_RULES)
def test_a_path_that_nobody_checked_stays_inside(quick: Path, path: str) -> None:
    """A plan that no check has seen, as a fault in one would let it through: the journal refuses it."""
    target = quick / "deep/folder"
    lay(target, {"mine": (FILE, b"mine"), ".git/config": (FILE, b"git's")})
    before, past = photograph(quick), Past({path: (FILE, b"hostile")})
    step = Step(Action.WRITE, path, Entry(FILE, sha256(b"hostile").hexdigest()))
    with pytest.raises((PathError, ValueError)):
        act(Plan(target, past.tree, (step,), is_in_place=True), past.contents, is_forced=True)
    assert photograph(quick) == before


def test_the_walk_through_a_folder_stays_inside(folder: Path, outside: Path) -> None:
    swap(folder / "a", outside)
    folder_fd = os.open(folder, folders.FOLDER_FLAGS)
    try:
        for path in (b"..", b"b/..", b"a", b"a/b", b"."):
            with pytest.raises((AssertionError, NotADirectoryError, FileNotFoundError)):
                folders.Walk(folder_fd, is_making=False).enter(path)
        with pytest.raises(AssertionError):
            folders.move(b"../outside/top", b"x", folder_fd=folder_fd, new_folder_fd=folder_fd)
        with pytest.raises(FileExistsError):
            folders.move(b"top", b"a", folder_fd=folder_fd, new_folder_fd=folder_fd)
    finally:
        os.close(folder_fd)


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", ".git/hooks/x", ".GIT/x", "git~1/x", "a/.git\u200c/x", "x:y", "con"]
)
def test_hostile_paths_are_refused_in_place_too(folder: Path, path: str) -> None:
    before = photograph(folder)
    with pytest.raises(PathError):
        Past({path: (FILE, b"hostile")}).put(folder, is_forced=True)
    assert photograph(folder) == before


@pytest.mark.parametrize(
    "name", [".git", ".GIT", "git~1", ".g\u200cit", ".enchanted", ".Enchanted", ".en\u200cchanted"]
)
def test_what_is_not_the_projects_is_never_looked_into(folder: Path, name: str) -> None:
    """Even where the project claims to know all of it, a pipe inside would block what looks at it."""

    class Boastful(Past):
        def knows_path(self, resource: str) -> bool:
            return True

        def knows_below(self, folder: str) -> bool:
            return True

    lay(folder, {f"{name}/file": (FILE, b"not yours")})
    os.mkfifo(folder / name / "pipe")
    plan = Boastful(TREE, EARLIER).plan(folder)
    assert not [step for step in plan.steps if step.resource.startswith(name)]
    assert (plan.blocked, plan.drift) == ((), [])
    act(plan, Past(TREE).contents)
    assert (folder / name / "file").read_bytes() == b"not yours"


def test_a_folder_is_restored_into_by_one_at_a_time(folder: Path, past: Past) -> None:
    with opened(folder), pytest.raises(TargetError, match="Another restore is at work in"):
        past.put(folder)
    past.put(folder)
    with opened(folder), pytest.raises(TargetError, match="Another restore is at work in"):
        undo(folder)


def test_hard_links_do_not_lead_out(folder: Path, outside: Path, past: Past) -> None:
    (folder / "top").unlink()
    os.link(outside / "top", folder / "top")
    past.put(folder, is_forced=True)
    assert (folder / "top").read_bytes() == b"new"
    assert (outside / "top").read_bytes() == b"precious"
