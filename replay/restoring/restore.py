"""Acts on a plan. A new folder is written beside the target, every content checked, and renamed into place once."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from secrets import token_hex
from types import TracebackType

from nervous_system.paths import resource_to_bytes
from replay.restoring import folders
from replay.restoring.failures import RestoreError, TargetError, reason
from replay.restoring.inplace import ReadAhead, act_in_place
from replay.restoring.plan import Plan
from replay.restoring.reading import entry_of, read
from replay.restoring.steps import Step
from replay.restoring.targets import check_target
from replay.tree import EXECUTABLE, SUBMODULE, SYMLINK, Contents, Entry, check_total

# Paths written so far, and paths in all.
Progress = Callable[[int, int], None]

ATTEMPTS = 10


class Staging:
    """A new folder beside the target that takes the target's place in one step, or goes without a trace.

    It is locked while its process lives, so that a later restore knows what a killed one left and removes it.

    Args:
        target: where the tree is to stand; absolute, and new or an empty folder.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        # Leaves room for what is added to a name that is as long as a name may be.
        self._prefix = f".{os.fsdecode(os.fsencode(target.name)[:200])}.enchanted-"
        self._name = ""
        self._fds = ExitStack()
        self._new_parents: list[Path] = []
        self._published = False

    def __enter__(self) -> Staging:
        try:
            self._make()
            return self
        except BaseException as error:
            self._discard()
            if isinstance(error, OSError):
                raise self._refusal(error) from error
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._discard()

    def write(self, resource: str, entry: Entry, content: bytes) -> None:
        """Writes one entry of a tree, and the folders it stands in; raises RestoreError."""
        folder, _, name = resource_to_bytes(resource).rpartition(b"/")
        try:
            folder_fd = self._walk.enter(folder)
            if entry.mode == SUBMODULE:
                folders.make_folder(name, folder_fd=folder_fd)
            elif entry.mode == SYMLINK:
                folders.write_link(name, content, folder_fd=folder_fd)
            else:
                folders.write_file(name, content, executable=entry.mode == EXECUTABLE, folder_fd=folder_fd)
        except OSError as error:
            raise self._refusal(error, f" at {resource!r}") from error

    def publish(self) -> None:
        """Puts all of it on the disk, then in the target's place; raises TargetError, RestoreError."""
        try:
            self._walk.close()
            self._take_over_mode()
            folders.flush(self._root_fd)
            os.rename(self._name, self.target.name, src_dir_fd=self._parent_fd, dst_dir_fd=self._parent_fd)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise TargetError(
                    f"{self.target} was filled by something else meanwhile: name a new folder."
                ) from error
            raise self._refusal(error) from error
        self._published = True
        self._confirm()

    def _make(self) -> None:
        parent = self.target.parent
        self._new_parents = [folder for folder in (parent, *parent.parents) if not folder.exists()]
        parent.mkdir(parents=True, exist_ok=True)
        self._parent_fd = self._open(os.fspath(parent), None)
        folders.remove_abandoned(re.compile(re.escape(self._prefix) + "[0-9a-f]{16}"), parent_fd=self._parent_fd)
        if not any(self._make_root() for _ in range(ATTEMPTS)):
            raise FileExistsError(errno.EEXIST, "other restores take every new folder for abandoned")
        self._mode = stat.S_IMODE(os.fstat(self._root_fd).st_mode)
        # Nobody else looks into a tree that is half there.
        os.fchmod(self._root_fd, 0o700)
        self._walk = folders.Walk(self._root_fd)
        self._fds.callback(self._walk.close)

    def _make_root(self) -> bool:
        """False where another restore took the new folder for abandoned, in the moment before it was locked."""
        self._name = self._prefix + token_hex(8)
        os.mkdir(self._name, dir_fd=self._parent_fd)
        try:
            self._root_fd = self._open(self._name, self._parent_fd)
        except FileNotFoundError:
            return False
        return folders.lock(self._root_fd) is not False and os.fstat(self._root_fd).st_nlink > 0

    def _open(self, name: str, parent_fd: int | None) -> int:
        folder_fd = os.open(name, folders.FOLDER_FLAGS, dir_fd=parent_fd)
        self._fds.callback(os.close, folder_fd)
        return folder_fd

    def _take_over_mode(self) -> None:
        """The new folder is as open to others as an empty one that it replaces."""
        try:
            replaced = os.stat(self.target.name, dir_fd=self._parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            os.fchmod(self._root_fd, self._mode)
            return
        with suppress(PermissionError):
            os.fchown(self._root_fd, replaced.st_uid, replaced.st_gid)
        os.fchmod(self._root_fd, stat.S_IMODE(replaced.st_mode))

    def _refusal(self, error: OSError, where: str = "") -> RestoreError:
        return RestoreError(f"Nothing was restored into {self.target}{where}: {reason(error)}.")

    def _confirm(self) -> None:
        try:
            os.fsync(self._parent_fd)
        except OSError as error:
            raise RestoreError(
                f"{self.target} is restored, but the disk does not confirm that it will outlast a power cut: "
                f"{error.strerror}. Check the disk."
            ) from error

    def _discard(self) -> None:
        """Removes what was made, where it did not take the target's place, and frees the descriptors."""
        if self._name and not self._published:
            # After a rename the name is nobody's, should an interrupt have come in between.
            self._fds.callback(folders.remove, self._name, parent_fd=self._parent_fd)
        self._fds.close()
        for folder in () if self._published else self._new_parents:
            with suppress(OSError):
                folder.rmdir()


def act(
    plan: Plan,
    contents: Contents,
    progress: Progress | None = None,
    *,
    readers: int = 1,
    is_forced: bool = False,
    note: str = "",
) -> None:
    """Restores what ``plan`` says. Whatever ends it early, an interrupt included, the target stays as it was.

    Args:
        plan: made by ``plan_restore``.
        contents: gives what a hash names; each content is checked against its hash. Its errors are passed on.
        progress: told how far the restore is, after each path.
        readers: threads that call ``contents``, which pays where it waits for a server; 1 calls it from this one.
        is_forced: whether what was never recorded is replaced in a folder in use; it is kept for an undo.
        note: what is restored, in words for an undo.

    Raises:
        TargetError: the target has changed since it was planned.
        DriftError: something in the target was never recorded, or is in the way.
        TreeError: a content is not what the tree says, or all are more than may be written.
        RestoreError: something could not be written.
    """

    def silent(steps: Sequence[Step]) -> Generator[tuple[Step, bytes], None, None]:
        return read(steps, contents, readers)

    read_ahead = _telling(silent, progress) if progress else silent
    if plan.is_in_place:
        act_in_place(plan, read_ahead, is_forced=is_forced, note=note)
    else:
        _act_at_once(plan, read_ahead)


def _telling(read_ahead: ReadAhead, progress: Progress) -> ReadAhead:
    def told(steps: Sequence[Step]) -> Generator[tuple[Step, bytes], None, None]:
        with closing(read_ahead(steps)) as contents_read:
            for done, (step, content) in enumerate(contents_read, start=1):
                yield step, content
                progress(done, len(steps))

    return told


def _act_at_once(plan: Plan, read_ahead: ReadAhead) -> None:
    links = [step for step in plan.steps if entry_of(step).mode == SYMLINK]
    # Links come last: while anything is written, there is none to be led astray by.
    steps = [*(step for step in plan.steps if entry_of(step).mode != SYMLINK), *links] if links else plan.steps
    total_bytes = 0
    with Staging(check_target(plan.target)) as staging, closing(read_ahead(steps)) as contents_read:
        for step, content in contents_read:
            total_bytes += len(content)
            check_total(total_bytes, plan.limits)
            staging.write(step.resource, entry_of(step), content)
        staging.publish()
