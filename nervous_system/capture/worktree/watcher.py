"""Keeps watch over a work tree: the kernel's notices, and scans for what they miss or where there are none."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nervous_system.capture.worktree.ignoring import IgnoreRules
from nervous_system.capture.worktree.inotify import Inotify, NoNoticesError
from nervous_system.capture.worktree.naming import resource_of
from nervous_system.capture.worktree.pending import Notice, Pending
from nervous_system.capture.worktree.shadow import Shadow
from nervous_system.capture.worktree.survey import Surveyor
from nervous_system.capture.worktree.tracker import MAX_FILE_BYTES, Counts, FileRecorder, Tracker
from nervous_system.errors import EnchantedError

logger = logging.getLogger(__name__)

# Beside notices a scan is made this often, and takes at most this share of the time.
SCAN_EVERY_S, SCAN_SHARE = 60.0, 0.01
# Without notices.
LONE_SCAN_EVERY_S, LONE_SCAN_SHARE = 0.25, 0.2
SAVE_EVERY_S = 1.0
RETRY_S = 2.0
# How often notices are fetched at most: the kernel makes one of several that are the same, as long as they wait.
FETCH_EVERY_S = 0.005
_EVERYTHING = Notice(b"", is_tree=True)


@dataclass(frozen=True, slots=True)
class TreeOptions:
    """Which work tree, and how it is recorded.

    Args:
        root: the folder.
        also_ignored: whether what git ignores is recorded as well.
        max_file_bytes: larger files are left out.
        notices: whether the kernel is asked for notices.
        own: folders that are never recorded.
    """

    root: Path
    also_ignored: bool = False
    max_file_bytes: int = MAX_FILE_BYTES
    notices: bool = True
    own: tuple[Path, ...] = ()

    def own_paths(self) -> list[bytes]:
        """Those of ``own`` that lie in the work tree, and the folder that restoring keeps there."""
        inside = [each for each in self.own if each != self.root and each.is_relative_to(self.root)]
        return [b".enchanted", *(os.fsencode(each.relative_to(self.root)) for each in inside)]


class Watcher:
    """One work tree under watch, by one thread.

    Args:
        options: which tree.
        shadow: what was recorded of it; closed by ``finish``.
        recorder: takes the changes; its ``flush`` returns once they are on disk.
    """

    def __init__(self, options: TreeOptions, shadow: Shadow, recorder: FileRecorder) -> None:
        root = os.fsencode(options.root)
        self._root, self._shadow, self._recorder = root, shadow, recorder
        self._pending = Pending()
        self._inotify = self._notices() if options.notices else None
        rules = IgnoreRules(self._read, also_ignored=options.also_ignored, own=options.own_paths())
        surveyor = Surveyor(root, shadow, rules, on_folder=self._watch, on_hidden=self._tell_hidden)
        self._tracker = Tracker(
            shadow, surveyor, rules, recorder=recorder, tell=logger.warning, max_file_bytes=options.max_file_bytes
        )
        self._hidden: set[bytes] = set()
        self._held_back_s: dict[bytes, float] = {}
        self._next_scan_s = self._next_save_s = 0.0

    @property
    def counts(self) -> Counts:
        """What was recorded so far."""
        return self._tracker.counts

    @property
    def has_notices(self) -> bool:
        """Whether the kernel tells of changes; where it does not, scans find them."""
        return self._inotify is not None

    def follow(self, causation_id: str) -> None:
        """What changes from now on follows this event."""
        self._tracker.causation_id = causation_id

    def baseline(self) -> None:
        """Records what the tree is, as far as that is not recorded; from here on nothing is missed."""
        began_s = time.monotonic()
        self._tracker.baseline()
        self._save()
        self._plan_scan(time.monotonic() - began_s)

    def fileno(self) -> int | None:
        """Can be read when something was noticed; None where there are no notices."""
        return None if self._inotify is None else self._inotify.fileno()

    def due_s(self) -> float:
        """When ``work`` next has something to do if nothing is noticed, by the monotonic clock."""
        due_s = self._pending.due_s()
        return min(self._next_scan_s, self._next_save_s or self._next_scan_s, due_s or self._next_scan_s)

    def work(self) -> None:
        """Does what is due."""
        self._fetch()
        now_s = time.monotonic()
        if now_s >= self._next_scan_s:
            self._scan()
        elif notices := self._pending.take(now_s):
            self._look(notices, is_last=False)
        if self._next_save_s and time.monotonic() >= self._next_save_s:
            self._save()

    def settle(self) -> None:
        """Returns once all that has changed by now is recorded."""
        self._fetch()
        if self._inotify is None:
            self._look([_EVERYTHING], is_last=True)
        elif self._pending:
            self._look(self._pending.take_all(), is_last=True)

    def look_at(self, path: bytes, causation_id: str = "") -> None:
        """Records what stands at a path now, following an event; raises PathError where it must not be recorded."""
        resource_of(path)
        self._fetch()
        self._pending.discard(path)
        usual = self._tracker.causation_id
        self._tracker.causation_id = causation_id or usual
        try:
            self._look([Notice(path)], is_last=True)
        finally:
            self._tracker.causation_id = usual

    def finish(self) -> None:
        """Records the last state and ends the watch."""
        self._fetch()
        self._pending.take_all()
        self._tracker.look([_EVERYTHING], is_last=True)
        self._recorder.flush()
        self._shadow.close()
        self._close_notices()

    def abandon(self) -> None:
        """Ends the watch where recording fails; the next one compares all again."""
        self._shadow.abandon()
        self._close_notices()

    def _look(self, notices: Iterable[Notice], *, is_last: bool) -> None:
        try:
            again = self._tracker.look(notices, is_last=is_last)
        except (EnchantedError, OSError) as error:
            logger.error("Recording fails, and is tried again: %s", error)
            again = {_EVERYTHING: RETRY_S}
        now_s = time.monotonic()
        for notice, wait_s in again.items():
            self._held_back_s[notice.path] = now_s + wait_s
            self._pending.add(notice, now_s, not_before_s=now_s + wait_s)
        if not self._next_save_s:
            self._next_save_s = now_s + SAVE_EVERY_S

    def _scan(self) -> None:
        began_s = time.monotonic()
        self._look([_EVERYTHING], is_last=False)
        self._plan_scan(time.monotonic() - began_s)

    def _plan_scan(self, took_s: float) -> None:
        every_s, share = (SCAN_EVERY_S, SCAN_SHARE) if self._inotify else (LONE_SCAN_EVERY_S, LONE_SCAN_SHARE)
        self._next_scan_s = time.monotonic() + max(every_s, took_s / share)

    def _save(self) -> None:
        self._next_save_s = 0.0
        try:
            self._recorder.flush()
            self._shadow.save()
        except EnchantedError as error:
            logger.error("What was recorded is not on disk yet: %s", error)
            self._next_save_s = time.monotonic() + RETRY_S

    def _fetch(self) -> None:
        if self._inotify is None:
            return
        now_s = time.monotonic()
        for notice in self._inotify.read():
            self._pending.add(notice, now_s, not_before_s=self._held_back_s.pop(notice.path, 0.0))

    def _notices(self) -> Inotify | None:
        try:
            return Inotify(self._root)
        except NoNoticesError as error:
            self._tell_scanning(error)
            return None

    def _watch(self, folder: bytes) -> None:
        if self._inotify is None:
            return
        try:
            self._inotify.watch(folder)
        except NoNoticesError as error:
            self._tell_scanning(error)
            self._close_notices()
            self._next_scan_s = 0.0

    def _close_notices(self) -> None:
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def _tell_scanning(self, error: NoNoticesError) -> None:
        logger.warning("%s Until then the work tree is scanned again and again, which finds changes later.", error)

    def _tell_hidden(self, path: bytes, reason: str) -> None:
        if path not in self._hidden:
            self._hidden.add(path)
            logger.warning("Left out: %r: %s.", path.decode("utf-8", "backslashreplace"), reason)

    def _read(self, path: bytes) -> bytes | None:
        try:
            return Path(os.fsdecode(self._root + b"/" + path)).read_bytes()
        except OSError:
            return None
