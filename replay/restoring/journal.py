"""What restores in place keep in the folder itself, so that each can be undone, and one that was cut off rolled back.

``FOLDER/.enchanted/restores/<number>/`` holds ``journal.json`` (the moves, complete before the first is made),
``new/`` (what is to come), ``old/`` (what went aside), and at last ``done``. A move's number names it in both folders;
what is in them tells how far it has come.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nervous_system.paths import PathError, check_resource
from replay.restoring import folders
from replay.restoring.failures import RestoreError, TargetError, reason
from replay.restoring.survey import FOLDER, OWN, is_own
from replay.tree import EXECUTABLE, FILE, SYMLINK, Entry

KEPT_RESTORES = 10
FORMAT = 1

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_GONE = re.compile(r"[1-9][0-9]{0,8}\.gone")
_HASH = re.compile(r"[0-9a-f]{64}")
_IGNORE = b"*\n"


@dataclass(frozen=True, slots=True)
class Move:
    """One path: what stood there goes aside, and something else comes.

    Args:
        resource: the path.
        before: what stood there; None where nothing did. A folder has nothing in it.
        after: what comes; None where nothing does. A folder has nothing in it yet.
    """

    resource: str
    before: Entry | None
    after: Entry | None


@dataclass(frozen=True, slots=True)
class Journal:
    """What a restore in place does, in order.

    Args:
        note: what was restored, for people.
        moves: one a path.
    """

    note: str
    moves: tuple[Move, ...]

    def encode(self) -> bytes:
        """The journal as JSON; raises PathError, ValueError for a path that no restore may touch."""
        moves = [[_checked(move.resource), _facts(move.before), _facts(move.after)] for move in self.moves]
        return json.dumps({"format": FORMAT, "note": self.note, "moves": moves}).encode("ascii")

    @classmethod
    def decode(cls, data: bytes) -> Journal:
        """Reads what ``encode`` wrote; raises ValueError for what it would not have written.

        The folder may have come from elsewhere, with a journal that somebody made up: its paths are checked like those
        of any tree.
        """
        facts = json.loads(data)
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            raise ValueError("it has another format")
        moves = tuple(Move(_checked(path), _entry(before), _entry(after)) for path, before, after in facts["moves"])
        return cls("".join(filter(str.isprintable, str(facts["note"]))), moves)


class Record:
    """One restore's folder among those of a target, by descriptor."""

    def __init__(self, number: int, folder_fd: int, files: ExitStack) -> None:
        self.number = number
        self.folder_fd = folder_fd
        self.new_fd = _opened("new", folder_fd, files)
        self.old_fd = _opened("old", folder_fd, files)

    def write_journal(self, journal: Journal) -> None:
        """Puts the journal, and before it all that is in the folder, on the disk."""
        folders.flush(self.folder_fd)
        _write_whole("journal.tmp", journal.encode(), self.folder_fd)
        os.rename("journal.tmp", "journal.json", src_dir_fd=self.folder_fd, dst_dir_fd=self.folder_fd)
        folders.flush(self.folder_fd)

    def finish(self) -> None:
        """Marks the restore as done, once all of it is on the disk."""
        folders.flush(self.folder_fd)
        _write_whole("done", b"", self.folder_fd)
        os.fsync(self.folder_fd)

    def reopen(self) -> None:
        """Marks the restore as one to be rolled back, come what may."""
        os.unlink("done", dir_fd=self.folder_fd)
        os.fsync(self.folder_fd)


