"""Writes a planned tree: beside the target first, every content checked, then renamed into place once."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from secrets import token_hex
from types import TracebackType

from nervous_system.errors import EnchantedError
from nervous_system.paths import resource_to_bytes
from replay import folders
from replay.plan import Plan, Step, TargetError, check_target
from replay.tree import EXECUTABLE, SUBMODULE, SYMLINK, Contents, Entry, check_total, verified_content

# Paths written so far, and paths in all.
Progress = Callable[[int, int], None]

ATTEMPTS = 10

_REASONS = {
    errno.ENOSPC: "the disk is full. Free some space",
    errno.EDQUOT: "your disk quota is used up. Free some space",
    errno.EFBIG: "a file is larger than the file system or a limit of this process allows. Name a folder elsewhere",
    errno.EACCES: "permission is denied. Name a folder that you may write",
    errno.EPERM: "permission is denied. Name a folder that you may write",
    errno.EEXIST: "something stands there already. See what else writes there, or name a folder elsewhere",
    errno.EROFS: "the file system is read-only. Name a folder elsewhere",
    errno.ENAMETOOLONG: "a name is too long for the file system. Name a folder elsewhere, or a shorter one",
    errno.ELOOP: "a link stands where a folder should be. See what else writes there",
    errno.ENOTDIR: "a link or a file stands where a folder should be. See what else writes there",
}


class RestoreError(EnchantedError):
    """A tree could not be written; nothing of it is left at the target."""


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
        reason = _REASONS.get(error.errno or 0, f"{error.strerror}. Try again, or name a folder elsewhere")
        return RestoreError(f"Nothing was restored into {self.target}{where}: {reason}.")

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


def act(plan: Plan, contents: Contents, progress: Progress | None = None, *, readers: int = 1) -> None:
    """Restores what ``plan`` says. Whatever ends it early, an interrupt included, the target stays as it was.

    Args:
        plan: made by ``plan_restore``.
        contents: gives what a hash names; each content is checked against its hash. Its errors are passed on.
        progress: told how far the restore is, after each path.
        readers: threads that call ``contents``, which pays where it waits for a server; 1 calls it from this one.

    Raises:
        TargetError: the target has changed since it was planned.
        TreeError: a content is not what the tree says, or all are more than may be written.
        RestoreError: the disk refused.
    """
    # Links come last: while anything is written, there is none to be led astray by.
    steps = sorted(plan.steps, key=lambda step: _entry(step).mode == SYMLINK)
    total_bytes = 0
    with Staging(check_target(plan.target)) as staging, closing(_read(steps, contents, readers)) as read:
        for done, (step, content) in enumerate(read, start=1):
            total_bytes += len(content)
            check_total(total_bytes, plan.limits)
            staging.write(step.resource, _entry(step), content)
            if progress:
                progress(done, len(steps))
        staging.publish()


def _entry(step: Step) -> Entry:
    assert step.entry is not None, step
    return step.entry


def _content(step: Step, contents: Contents) -> bytes:
    entry = _entry(step)
    # A submodule is an empty folder, as `git archive` has it.
    return b"" if entry.mode == SUBMODULE else verified_content(step.resource, entry.content_hash, contents)


def _read(steps: list[Step], contents: Contents, readers: int) -> Generator[tuple[Step, bytes], None, None]:
    """Each step with its content, in order, read ahead by as many as there are readers."""
    if readers <= 1:
        yield from ((step, _content(step, contents)) for step in steps)
        return
    ahead: deque[tuple[Step, Future[bytes]]] = deque()
    pool = ThreadPoolExecutor(readers, thread_name_prefix="contents")
    try:
        for step in steps:
            ahead.append((step, pool.submit(_content, step, contents)))
            if len(ahead) > 2 * readers:
                first, content = ahead.popleft()
                yield first, content.result()
        for first, content in ahead:
            yield first, content.result()
    finally:
        pool.shutdown(cancel_futures=True)
