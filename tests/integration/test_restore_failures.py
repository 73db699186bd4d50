"""Restores that end early, on a real file system: the target stays as it was and nothing else is left."""

from __future__ import annotations

import errno
import os
import resource as limits
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from nervous_system.errors import UnavailableError
from replay.restoring import folders, restore
from replay.restoring.failures import DriftError, RestoreError, TargetError
from replay.restoring.inplace_undo import undo
from replay.restoring.plan import plan_restore
from replay.restoring.restore import act
from replay.tree import FILE, SUBMODULE, SYMLINK, Limits, TreeError
from tests.integration.restoring import MODEL, Past, Store, lay, names, photograph, standing


@pytest.mark.parametrize("readers", [1, 3])
def test_content_with_another_hash_leaves_nothing(tmp_path: Path, store: Store, readers: int) -> None:
    plan = plan_restore(store.tree, tmp_path / "new" / "out", store.contents)
    store.blobs[store.tree["large"].content_hash] += b"!"
    with pytest.raises(TreeError, match="'large' is not what was recorded"):
        act(plan, store.contents, readers=readers)
    assert names(tmp_path) == []


def test_errors_of_the_store_are_passed_on_and_leave_nothing(tmp_path: Path, store: Store) -> None:
    plan = plan_restore(store.tree, tmp_path / "out", store.contents)

    def away(content_hash: str) -> bytes:
        raise ConnectionError("away") if content_hash == store.tree["bin/run"].content_hash else UnavailableError("x")

    with pytest.raises((ConnectionError, UnavailableError)):
        act(plan, away)
    assert names(tmp_path) == []


def test_more_bytes_than_allowed_leave_nothing(tmp_path: Path, store: Store) -> None:
    plan = plan_restore(store.tree, tmp_path / "out", store.contents, limits=Limits(max_total_bytes=1_000_000))
    with pytest.raises(TreeError, match="more than the 1,000,000 allowed"):
        act(plan, store.contents)
    assert names(tmp_path) == []


def test_a_target_that_was_filled_since_it_was_planned_is_kept(tmp_path: Path, store: Store) -> None:
    plan = plan_restore(store.tree, tmp_path / "out", store.contents)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    with pytest.raises(TargetError, match="is not empty"):
        act(plan, store.contents)
    assert names(tmp_path / "out") == ["precious"]


def _file(place: Path) -> None:
    place.write_text("precious")


def _filled(place: Path) -> None:
    place.mkdir()
    (place / "precious").touch()


def _link(place: Path) -> None:
    place.symlink_to("/nowhere")


@pytest.mark.parametrize("make", [_file, _filled, _link])
def test_a_target_that_is_filled_while_it_is_restored_is_kept(
    tmp_path: Path, store: Store, make: Callable[[Path], None]
) -> None:
    def fill(done: int, total: int) -> None:
        if done == total:
            make(tmp_path / "out")

    with pytest.raises(TargetError, match="was filled by something else"):
        store.restore(tmp_path / "out", progress=fill)
    assert names(tmp_path) == ["out"]
    assert not (tmp_path / "out" / "README.md").exists()


def _interrupt(number: int) -> Callable[[FrameType, str, Any], Any]:
    """A trace function that presses Ctrl-C before the line of ``restore`` and ``folders`` with this number."""
    left = number

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in (restore.__file__, folders.__file__):
            return None
        if event == "line":
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
        return trace

    return trace


def test_an_interrupt_at_any_line_leaves_all_or_nothing(quick: Path) -> None:
    store = Store({"a/b": (FILE, b"b"), "l": (SYMLINK, b"a"), "v": (SUBMODULE, b"")})
    plan = plan_restore(store.tree, quick / "new" / "out", store.contents)
    outcomes = []
    for number in range(1_000):
        before = sys.gettrace()
        sys.settrace(_interrupt(number))
        try:
            act(plan, store.contents)
        except KeyboardInterrupt:
            pass
        else:
            break
        finally:
            sys.settrace(before)
        outcomes.append(names(quick))
        if outcomes[-1]:
            assert names(quick / "new") == ["out"]
            subprocess.run(["rm", "-r", quick / "new"], check=True)
    assert standing(quick / "new" / "out") == {"a/b": (FILE, b"b"), "l": (SYMLINK, b"a"), "v": (SUBMODULE, b"")}
    assert outcomes.count([]) > 100
    assert sorted(outcomes) == outcomes


@pytest.mark.parametrize("readers", [1, 3])
def test_an_interrupt_while_content_is_fetched_leaves_nothing(tmp_path: Path, store: Store, readers: int) -> None:
    (tmp_path / "out").mkdir()
    plan = plan_restore(store.tree, tmp_path / "out", store.contents)

    def pressed(content_hash: str) -> bytes:
        if content_hash == store.tree["large"].content_hash:
            raise KeyboardInterrupt
        return store.contents(content_hash)

    with pytest.raises(KeyboardInterrupt):
        act(plan, pressed, readers=readers)
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == []


