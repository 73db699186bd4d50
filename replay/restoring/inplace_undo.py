"""Undoing restores in place, the last first, and rolling back one that was cut off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replay.restoring import folders
from replay.restoring.failures import DriftError, RestoreError, TargetError, listed, reason
from replay.restoring.journal import Journal, Move, Records, has_records, opened
from replay.restoring.moves import Mover
from replay.restoring.survey import OWN
from replay.restoring.targets import check_folder


@dataclass(frozen=True, slots=True)
class Undo:
    """What the undo of a restore does, or has done.

    Args:
        target: the folder, absolute.
        note: what had been restored, for people.
        moves: what the restore did, in its order.
        was_cut_off: whether it, or an undo of it, had not been finished.
        changed: paths at which something else stands now than the restore left there.
        kept: where those are kept once it is done, relative to the folder.
    """

    target: Path
    note: str
    moves: tuple[Move, ...]
    was_cut_off: bool
    changed: tuple[str, ...]
    kept: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """All of it in words that JSON has."""
        return {
            "target": str(self.target),
            "restored": self.note,
            "cut_off": self.was_cut_off,
            "changed": list(self.changed),
            "kept": self.kept,
            "put_back": [move.resource for move in self.moves if move.before is not None],
            "taken_away": [move.resource for move in self.moves if move.before is None],
        }


def plan_undo(target: Path) -> Undo:
    """What ``undo`` would do; raises TargetError where there is nothing to undo."""
    with _last(target) as last:
        return last.plan()


def undo(target: Path, *, is_forced: bool = False) -> Undo:
    """Puts back what the last restore into a folder replaced or removed, and takes away what it wrote.

    One that was cut off is rolled back instead; what was changed since is then kept aside in any case.

    Args:
        target: the folder.
        is_forced: whether to go on where what was restored has been changed since; the changed is kept aside.

    Raises:
        DriftError: what was restored has been changed since.
        TargetError: there is nothing to undo, or the folder is in use.
        RestoreError: not all could be put back; the next undo goes on.
    """
    with _last(target) as last:
        plan = last.plan()
        if plan.changed and not (is_forced or plan.was_cut_off):
            raise DriftError(
                f"Nothing was undone in {plan.target}: {listed(plan.changed)} changed since it was restored. "
                "Say --force: what is there now is kept aside."
            )
        last.take_back()
        return plan


def recover(target: Path) -> Undo | None:
    """Rolls back a restore into a folder, or an undo of one, that was cut off; None where none was."""
    return undo(target) if is_cut_off(target) else None


def is_cut_off(target: Path) -> bool:
    """Whether a restore into a folder, or an undo of one, was cut off; raises TargetError where one is at work."""
    if not has_records(target):
        return False
    with opened(check_folder(target)) as records:
        return bool(records.cut_off())


class _Last:
    """The restore of a folder that is to be taken back next."""

    def __init__(self, place: Path, records: Records) -> None:
        cut_off, done = records.cut_off(), records.done()
        if not cut_off and not done:
            raise TargetError(f"There is nothing to undo in {place}: all restores into it are undone.")
        self._was_cut_off = bool(cut_off)
        self._place = place
        self._records = records
        self._number = (cut_off or done)[0]
        self._journal: Journal = records.journal(self._number)
        self._record = records.open(self._number)
        self.mover = Mover(records, self._record, self._journal)

    def plan(self) -> Undo:
        changed, moves = tuple(self.mover.changed()), self._journal.moves
        return Undo(self._place, self._journal.note, moves, self._was_cut_off, changed, self.mover.kept)

    def take_back(self) -> None:
        if not self._was_cut_off:
            self._record.reopen()
        self.mover.take_back_all()
        folders.flush(self._records.root_fd)
        self._records.forget(self._number)
        with suppress(OSError):
            self._records.clean()


@contextmanager
def _last(target: Path) -> Iterator[_Last]:
    place = check_folder(target)
    if not has_records(place):
        raise TargetError(f"There is nothing to undo in {place}: nothing was restored into it while it was in use.")
    try:
        with opened(place) as records:
            last = _Last(place, records)
            with closing(last.mover):
                yield last
    except OSError as error:
        raise RestoreError(
            f"Not all of {place} could be put back: {reason(error)}. What is missing is kept in {OWN}; "
            "`enchanted restore --undo` goes on where it stopped."
        ) from error
