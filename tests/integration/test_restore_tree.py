"""Restoring onto a real file system: what stands there afterwards, and what never does."""

from __future__ import annotations

import os
import stat
import tempfile
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nervous_system.paths import PathError, check_link_target, check_links, check_tree
from replay.restoring import folders
from replay.restoring.failures import RestoreError
from replay.restoring.plan import Plan
from replay.restoring.restore import act
from replay.restoring.steps import Action, Step
from replay.tree import EXECUTABLE, FILE, SUBMODULE, SYMLINK, Entry
from tests.integration.restoring import MODEL, Model, Store, names, standing


@pytest.mark.parametrize("readers", [1, 4])
def test_every_kind_of_entry_is_restored_as_it_was(tmp_path: Path, store: Store, readers: int) -> None:
    told: list[tuple[int, int]] = []
    store.restore(tmp_path / "out", progress=lambda *so_far: told.append(so_far), readers=readers)
    assert standing(tmp_path / "out") == MODEL
    assert told == [(done, len(MODEL)) for done in range(1, len(MODEL) + 1)]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(("umask", "file", "executable"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_modes_follow_the_umask_as_with_git(
    tmp_path: Path, store: Store, umask: int, file: int, executable: int
) -> None:
    before = os.umask(umask)
    try:
        store.restore(tmp_path / "out")
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("out", "out/bin", "out/empty")}
    assert modes == {"out": executable, "out/bin": executable, "out/empty": file}
    assert stat.S_IMODE((tmp_path / "out/bin/run").stat().st_mode) == executable


def test_an_empty_folder_is_replaced_and_stays_as_closed_as_it_was(tmp_path: Path, store: Store) -> None:
    (tmp_path / "out").mkdir(mode=0o750)
    store.restore(tmp_path / "out")
    assert standing(tmp_path / "out") == MODEL
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750


def test_nobody_else_looks_into_a_tree_that_is_half_there(tmp_path: Path, store: Store) -> None:
    modes: set[int] = set()

    def look(_: int, __: int) -> None:
        modes.update(stat.S_IMODE(place.stat().st_mode) for place in tmp_path.iterdir())

    store.restore(tmp_path / "out", progress=look)
    assert modes == {0o700}


@pytest.mark.parametrize("name", ["new/parents/out", "n" * 255, "\udcff\udcfe"])
def test_targets_of_all_sorts(tmp_path: Path, store: Store, name: str) -> None:
    store.restore(tmp_path / name)
    assert standing(tmp_path / name) == MODEL
    assert names((tmp_path / name).parent) == [Path(name).name]


def test_an_empty_tree_is_an_empty_folder(tmp_path: Path) -> None:
    Store({}).restore(tmp_path / "out")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == []


NAME = st.sampled_from(["a", "b", "c.d", "é", r"\xff", "e f"])
PATH = st.lists(NAME, min_size=1, max_size=4).map("/".join)
LEAF = st.tuples(st.sampled_from([FILE, EXECUTABLE]), st.binary(max_size=20)) | st.just((SUBMODULE, b""))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(PATH, LEAF, max_size=8))
def test_any_tree_that_is_accepted_is_restored_exactly(quick: Path, model: Model) -> None:
    try:
        check_tree(model)
    except PathError:
        assume(False)
    with tempfile.TemporaryDirectory(dir=quick) as folder:
        Store(model).restore(Path(folder) / "out")
        assert standing(Path(folder) / "out") == (model or {".": (SUBMODULE, b"")})


LINKS = st.dictionaries(
    st.tuples(st.sampled_from(["", "a/", "a/b/", "a/b/c/"]), st.sampled_from("lmn")).map("".join),
    st.lists(st.sampled_from(["..", "..", "a", "b", "c", "l", "m", "n"]), min_size=1, max_size=6).map("/".join),
    max_size=5,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINKS)
def test_no_accepted_links_lead_out_when_the_kernel_follows_them(quick: Path, links: dict[str, str]) -> None:
    try:
        for path, target in links.items():
            check_link_target(path, target.encode())
        check_links({path: target.encode() for path, target in links.items()})
    except PathError:
        assume(False)
    with tempfile.TemporaryDirectory(dir=quick) as folder:
        root = Path(folder) / "a" / "root"
        Store(
            {path: (SYMLINK, target.encode()) for path, target in links.items()} | {"a/b/c/file": (FILE, b"")}
        ).restore(root)
        for path in links:
            try:
                end = (root / path).resolve(strict=True)
            except (OSError, RuntimeError):
                continue
            assert end.is_relative_to(root)


def by_hand(target: Path, *steps: tuple[str, int, bytes]) -> Plan:
    """A plan that nobody checked, as a fault in the checks would let it through."""
    writes = (Step(Action.WRITE, path, Entry(mode, sha256(content).hexdigest())) for path, mode, content in steps)
    return Plan(target, {}, tuple(writes))


def test_a_file_below_a_link_is_not_written_through_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = os.fsencode(outside)
    hostile = Store({"a": (SYMLINK, link), "a/b": (FILE, b"mine")})
    with pytest.raises(PathError, match="cannot stand beside"):
        hostile.restore(tmp_path / "out")
    # Even without that check: links come last, and nothing is replaced.
    with pytest.raises(RestoreError, match="'a': something stands there already"):
        act(by_hand(tmp_path / "out", ("a", SYMLINK, link), ("a/b", FILE, b"mine")), hostile.contents)
    assert names(tmp_path) == ["outside"]
    assert names(outside) == []


def test_links_that_come_by_another_way_are_not_followed(tmp_path: Path) -> None:
    for name in ("root", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "root/folder").symlink_to(tmp_path / "outside")
    (tmp_path / "root/file").symlink_to(tmp_path / "outside/file")
    root_fd = os.open(tmp_path / "root", folders.FOLDER_FLAGS)
    try:
        with pytest.raises(NotADirectoryError):
            folders.Walk(root_fd).enter(b"folder")
        with pytest.raises(FileExistsError):
            folders.write_file(b"file", b"x", executable=False, folder_fd=root_fd)
    finally:
        os.close(root_fd)
    assert names(tmp_path / "outside") == []


@pytest.mark.parametrize("path", ["../x", "a/../../x", "..", "a//../x"])
def test_a_path_that_nobody_checked_stays_inside(tmp_path: Path, path: str) -> None:
    store = Store({path: (FILE, b"mine")})
    with pytest.raises(AssertionError):
        act(by_hand(tmp_path / "deep" / "out", (path, FILE, b"mine")), store.contents)
    assert names(tmp_path) == []