CHILD = """
import sys
from hashlib import sha256
from pathlib import Path
from replay.restoring.plan import plan_restore
from replay.restoring.restore import act
from replay.tree import FILE, Entry

blobs = {sha256(name.encode()).hexdigest(): name.encode() for name in ("a/first", "second")}
tree = {blob.decode(): Entry(FILE, content_hash) for content_hash, blob in blobs.items()}

def contents(content_hash):
    if blobs[content_hash] == b"second":
        print("half way", flush=True)
        sys.stdin.readline()
    return blobs[content_hash]

act(plan_restore(tree, Path(sys.argv[1]), contents), contents)
"""


@contextmanager
def half_way(target: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has restored one file of two, and waits for a line before it goes on."""
    command = [sys.executable, "-c", CHILD, os.fspath(target)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "half way\n"
        try:
            yield child
        finally:
            child.kill()


def test_what_a_killed_restore_left_is_removed_by_the_next(tmp_path: Path, store: Store) -> None:
    with half_way(tmp_path / "out") as child:
        child.kill()
        child.wait()
    (left,) = names(tmp_path)
    assert standing(tmp_path / left) == {"a/first": (FILE, b"a/first")}
    similar = [".out.enchanted-notes", ".out2.enchanted-0123456789abcdef"]
    for name in similar:
        (tmp_path / name).mkdir()
    (tmp_path / ".out.enchanted-0123456789abcdef").symlink_to("/nowhere")
    store.restore(tmp_path / "out")
    assert standing(tmp_path / "out") == MODEL
    assert names(tmp_path) == sorted([".out.enchanted-0123456789abcdef", *similar, "out"])


def test_a_restore_that_still_runs_is_left_alone(tmp_path: Path, store: Store) -> None:
    with half_way(tmp_path / "out") as child:
        store.restore(tmp_path / "out")
        (running,) = set(names(tmp_path)) - {"out"}
        assert standing(tmp_path / running) == {"a/first": (FILE, b"a/first")}
        _, told = child.communicate("go on\n", timeout=60)
    assert "was filled by something else meanwhile" in told
    assert standing(tmp_path / "out") == MODEL
    assert names(tmp_path) == ["out"]


def test_an_interrupt_from_the_keyboard_leaves_nothing(tmp_path: Path) -> None:
    with half_way(tmp_path / "out") as child:
        assert len(names(tmp_path)) == 1
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=60) != 0
    assert names(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting is not permitted here; the limit on file sizes stands for it")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_full_disk_leaves_nothing(small_disk: Path, store: Store) -> None:
    with pytest.raises(RestoreError, match=r"Nothing was restored into .* at 'large': the disk is full"):
        store.restore(small_disk / "out")
    assert names(small_disk) == []
    del store.tree["large"]
    store.restore(small_disk / "out")
    assert "large" not in standing(small_disk / "out")


def test_a_full_disk_leaves_a_folder_in_use_as_it_was(small_disk: Path) -> None:
    folder = small_disk / "folder"
    lay(folder, {"a": (FILE, b"old"), "b": (FILE, b"old")})
    past = Past({"a": (FILE, b"new"), "large": MODEL["large"]}, {"a": (FILE, b"old"), "b": (FILE, b"old")})
    before = photograph(folder)
    with pytest.raises(RestoreError, match="the disk is full"):
        past.put(folder)
    assert photograph(folder) == before
    assert names(folder) == ["a", "b"]


def test_a_file_system_mounted_in_the_way_blocks_a_restore(small_disk: Path) -> None:
    (small_disk / "precious").touch()
    past = Past({"disk": (FILE, b"new"), "x": (FILE, b"")})
    assert past.plan(small_disk.parent).blocked == (("disk", "another file system is mounted there"),)
    with pytest.raises(DriftError, match="'disk' is in the way, and is never touched"):
        past.put(small_disk.parent, is_forced=True)
    assert names(small_disk.parent) == ["disk"]


def test_a_mount_point_in_use_is_restored_into(small_disk: Path) -> None:
    lay(small_disk, {"a": (FILE, b"old")})
    past = Past({"a": (FILE, b"new")}, {"a": (FILE, b"old")})
    past.put(small_disk)
    assert (small_disk / "a").read_bytes() == b"new"
    undo(small_disk)
    assert names(small_disk) == ["a"]


def test_a_mount_point_is_refused(small_disk: Path, store: Store) -> None:
    with pytest.raises(TargetError, match="name a new folder inside it"):
        store.restore(small_disk)


def test_a_file_above_the_limit_leaves_nothing(tmp_path: Path, store: Store) -> None:
    before = limits.getrlimit(limits.RLIMIT_FSIZE)
    limits.setrlimit(limits.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(RestoreError, match="'large': a file is larger than") as caught:
            store.restore(tmp_path / "out")
    finally:
        limits.setrlimit(limits.RLIMIT_FSIZE, before)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG
    assert names(tmp_path) == []


@contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of root, whom no permission stops."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_folder_that_must_not_be_written_is_a_sentence(store: Store) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        with nobody(), pytest.raises(RestoreError, match=r"permission is denied\. Name a folder that you may write"):
            store.restore(folder / "new" / "out")
        assert names(folder) == []
