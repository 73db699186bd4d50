"""The moves of a restore in place, each made by renaming, and each to be taken back from wherever it got to."""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from contextlib import suppress

from replay.restoring import folders
from replay.restoring.failures import TargetError
from replay.restoring.journal import Journal, Move, Record, Records
from replay.restoring.plan import Plan
from replay.restoring.steps import Action
from replay.restoring.survey import A_FOLDER, look, parent, place
from replay.tree import SUBMODULE, SYMLINK, Entry

_FOLDERS_ONLY = ((None, A_FOLDER), (A_FOLDER, None))


class ChangedError(TargetError):
    """Something is not as the plan, or the journal, says: somebody else is at work in the folder."""

    def __init__(self, resource: str) -> None:
        super().__init__(f"{resource!r} has changed meanwhile: see what else writes there, and restore again.")


def moves_of(plan: Plan) -> tuple[Move, ...]:
    """What a plan has to move, in order: what goes (a folder after what is in it), what comes (a folder before), links.

    Links come last: while anything is written, there is none to be led astray by.
    """
    sides: dict[str, tuple[Entry | None, Entry | None]] = {
        step.resource: (step.found, _left(step.entry)) for step in plan.steps if step.action is not Action.LEAVE
    }
    for folder in plan.new_folders:
        sides[folder] = (sides.get(folder, (None, None))[0], A_FOLDER)
    moves = [Move(resource, *sides[resource]) for resource in sorted(sides)]
    going = [move for move in reversed(moves) if move.after is None]
    coming = [move for move in moves if move.after is not None and move.after.mode != SYMLINK]
    return (*going, *coming, *(move for move in moves if move.after is not None and move.after.mode == SYMLINK))


def _left(entry: Entry | None) -> Entry | None:
    """A submodule is an empty folder, as `git archive` has it."""
    return A_FOLDER if entry is not None and entry.mode == SUBMODULE else entry


class Mover:
    """Makes the moves of a journal, and takes them back. Every method raises OSError.

    Args:
        records: the folder, and where what others have changed is kept.
        record: where what is to come lies ready, and what goes aside.
        journal: the moves.
    """

    def __init__(self, records: Records, record: Record, journal: Journal) -> None:
        self._records = records
        self._record = record
        self._moves = journal.moves
        self._walk = folders.Walk(records.root_fd, is_making=False)
        self.kept: dict[str, str] = {}
        """What could not stay, or could not be put back: by its path, where it is kept."""

    def close(self) -> None:
        """Gives the descriptors back."""
        self._walk.close()

    def make(self, number: int) -> None:
        """Makes a move; raises ChangedError where something else stands there than the journal says."""
        move, name = self._moves[number], _name(number)
        folder, final = place(move.resource)
        try:
            folder_fd = self._walk.enter(folder)
            if move.before is not None:
                folders.move(final, name, folder_fd=folder_fd, new_folder_fd=self._record.old_fd)
                if not _is(name, self._record.old_fd, move.before):
                    folders.move(name, final, folder_fd=self._record.old_fd, new_folder_fd=folder_fd)
                    raise ChangedError(move.resource)
            if move.after is not None:
                folders.move(name, final, folder_fd=self._record.new_fd, new_folder_fd=folder_fd)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise ChangedError(move.resource) from error
            raise

    def changed(self) -> list[str]:
        """The paths at which something else stands now than the moves left there."""
        below: defaultdict[str, set[bytes]] = defaultdict(set)
        for move in self._moves:
            below[parent(move.resource)].add(place(move.resource)[1])
        return [
            move.resource
            for number, move in enumerate(self._moves)
            if self._is_made(number) and self._has_changed(move, below[move.resource])
        ]

    def take_back_all(self) -> None:
        """Takes back every move that was made, the last first; what others have changed is kept aside."""
        for number in reversed(range(len(self._moves))):
            if self._is_made(number):
                self._take_back(number)

    def _is_made(self, number: int) -> bool:
        """Whether a move was begun and not taken back. What went aside tells it, else what was to come."""
        if self._moves[number].before is not None:
            return folders.exists(_name(number), folder_fd=self._record.old_fd)
        return not folders.exists(_name(number), folder_fd=self._record.new_fd)

    def _has_changed(self, move: Move, names_below: set[bytes]) -> bool:
        folder, final = place(move.resource)
        try:
            folder_fd = self._walk.enter(folder)
            found = look(final, folder_fd)
            if found == move.after == A_FOLDER and move.before is not None:
                below_fd = self._walk.enter(b"/".join(filter(None, (folder, final))))
                return not names_below.issuperset(map(os.fsencode, folders.names(below_fd)))
        except (FileNotFoundError, NotADirectoryError):
            found = None
        # A folder that was made stays where something else came to be in it, and one that went may be back.
        is_harmless = found in (None, A_FOLDER) and (move.before, move.after) in _FOLDERS_ONLY
        return found != move.after and not is_harmless

    def _take_back(self, number: int) -> None:
        move, name = self._moves[number], _name(number)
        folder, final = place(move.resource)
        try:
            folder_fd = self._enter(folder, is_making=move.before is not None)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            if move.before is not None:
                self._keep(number, name, self._record.old_fd)
            return
        if self._clear(number, final, folder_fd) and move.before is not None:
            folders.move(name, final, folder_fd=self._record.old_fd, new_folder_fd=folder_fd)

    def _enter(self, folder: bytes, *, is_making: bool) -> int:
        try:
            return self._walk.enter(folder)
        except FileNotFoundError:
            if not is_making:
                raise
        maker = folders.Walk(self._records.root_fd)
        try:
            maker.enter(folder)
        finally:
            maker.close()
        return self._walk.enter(folder)

    def _clear(self, number: int, final: bytes, folder_fd: int) -> bool:
        """Takes away what stands at a move's path; False where it stays: a folder in which something else is."""
        move, name = self._moves[number], _name(number)
        found = look(final, folder_fd)
        if found is None:
            return True
        if found == A_FOLDER:
            with suppress(OSError):
                os.rmdir(final, dir_fd=folder_fd)
                return True
            if move.before in (None, A_FOLDER):
                return False
        elif found == move.after and not folders.exists(name, folder_fd=self._record.new_fd):
            folders.move(final, name, folder_fd=folder_fd, new_folder_fd=self._record.new_fd)
            if not _is(name, self._record.new_fd, found):
                self._keep(number, name, self._record.new_fd)
            return True
        self._keep(number, final, folder_fd)
        return True

    def _keep(self, number: int, name: bytes, folder_fd: int) -> None:
        resource = self._moves[number].resource
        self.kept[resource] = self._records.keep(name, place(resource)[1], folder_fd)


def _name(number: int) -> bytes:
    return b"%d" % number


def _is(name: bytes, folder_fd: int, entry: Entry) -> bool:
    """Whether this stands there; of a folder, whether it is an empty one."""
    if look(name, folder_fd) != entry:
        return False
    if entry != A_FOLDER:
        return True
    below_fd = folders.open_folder(name, folder_fd)
    try:
        return not folders.names(below_fd)
    finally:
        os.close(below_fd)
