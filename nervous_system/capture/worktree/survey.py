"""Looks at parts of a work tree: what stands there that may not be as it was recorded, and what is gone."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from nervous_system.capture.worktree.files import Signature, git_mode, look
from nervous_system.capture.worktree.ignoring import IgnoreRules
from nervous_system.capture.worktree.pending import Notice
from nervous_system.capture.worktree.shadow import Shadow

GIT = b".git"


@dataclass(slots=True)
class Findings:
    """What a look at the tree found.

    Args:
        changed: paths of files and links that are new, or whose signature is not the recorded one, and that signature.
        gone: recorded paths where nothing stands that could be recorded.
    """

    changed: dict[bytes, Signature] = field(default_factory=dict)
    gone: set[bytes] = field(default_factory=set)


class Surveyor:
    """Compares the disk with the shadow.

    Args:
        root: the work tree.
        shadow: what was recorded.
        rules: what is left out, unless it is recorded already.
        on_folder: called with each folder that is looked into, before it is listed, so that what changes in it from
            then on is noticed.
        on_hidden: called with a path that may not be looked at, and the reason.
    """

    def __init__(
        self,
        root: bytes,
        shadow: Shadow,
        rules: IgnoreRules,
        *,
        on_folder: Callable[[bytes], None],
        on_hidden: Callable[[bytes, str], None],
    ) -> None:
        self._root, self._shadow, self._rules = root, shadow, rules
        self._on_folder, self._on_hidden = on_folder, on_hidden

    def survey(self, notices: Iterable[Notice]) -> Findings:
        """Looks at what was noticed."""
        findings = Findings()
        trees: set[bytes] = set()
        for notice in sorted(notices, key=lambda each: (not each.is_tree, each.path)):
            if not any(folder in trees for folder in _upwards(notice.path)):
                is_tree = self._look(notice, findings)
                if is_tree:
                    trees.add(notice.path)
        return findings

    def full(self, path: bytes) -> bytes:
        """A path of the tree as the system takes it."""
        return self._root + b"/" + path if path else self._root + b"/."

    def _look(self, notice: Notice, findings: Findings) -> bool:
        """Looks at one path; says whether it looked at all that lies below as well."""
        path = notice.path
        if is_gits(path):
            return False
        try:
            status = look(self.full(path)) if self._is_reached(path) else None
        except OSError as error:
            self._on_hidden(path, str(error.strerror))
            return False
        if status is not None and stat.S_ISDIR(status.st_mode):
            if self._shadow.get(path) is not None or self._takes_folder(path):
                self._look_below(path, findings)
            return True
        findings.gone.update(self._shadow.below(path))
        if status is None or not git_mode(status.st_mode):
            if self._shadow.get(path) is not None:
                findings.gone.add(path)
        else:
            self._compare(path, status, findings)
        return False

    def _is_reached(self, path: bytes) -> bool:
        """Whether a path's folders are folders still, and none of them has become a link to another place."""
        folders = reversed(list(_upwards(path)))
        return all((status := look(self.full(each))) is not None and stat.S_ISDIR(status.st_mode) for each in folders)

    def _look_below(self, top: bytes, findings: Findings) -> None:
        unseen = set(self._shadow.below(top))
        if self._shadow.get(top) is not None:
            findings.gone.add(top)
        for path, status in self._walk(top, unseen):
            unseen.discard(path)
            if git_mode(status.st_mode):
                self._compare(path, status, findings)
            elif self._shadow.get(path) is not None:
                findings.gone.add(path)
        findings.gone |= unseen

    def _compare(self, path: bytes, status: os.stat_result, findings: Findings) -> None:
        recorded = self._shadow.get(path)
        signature = Signature.of(status)
        if recorded is not None:
            if recorded.is_racy or recorded.signature != signature:
                findings.changed[path] = signature
        elif not self._rules.ignores_file(path):
            findings.changed[path] = signature

    def _walk(self, top: bytes, unseen: set[bytes]) -> Iterator[tuple[bytes, os.stat_result]]:
        """What is no folder below ``top``; what may not be looked at is taken out of ``unseen``: it may be there."""
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            try:
                self._on_folder(folder)
                with os.scandir(self.full(folder)) as entries:
                    listed = list(entries)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                self._on_hidden(folder, str(error.strerror))
                unseen.difference_update(self._shadow.below(folder))
                continue
            prefix = folder + b"/" if folder else b""
            for entry in listed:
                path = prefix + entry.name
                if entry.name == GIT or self._rules.is_own(path):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if self._takes_folder(path):
                        waiting.append(path)
                else:
                    try:
                        yield path, entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue

    def _takes_folder(self, path: bytes) -> bool:
        return not self._rules.ignores_folder(path) or self._shadow.has_below(path)


def is_gits(path: bytes) -> bool:
    """Whether a path is, or lies in, a repository's own folder."""
    return GIT in path.split(b"/")


def _upwards(path: bytes) -> Iterator[bytes]:
    """A path's folders, the nearest first, down to the root; nothing for the root itself."""
    while path:
        path = path.rpartition(b"/")[0]
        yield path