class Records:
    """The restores that were made in a folder, locked for this process. Made by ``opened``.

    Args:
        root_fd: the folder.
        own_fd: its ``.enchanted``.
        folder_fd: in that, ``restores``.
        files: closes the descriptors.
    """

    def __init__(self, root_fd: int, own_fd: int, folder_fd: int, files: ExitStack) -> None:
        self.root_fd = root_fd
        self.own_fd = own_fd
        self._folder_fd = folder_fd
        self._files = files

    def begin(self) -> Record:
        """A new restore's folder."""
        name = str(max([0, *self._numbers()]) + 1)
        os.mkdir(name, 0o700, dir_fd=self._folder_fd)
        folder_fd = _opened(name, self._folder_fd, self._files)
        for below in ("new", "old"):
            os.mkdir(below, 0o700, dir_fd=folder_fd)
        return Record(int(name), folder_fd, self._files)

    def open(self, number: int) -> Record:
        """An earlier restore's folder."""
        return Record(number, _opened(str(number), self._folder_fd, self._files), self._files)

    def done(self) -> list[int]:
        """Restores that were finished, the last first."""
        return [number for number in self._numbers() if self._has(number, "done")]

    def cut_off(self) -> list[int]:
        """Restores that had begun to change the folder and were not finished, the last first."""
        return [number for number in self._begun() if self._has(number, "journal.json")]

    def journal(self, number: int) -> Journal:
        """What a restore did; raises TargetError where that cannot be read."""
        path = f"{number}/journal.json"
        try:
            file_fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder_fd)
            with os.fdopen(file_fd, "rb") as file:
                return Journal.decode(file.read())
        except (OSError, ValueError, TypeError, KeyError, PathError) as error:
            raise TargetError(
                f"The journal {OWN}/restores/{path} is damaged: {error}. Nothing was changed. What its restore "
                f"replaced is in {OWN}/restores/{number}/old: take from there what you need, then remove {number}."
            ) from error

    def forget(self, number: int) -> None:
        """Removes a restore's folder; cut off half way, what is left of it is taken for nothing."""
        os.rename(str(number), f"{number}.gone", src_dir_fd=self._folder_fd, dst_dir_fd=self._folder_fd)
        folders.remove(f"{number}.gone", parent_fd=self._folder_fd)

    def clean(self) -> None:
        """Removes what is of no more use: restores that changed nothing, and all but the last ones that did."""
        for name in filter(_GONE.fullmatch, folders.names(self._folder_fd)):
            folders.remove(name, parent_fd=self._folder_fd)
        for number in self._begun():
            if not self._has(number, "journal.json"):
                self.forget(number)
        for number in self.done()[KEPT_RESTORES:]:
            self.forget(number)

    def keep(self, name: bytes, final: bytes, folder_fd: int) -> str:
        """Moves an entry to where it is kept under its own name, for good; returns the place, from the folder on."""
        with suppress(FileExistsError):
            os.mkdir("kept", 0o700, dir_fd=self.own_fd)
        with ExitStack() as files:
            kept_fd = _opened("kept", self.own_fd, files)
            number = max([0, *map(int, filter(_NUMBER.fullmatch, folders.names(kept_fd)))]) + 1
            os.mkdir(str(number), 0o700, dir_fd=kept_fd)
            folders.move(name, final, folder_fd=folder_fd, new_folder_fd=_opened(str(number), kept_fd, files))
        return f"{OWN}/kept/{number}/{os.fsdecode(final)}"

    def leave(self) -> None:
        """Removes the folders themselves where nothing is in them."""
        with suppress(OSError):
            os.rmdir("restores", dir_fd=self.own_fd)
            if folders.names(self.own_fd) == [".gitignore"]:
                os.unlink(".gitignore", dir_fd=self.own_fd)
            os.rmdir(OWN, dir_fd=self.root_fd)

    def _numbers(self) -> list[int]:
        return sorted(map(int, filter(_NUMBER.fullmatch, folders.names(self._folder_fd))), reverse=True)

    def _begun(self) -> list[int]:
        return [number for number in self._numbers() if not self._has(number, "done")]

    def _has(self, number: int, name: str) -> bool:
        return folders.exists(f"{number}/{name}".encode(), folder_fd=self._folder_fd)


def has_records(target: Path) -> bool:
    """Whether a restore was ever made in this folder."""
    return (target / OWN / "restores").is_dir()


@contextmanager
def opened(target: Path) -> Iterator[Records]:
    """The restores of a folder, made where there are none; no other process has them at the same time.

    Raises TargetError where they cannot be had.
    """
    with ExitStack() as files:
        try:
            root_fd = _opened(target, None, files)
            own_fd = _own(root_fd, files)
            with suppress(FileExistsError):
                os.mkdir("restores", 0o700, dir_fd=own_fd)
            folder_fd = _opened("restores", own_fd, files)
            # Once it is locked: another may have removed the folder in the moment before.
            is_locked, status = folders.lock(folder_fd), os.fstat(folder_fd)
        except OSError as error:
            raise RestoreError(f"Nothing was changed in {target}, at {OWN}/restores: {reason(error)}.") from error
        if is_locked is False or status.st_nlink == 0:
            raise TargetError(f"Another restore is at work in {target}: wait for it to end.")
        if status.st_uid != os.geteuid():
            raise TargetError(f"{target / OWN / 'restores'} belongs to another user: restore as that user.")
        records = Records(root_fd, own_fd, folder_fd, files)
        try:
            yield records
        finally:
            records.leave()


def _own(root_fd: int, files: ExitStack) -> int:
    with suppress(FileExistsError):
        os.mkdir(OWN, dir_fd=root_fd)
    own_fd = _opened(OWN, root_fd, files)
    if {".gitignore"}.issuperset(folders.names(own_fd)):
        _write_whole(".gitignore", _IGNORE, own_fd)
    return own_fd


def _opened(name: str | Path, parent_fd: int | None, files: ExitStack) -> int:
    folder_fd = os.open(name, folders.FOLDER_FLAGS, dir_fd=parent_fd)
    files.callback(os.close, folder_fd)
    return folder_fd


def _write_whole(name: str, content: bytes, folder_fd: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder_fd)
    file_fd = os.open(name, folders.NEW_FILE_FLAGS, 0o644, dir_fd=folder_fd)
    with os.fdopen(file_fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file_fd)


def _facts(entry: Entry | None) -> list[Any] | None:
    return None if entry is None else [entry.mode, entry.content_hash]


def _checked(resource: Any) -> str:
    check_resource(resource)
    if is_own(resource.partition("/")[0]):
        raise ValueError("it names a path of its own")
    return str(resource)


def _entry(facts: Any) -> Entry | None:
    if facts is None:
        return None
    mode, content_hash = facts
    is_known = mode in (FILE, EXECUTABLE, SYMLINK) and _HASH.fullmatch(content_hash)
    if not is_known and facts != [FOLDER, ""]:
        raise ValueError("it names what no restore leaves")
    return Entry(mode, content_hash)
