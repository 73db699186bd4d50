"""Records what changes in a work tree: looks where something was noticed, reads it, and says what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from nervous_system.capture.worktree import renames
from nervous_system.capture.worktree.files import Entry, Reading, look, read
from nervous_system.capture.worktree.ignoring import IgnoreRules, is_rules
from nervous_system.capture.worktree.naming import Names, resource_of
from nervous_system.capture.worktree.pending import Notice
from nervous_system.capture.worktree.recent import Recent
from nervous_system.capture.worktree.shadow import Shadow
from nervous_system.capture.worktree.survey import Findings, Surveyor
from nervous_system.contract import EXECUTABLE_MODE, SYMLINK_MODE
from nervous_system.errors import ContractError
from nervous_system.paths import PathError

MAX_FILE_BYTES = 256 * 1024 * 1024
# A file that changes whenever it is read is recorded as it was read after so many times.
PATIENCE = 5
# What is read again and again takes at most this share of the time.
READING_SHARE = 0.1
_EVERYTHING = Notice(b"", is_tree=True)


class FileRecorder(Protocol):
    """What capturing needs of a recorder; see ``nervous_system.recorder.Recorder``."""

    def file_changed(
        self,
        path: str,
        content: bytes | None,
        *,
        previous: bytes | None,
        previous_hash: str,
        renamed_from: str,
        executable: bool,
        symlink: bool,
        causation_id: str,
    ) -> object: ...

    def flush(self) -> None: ...


@dataclass(slots=True)
class Counts:
    """What was recorded so far: files written (moved ones among them) and deleted, and what is left out, and why."""

    written: int = 0
    renamed: int = 0
    deleted: int = 0
    left_out: dict[bytes, str] = field(default_factory=dict)

    @property
    def changes(self) -> int:
        """All that was recorded."""
        return self.written + self.deleted


class Tracker:
    """Keeps a project's record in step with a work tree.

    Args:
        shadow: what was recorded.
        surveyor: compares the disk with it.
        rules: read anew when one of their files changes.
        recorder: takes the changes.
        tell: is given a sentence about what cannot be recorded.
        max_file_bytes: larger files are left out.
    """

    def __init__(
        self,
        shadow: Shadow,
        surveyor: Surveyor,
        rules: IgnoreRules,
        *,
        recorder: FileRecorder,
        tell: Callable[[str], None],
        max_file_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        self._shadow, self._surveyor, self._rules = shadow, surveyor, rules
        self._recorder, self._tell, self._max_file_bytes = recorder, tell, max_file_bytes
        self._recent = Recent()
        self._names = Names()
        self._unsettled: dict[bytes, int] = {}
        # Left out because of another's name, or of where other links lead.
        self._in_the_way: set[bytes] = set()
        self.counts = Counts()
        self.causation_id = ""
        """The event that the next changes follow."""
        # What was recorded last before a crash may be missing in the shadow: claims about it would contradict it.
        self._claims = not shadow.was_cut_off
        for path in shadow:
            entry = shadow.get(path)
            self._names.add(resource_of(path), b"" if entry and entry.mode == SYMLINK_MODE else None)
        self._learn_links()

    def baseline(self) -> None:
        """Records what the work tree has become since the shadow was closed; all of it, where there is none."""
        self._record(self._surveyor.survey([_EVERYTHING]), is_last=True)
        if not self._claims:
            for path in sorted(self._shadow.intended):
                if self._shadow.get(path) is None and look(self._surveyor.full(path)) is None:
                    self._record_deletion(resource_of(path), None)
        self._claims = True

    def look(self, notices: Iterable[Notice], *, is_last: bool = False) -> dict[Notice, float]:
        """Records what has changed where something was noticed.

        Args:
            notices: where to look.
            is_last: whether to record what changes while it is read as it is.

        Returns:
            Where to look again, each with how long to wait before, seconds.
        """
        findings = self._surveyor.survey(notices)
        if any(map(is_rules, findings.changed.keys() | findings.gone)):
            self._rules.forget()
            findings = self._surveyor.survey([_EVERYTHING])
        again = self._record(findings, is_last=is_last)
        if findings.gone and self._in_the_way:
            # What stood in the way of another's name may be gone.
            freed, self._in_the_way = self._in_the_way, set()
            again |= self._record(self._surveyor.survey(map(Notice, freed)), is_last=is_last)
        return again

    def _record(self, findings: Findings, *, is_last: bool) -> dict[Notice, float]:
        ready: dict[bytes, Reading] = {}
        pairs: dict[bytes, bytes] = {}
        if findings.gone:
            ready = self._read_movable(findings)
            pairs = renames.pair(self._sides(findings, ready), lambda old, new: self._is_similar(old, ready[new]))
        deleted, pairs = renames.in_order(findings.gone, pairs)
        if findings.gone or findings.changed:
            self._shadow.intend(findings.gone | findings.changed.keys())
        for path in deleted:
            self._delete(path)
        again: dict[Notice, float] = {}
        for path in [*pairs, *sorted(findings.changed.keys() - pairs.keys())]:
            wait_s = self._take(path, ready.pop(path, None), pairs.get(path), is_last=is_last)
            if wait_s is not None:
                again[Notice(path)] = wait_s
        return again

    def _take(self, path: bytes, reading: Reading | None, source: bytes | None, *, is_last: bool) -> float | None:
        """Records what stands at a path; gives how long to wait before the next look where one is needed."""
        began_s = time.monotonic()
        try:
            resource = resource_of(path)
            self._names.check(resource, without=resource_of(source) if source else "")
            reading = reading or self._read(path)
            if reading is None:
                self._delete(source or path)
                return None
            if not reading.is_whole and not is_last and not self._is_patience_over(path):
                return max(0.02, (time.monotonic() - began_s) / READING_SHARE)
            self._write(path, resource, reading, source)
        except ContractError as error:
            if isinstance(error, PathError):
                self._in_the_way.add(path)
            self._leave_out(path, error)
            self._delete(source or path)
            return None
        except OSError as error:
            self._leave_out(path, error)
            return None
        self._unsettled.pop(path, None)
        self.counts.left_out.pop(path, None)
        return None if reading.is_whole else max(0.1, (time.monotonic() - began_s) / READING_SHARE)

    def _write(self, path: bytes, resource: str, reading: Reading, source: bytes | None) -> None:
        entry, before = reading.entry, self._shadow.get(source or path)
        is_link = entry.mode == SYMLINK_MODE
        if before is not None and source is None and (before.digest, before.mode) == (entry.digest, entry.mode):
            self._shadow.put(path, entry)
            self._recent.put(entry.digest, reading.content)
            return
        if is_link:
            self._names.check_link(resource, reading.content)
        claimed = before if self._claims else None
        self._recorder.file_changed(
            resource,
            reading.content,
            previous=self._previous(claimed, reading),
            previous_hash=claimed.digest if claimed else "",
            renamed_from=resource_of(source) if source else "",
            executable=entry.mode == EXECUTABLE_MODE,
            symlink=is_link,
            causation_id=self.causation_id,
        )
        self._forget(source or path)
        self._shadow.put(path, entry)
        self._names.add(resource, reading.content if is_link else None)
        self._recent.put(entry.digest, reading.content)
        self.counts.written += 1
        self.counts.renamed += source is not None

    def _previous(self, claimed: Entry | None, reading: Reading) -> bytes | None:
        # Between a file and a link a diff says nothing; the recorder knows by its hash what it recorded of a file.
        if claimed is None or SYMLINK_MODE in (claimed.mode, reading.entry.mode):
            return None
        return reading.content if claimed.digest == reading.entry.digest else self._recent.get(claimed.digest)

    def _delete(self, path: bytes) -> None:
        entry = self._shadow.get(path)
        if entry is not None:
            self._record_deletion(resource_of(path), entry)
            self._forget(path)

    def _record_deletion(self, resource: str, entry: Entry | None) -> None:
        claimed = entry if self._claims else None
        self._recorder.file_changed(
            resource,
            None,
            previous=self._recent.get(claimed.digest) if claimed else None,
            previous_hash=claimed.digest if claimed else "",
            renamed_from="",
            executable=entry is not None and entry.mode == EXECUTABLE_MODE,
            symlink=entry is not None and entry.mode == SYMLINK_MODE,
            causation_id=self.causation_id,
        )
        self.counts.deleted += 1

    def _forget(self, path: bytes) -> None:
        if self._shadow.get(path) is not None:
            self._shadow.remove(path)
            self._names.remove(resource_of(path))

    def _read(self, path: bytes) -> Reading | None:
        return read(self._surveyor.full(path), max_bytes=self._max_file_bytes)

    def _read_movable(self, findings: Findings) -> dict[bytes, Reading]:
        """Those of the new files that may be what is gone, read: by their size or their inode."""
        gone = [entry for path in findings.gone if (entry := self._shadow.get(path))]
        sizes = {entry.signature.size_bytes for entry in gone}
        inodes = {entry.signature.inode for entry in gone}
        readings: dict[bytes, Reading] = {}
        for path, signature in findings.changed.items():
            may_be = signature.size_bytes in sizes or signature.inode in inodes
            if may_be and self._shadow.get(path) is None and self._can_be_named(path):
                try:
                    reading = self._read(path)
                except (OSError, ContractError):
                    continue
                if reading is not None and reading.is_whole:
                    readings[path] = reading
        return readings

    def _sides(self, findings: Findings, ready: Mapping[bytes, Reading]) -> renames.Sides:
        gone = {path: entry for path in findings.gone if (entry := self._shadow.get(path))}
        return renames.Sides(gone, {path: reading.entry for path, reading in ready.items()})

    def _can_be_named(self, path: bytes) -> bool:
        """Whether a path may be recorded, as far as its name goes."""
        try:
            resource_of(path)
        except PathError:
            return False
        return True

    def _is_similar(self, source: bytes, reading: Reading) -> bool:
        entry = self._shadow.get(source)
        before = self._recent.get(entry.digest) if entry else None
        if not before or len(reading.content) > len(before) * 2:
            return False
        return renames.line_similarity(before, reading.content) >= renames.SIMILAR

    def _is_patience_over(self, path: bytes) -> bool:
        self._unsettled[path] = self._unsettled.get(path, 0) + 1
        return self._unsettled[path] > PATIENCE

    def _leave_out(self, path: bytes, error: ContractError | OSError) -> None:
        reason = str(error) if isinstance(error, ContractError) else f"{_shown(path)}: {error.strerror}."
        if self.counts.left_out.get(path) != reason:
            self.counts.left_out[path] = reason
            self._tell(f"Left out: {reason}")

    def _learn_links(self) -> None:
        """Reads where the links that were recorded lead; one that changed meanwhile is recorded anew in any case."""
        for path in self._shadow:
            entry = self._shadow.get(path)
            if entry is None or entry.mode != SYMLINK_MODE:
                continue
            reading = self._read(path)
            resource = resource_of(path)
            self._names.remove(resource)
            same = reading is not None and reading.entry.digest == entry.digest
            self._names.add(resource, reading.content if reading and same else None)


def _shown(path: bytes) -> str:
    return repr(path.decode("utf-8", "backslashreplace"))
