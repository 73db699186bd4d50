"""Restores in place, and undos, that are killed: the folder is as it was before, or as it was to be, with the next."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from replay.restoring import folders, inplace, moves
from replay.restoring.failures import RestoreError, TargetError
from replay.restoring.inplace_undo import is_cut_off, recover, undo
from replay.tree import EXECUTABLE, FILE, SUBMODULE, SYMLINK
from tests.integration.restoring import Model, Past, lay, names, photograph

# Killed, or started and stopped, again and again: behind `make chaos`.
pytestmark = pytest.mark.slow

CHANGES = {"mkdir", "rmdir", "unlink", "rename", "symlink", "open", "write", "fsync"}
OWN_CHANGES = {function.__code__ for function in (folders.move, folders.flush)}

BEFORE: Model = {
    "edited": (FILE, b"old"),
    "gone/x": (EXECUTABLE, b"gone"),
    "file-to-folder": (FILE, b"a file"),
    "folder-to-link/x": (FILE, b"x"),
}
AFTER: Model = {
    "edited": (EXECUTABLE, b"new"),
    "file-to-folder/inner": (FILE, b"inner"),
    "folder-to-link": (SYMLINK, b"edited"),
    "vendor/lib": (SUBMODULE, b""),
}

Work = Callable[[], object]


def lay_before(folder: Path) -> Past:
    """The folder as it is before a restore, and what is to be restored."""
    lay(folder, {**BEFORE, "mine": (FILE, b"mine"), "gone-not/mine": (FILE, b"mine")})
    return Past(AFTER, BEFORE)


@contextmanager
def at_step(number: int, strike: Work) -> Iterator[None]:
    """Strikes before the step with this number: a call that changes something on the disk."""
    left = number

    def watch(frame: FrameType, event: str, called: Any) -> None:
        nonlocal left
        is_change = event == "c_call" and called.__module__ == "posix" and called.__name__ in CHANGES
        if is_change or (event == "call" and frame.f_code in OWN_CHANGES):
            left -= 1
            if left == 0:
                strike()

    sys.setprofile(watch)
    try:
        yield
    finally:
        sys.setprofile(None)


def is_struck(number: int, strike: Work, work: Work) -> bool:
    """Whether a process of its own met its end at this step of ``work``; False where it has fewer steps."""
    child = os.fork()
    if child == 0:
        outcome = 1
        try:
            with at_step(number, strike):
                work()
            outcome = 0
        finally:
            # Nothing of the child may go on as the test.
            os._exit(outcome)
    _, status = os.waitpid(child, 0)
    return status != 0


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def press() -> None:
    raise KeyboardInterrupt


def test_a_restore_killed_at_any_step_is_rolled_back_or_done(quick: Path) -> None:
    outcomes = []
    for number in itertools.count(1):
        folder = quick / str(number)
        past = lay_before(folder)
        before = photograph(folder)
        plan = past.plan(folder)
        if not is_struck(number, kill, lambda plan=plan, past=past: _act(plan, past)):  # type: ignore[misc]
            break
        told = recover(folder)
        assert told is None or told.was_cut_off
        after = photograph(folder)
        outcomes.append((after != before, told is not None))
        if after == before:
            past.put(folder)
        assert past.plan(folder).counts["leave"] == len(AFTER)
        undo(folder)
        assert photograph(folder) == before
        assert ".enchanted" not in names(folder)
    # First nothing has begun, then all that was begun is taken back, then all of it is there.
    assert [key for key, _ in itertools.groupby(outcomes)] == [(False, False), (False, True), (True, False)]
    assert outcomes.count((False, True)) > 20


def _act(plan: Any, past: Past) -> None:
    inplace.act_in_place(plan, lambda steps: _read(steps, past), is_forced=False, note="")


def _read(steps: Any, past: Past) -> Any:
    for step in steps:
        yield step, b"" if step.entry.mode == SUBMODULE else past.contents(step.entry.content_hash)


def test_an_undo_killed_at_any_step_is_finished_by_the_next(quick: Path) -> None:
    outcomes = []
    for number in itertools.count(1):
        folder = quick / str(number)
        past = lay_before(folder)
        before = photograph(folder)
        past.put(folder)
        after = photograph(folder)
        if not is_struck(number, kill, lambda folder=folder: undo(folder)):  # type: ignore[misc]
            break
        told = recover(folder)
        outcomes.append(told is not None)
        assert photograph(folder) in (before, after)
        assert told is None or photograph(folder) == before
        if photograph(folder) == after:
            undo(folder)
        assert photograph(folder) == before
    assert [key for key, _ in itertools.groupby(outcomes)] == [False, True, False]


def test_rolling_back_killed_at_any_step_is_finished_by_the_next(quick: Path) -> None:
    # Some line in the midst of the moves; the test above goes through all of them.
    for number in itertools.count(1):
        folder = quick / str(number)
        past = lay_before(folder)
        before = photograph(folder)
        _leave_half_way(folder, past)
        if not is_struck(number, kill, lambda folder=folder: recover(folder)):  # type: ignore[misc]
            break
        recover(folder)
        assert photograph(folder) == before
        past.put(folder)
        undo(folder)
        assert photograph(folder) == before
    assert number > 20


def _leave_half_way(folder: Path, past: Past) -> None:
    """A restore that was killed when half of its moves were made."""
    plan = past.plan(folder)
    half = len(moves.moves_of(plan)) // 2
    child = os.fork()
    if child == 0:
        make = moves.Mover.make

        def killed(self: moves.Mover, number: int) -> None:
            if number == half:
                os.kill(os.getpid(), signal.SIGKILL)
            make(self, number)

        moves.Mover.make = killed  # type: ignore[method-assign]
        _act(plan, past)
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def test_a_restore_that_was_cut_off_stands_in_the_way_of_others_until_it_is_rolled_back(quick: Path) -> None:
    folder = quick / "folder"
    past = lay_before(folder)
    before = photograph(folder)
    _leave_half_way(folder, past)
    assert is_cut_off(folder)
    assert photograph(folder) != before
    with pytest.raises(TargetError, match="was cut off: `enchanted restore --undo` rolls it back"):
        past.put(folder)
    done = undo(folder)
    assert done.was_cut_off
    assert photograph(folder) == before


def test_what_others_changed_after_a_kill_is_kept(quick: Path) -> None:
    folder = quick / "folder"
    past = lay_before(folder)
    before = photograph(folder)
    _leave_half_way(folder, past)
    (folder / "edited").unlink(missing_ok=True)
    (folder / "edited").write_text("my work")
    done = recover(folder)
    assert done is not None
    assert (folder / done.kept["edited"]).read_text() == "my work"
    assert photograph(folder) == before


def test_an_interrupt_at_any_step_leaves_all_or_nothing(quick: Path) -> None:
    outcomes = []
    for number in itertools.count(1):
        folder = quick / str(number)
        past = lay_before(folder)
        before = photograph(folder)
        plan = past.plan(folder)
        if not is_struck(number, press, lambda plan=plan, past=past: _act(plan, past)):  # type: ignore[misc]
            break
        assert not is_cut_off(folder)
        outcomes.append(photograph(folder) != before)
        assert not outcomes[-1] or past.plan(folder).counts["leave"] == len(AFTER)
    assert outcomes == sorted(outcomes)
    assert outcomes.count(False) > 50


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EACCES])
def test_a_failure_at_any_move_leaves_all_as_it_was(quick: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    move = folders.move
    for number in itertools.count():
        folder = quick / str(number)
        past = lay_before(folder)
        before = photograph(folder)
        calls = itertools.count()

        def failing(*arguments: Any, calls: Iterator[int] = calls, at: int = number, **named: Any) -> None:
            if next(calls) == at:
                raise OSError(error, os.strerror(error))
            move(*arguments, **named)

        monkeypatch.setattr(folders, "move", failing)
        try:
            with pytest.raises(RestoreError, match="Nothing was restored into"):
                past.put(folder)
        except pytest.fail.Exception:
            break
        assert photograph(folder) == before
        assert ".enchanted" not in names(folder)
    assert number == 12
