"""Whatever is done to a work tree, its record follows: what is recorded is what stands there, told without a flaw."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nervous_system.capture.worktree import survey
from nervous_system.capture.worktree import watcher as watching
from nervous_system.capture.worktree.inotify import Inotify, NoNoticesError
from nervous_system.capture.worktree.pending import Notice
from nervous_system.capture.worktree.shadow import Shadow, ShadowBusyError
from nervous_system.capture.worktree.watcher import TreeOptions, Watcher
from nervous_system.errors import UnavailableError
from nervous_system.events import content_hash
from nervous_system.paths import check_links, check_tree, resource_from_bytes

Model = dict[str, tuple[str, bytes]]


class Replica:
    """The tree that the changes lead to, each of which must fit what stands there."""

    def __init__(self) -> None:
        self.tree: Model = {}
        self.said: list[tuple[str, str]] = []
        self.failures = 0

    def file_changed(self, path: str, content: bytes | None, *, causation_id: str, **change: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise UnavailableError("The disk is full.")
        source = change["renamed_from"] or path
        standing = self.tree.pop(source, None)
        if change["previous_hash"]:
            assert standing is not None
            assert content_hash(standing[1]) == change["previous_hash"]
        if change["previous"] is not None:
            assert content_hash(change["previous"]) == change["previous_hash"]
        if content is not None:
            kind = "link" if change["symlink"] else "program" if change["executable"] else "file"
            self.tree[path] = (kind, content)
            check_links({each: target for each, (what, target) in self.tree.items() if what == "link"})
        check_tree(self.tree)
        verb = "delete" if content is None else "rename" if change["renamed_from"] else "write"
        self.said.append((verb, path))

    def flush(self) -> None:
        pass


@contextmanager
def watched(
    root: Path, replica: Replica, shadow: Path | None = None, *, is_cut_off: bool = False, **options: Any
) -> Iterator[Watcher]:
    kept = Shadow(shadow or root.parent / f"{root.name}.shadow")
    watcher = Watcher(TreeOptions(root, **options), kept, replica)
    watcher.baseline()
    try:
        yield watcher
    finally:
        watcher.abandon() if is_cut_off else watcher.finish()


def standing(root: Path) -> Model:
    found: Model = {}
    for path in root.rglob("*"):
        resource = resource_from_bytes(os.fsencode(path.relative_to(root)))
        if path.is_symlink():
            found[resource] = ("link", os.fsencode(path.readlink()))
        elif path.is_file():
            executable = path.stat().st_mode & stat.S_IXUSR
            found[resource] = ("program" if executable else "file", path.read_bytes())
    return found


PLACES = ("a", "b", "c", "d/a", "d/b", "d/e/a", "f/a", "f/e/b")
place = st.sampled_from(PLACES)
folder = st.sampled_from(("d", "d/e", "f", "f/e", "g", "a"))
content = st.sampled_from((b"", b"one\n", b"one\ntwo\nthree\n", b"one\ntwo\nfor\n!\n", b"\0\xff" * 100, b"x" * 300_000))
deed = st.one_of(
    st.tuples(st.just("write"), place, content),
    st.tuples(st.just("append"), place, content),
    st.tuples(st.just("replace"), place, content),
    st.tuples(st.just("link"), place, st.sampled_from((b"a", b"b", b"zzz"))),
    st.tuples(st.just("move"), place, place),
    st.tuples(st.just("move"), folder, folder),
    st.tuples(st.just("copy"), place, place),
    st.tuples(st.just("remove"), place, st.none()),
    st.tuples(st.just("remove_tree"), folder, st.none()),
    st.tuples(st.just("mode"), place, st.sampled_from((0o644, 0o755))),
    st.tuples(st.just("settle"), st.none(), st.none()),
    st.tuples(st.just("work"), st.none(), st.none()),
)


def do(root: Path, what: str, where: str, with_: Any) -> None:
    path = root / where
    if what not in {"remove", "remove_tree", "mode"}:
        path.parent.mkdir(parents=True, exist_ok=True)
    match what:
        case "write":
            path.write_bytes(with_)
        case "append":
            with path.open("ab") as file:
                file.write(with_)
        case "replace":
            fresh = path.with_name(".fresh")
            fresh.write_bytes(with_)
            fresh.replace(path)
        case "link":
            path.symlink_to(os.fsdecode(with_))
        case "move":
            path.rename(root / with_)
        case "copy":
            shutil.copy2(path, root / with_, follow_symlinks=False)
        case "remove":
            path.unlink()
        case "remove_tree":
            shutil.rmtree(path)
        case "mode":
            path.chmod(with_)


@pytest.mark.parametrize("notices", [True, False])
@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(deed, min_size=1, max_size=12), min_size=1, max_size=3))
def test_the_record_follows_the_tree(notices: bool, runs: list[list[tuple[str, Any, Any]]]) -> None:
    replica = Replica()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name, "tree")
        root.mkdir()
        for deeds in runs:
            with watched(root, replica, notices=notices) as watcher:
                assert replica.tree == standing(root)
                for what, where, with_ in deeds:
                    if what == "settle":
                        watcher.settle()
                        assert replica.tree == standing(root)
                    elif what == "work":
                        watcher.work()
                    else:
                        try:
                            do(root, what, where, with_)
                        except (OSError, shutil.Error):
                            continue
                watcher.settle()
                assert replica.tree == standing(root)
            # What is done while nobody watches is found by the next to start.
            do(root, "write", "while/away", str(len(replica.said)).encode())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


def test_a_restart_records_only_what_changed_meanwhile(root: Path) -> None:
    replica = Replica()
    for name in ("a", "b", "c"):
        (root / name).write_text(name * 10)
    with watched(root, replica):
        pass
    replica.said.clear()
    (root / "b").write_text("other")
    (root / "c").unlink()
    with watched(root, replica):
        pass
    assert replica.said == [("delete", "c"), ("write", "b")]


def test_after_a_kill_nothing_that_was_recorded_is_left_standing_and_no_claim_is_made(root: Path) -> None:
    replica = Replica()
    (root / "old").write_text("old")
    with watched(root, replica):
        pass
    with watched(root, replica, is_cut_off=True) as watcher:
        (root / "old").write_text("new")
        (root / "brief").write_text("was here")
        watcher.settle()
    assert replica.tree.keys() == {"old", "brief"}
    (root / "brief").unlink()
    with watched(root, replica):
        assert replica.tree == standing(root)
    assert replica.said[-2:] == [("write", "old"), ("delete", "brief")]


def test_moves_are_told_as_moves(root: Path) -> None:
    replica = Replica()
    (root / "d").mkdir()
    for number in range(20):
        (root / "d" / str(number)).write_text(f"number {number}\n")
    (root / "text").write_text("".join(f"{number}\n" for number in range(50)))
    with watched(root, replica) as watcher:
        replica.said.clear()
        (root / "d").rename(root / "e")
        watcher.settle()
        assert sorted(replica.said) == sorted(("rename", f"e/{number}") for number in range(20))
        replica.said.clear()
        # Moved and edited in one go, by its inode; a copy that is removed, by its content.
        (root / "text").rename(root / "moved")
        with (root / "moved").open("a") as file:
            file.write("more\n")
        shutil.copyfile(root / "e/7", root / "seven")
        (root / "e/7").unlink()
        watcher.settle()
        assert sorted(replica.said) == [("rename", "moved"), ("rename", "seven")]
        replica.said.clear()
        (root / "seven").chmod(0o755)
        watcher.settle()
        assert replica.said == [("write", "seven")]
        assert replica.tree == standing(root)


def test_what_no_machine_could_restore_is_left_out_and_told(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    replica = Replica()
    for name in ("Readme", "ok", "a:b", "end.", "new\nline", "aux.txt"):
        (root / name).write_text(name)
    os.mkfifo(root / "fifo")
    (root / ".git").mkdir()
    (root / ".git/config").write_text("never")
    (root / "out").symlink_to("../elsewhere")
    (root / "etc").symlink_to("/etc")
    with watched(root, replica, max_file_bytes=100) as watcher:
        assert replica.tree.keys() == {"Readme", "ok"}
        (root / "README").write_text("same name to some")
        (root / "huge").write_bytes(bytes(101))
        watcher.settle()
        assert replica.tree.keys() == {"Readme", "ok"}
        told = [record.message for record in caplog.records]
        for name in ("a:b", "end.", "new", "aux.txt", "out", "etc", "README", "huge"):
            assert any(name in sentence for sentence in told), name
        (root / "Readme").unlink()
        watcher.settle()
        # The name is free again.
        assert replica.tree.keys() == {"README", "ok"}
        (root / "ok").write_bytes(bytes(101))
        watcher.settle()
        assert replica.tree.keys() == {"README"}
    assert not any("fifo" in sentence or "config" in sentence for sentence in told)


def test_names_that_are_no_text_are_recorded_as_they_are(root: Path) -> None:
    replica = Replica()
    with watched(root, replica) as watcher:
        Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9")).write_bytes(b"latin")
        (root / "файл").mkdir()
        (root / "файл/naïve 🙂").write_bytes(b"text")
        watcher.settle()
        assert replica.tree == {r"caf\xe9": ("file", b"latin"), "файл/naïve 🙂": ("file", b"text")}


def test_rules_that_change_take_effect_at_once_and_leave_alone_what_is_recorded(root: Path) -> None:
    replica = Replica()
    (root / ".gitignore").write_text("build/\n*.log\n")
    (root / "build").mkdir()
    (root / "build/out").write_text("made")
    (root / "kept.txt").write_text("kept")
    with watched(root, replica) as watcher:
        assert replica.tree.keys() == {".gitignore", "kept.txt"}
        (root / ".gitignore").write_text("*.txt\n")
        watcher.settle()
        assert replica.tree.keys() == {".gitignore", "kept.txt", "build/out"}
        (root / "kept.txt").write_text("changed")
        (root / "new.txt").write_text("new")
        (root / "build/out").unlink()
        watcher.settle()
        assert replica.tree.keys() == {".gitignore", "kept.txt"}
        assert replica.tree["kept.txt"] == ("file", b"changed")
    with watched(root, Replica(), shadow=root.parent / "other", also_ignored=True) as watcher:
        assert watcher.counts.written == 3


def test_a_folder_that_becomes_a_link_is_not_followed(root: Path) -> None:
    replica = Replica()
    (root / "d").mkdir()
    (root / "d/x").write_text("x")
    elsewhere = root.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x").write_text("secret")
    with watched(root, replica) as watcher:
        (root / "d/x").write_text("y")
        shutil.rmtree(root / "d")
        (root / "d").symlink_to("../elsewhere")
        watcher.settle()
        assert replica.tree == {}
        assert replica.said == [("write", "d/x"), ("delete", "d/x")]


def test_where_notices_run_out_the_tree_is_scanned_and_the_log_says_so(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Inotify, folder: bytes) -> None:
        if folder == b"d2":
            raise NoNoticesError("The kernel gives no more notices.")
        watch(_, folder)

    watch: Callable[[Inotify, bytes], None] = Inotify.watch
    monkeypatch.setattr(Inotify, "watch", refuse)
    replica = Replica()
    with watched(root, replica) as watcher:
        assert watcher.has_notices
        for name in ("d1", "d2", "d3"):
            (root / name).mkdir()
            (root / name / "x").write_text(name)
        watcher.settle()
        assert not watcher.has_notices
        assert "scanned" in caplog.text
        (root / "d3/x").write_text("later")
        watcher.settle()
        assert replica.tree == standing(root)


def test_a_folder_that_is_moved_out_is_not_watched_any_longer(root: Path) -> None:
    inotify = Inotify(os.fsencode(root))
    (root / "d/e").mkdir(parents=True)
    for folder in (b"", b"d", b"d/e"):
        inotify.watch(folder)
    (root / "d").rename(root.parent / "out")
    assert Notice(b"d") in inotify.read()
    (root.parent / "out/e/x").touch()
    assert (inotify.read(), len(inotify)) == ([], 1)
    inotify.close()


def test_an_overflow_of_the_kernels_queue_loses_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replica = Replica()
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    (root / "d").mkdir()
    with watched(root, replica) as watcher:
        (root / "before").write_text("x")
        for number in range(limit // 2 + 10):
            # Two names in turns: notices that are the same are made one.
            (root / "d" / str(number % 2)).touch()
        (root / "after").write_text("y")
        watcher.settle()
        assert replica.tree == standing(root)


def test_a_recording_that_fails_is_tried_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "RETRY_S", 0.0)
    replica = Replica()
    with watched(root, replica) as watcher:
        (root / "a").write_text("a")
        replica.failures = 1
        watcher.settle()
        assert replica.tree == {}
        watcher.settle()
        assert replica.tree == standing(root)


def test_two_cannot_record_one_tree(root: Path) -> None:
    with watched(root, Replica()), pytest.raises(ShadowBusyError), watched(root, Replica()):
        pass


def test_the_shadow_knows_what_lies_in_a_folder(tmp_path: Path) -> None:
    assert survey.is_gits(b"a/.git/x")
    shadow = Shadow(tmp_path / "s")
    assert list(shadow.below(b"")) == []
    shadow.close()
