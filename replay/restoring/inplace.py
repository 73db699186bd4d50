"""Restores into a folder in use: all made ready first, then moved path by path, so that all of it can be undone."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress

from replay.restoring import folders
from replay.restoring.failures import RestoreError, TargetError, listed, reason
from replay.restoring.journal import Journal, Record, Records, opened
from replay.restoring.moves import ChangedError, Mover, moves_of
from replay.restoring.plan import Plan
from replay.restoring.steps import Step
from replay.restoring.survey import A_FOLDER, OWN
from replay.tree import EXECUTABLE, SYMLINK, Entry, check_total

# Each step with its content, in order.
ReadAhead = Callable[[Sequence[Step]], Generator[tuple[Step, bytes], None, None]]


def act_in_place(plan: Plan, read_ahead: ReadAhead, *, is_forced: bool, note: str) -> None:
    """Changes a folder in use as planned, or leaves it as it was; see ``restore.act``."""
    plan.check(is_forced=is_forced)
    journal = Journal(note, moves_of(plan))
    if not journal.moves:
        return
    with opened(plan.target) as records:
        if records.cut_off():
            raise TargetError(f"A restore into {plan.target} was cut off: `enchanted restore --undo` rolls it back.")
        try:
            record = records.begin()
            _make_ready(plan, journal, record, read_ahead)
            _make(plan, journal, records, record)
        except OSError as error:
            raise RestoreError(f"Nothing was restored into {plan.target}: {reason(error)}.") from error
        finally:
            with suppress(OSError):
                records.clean()


def _make_ready(plan: Plan, journal: Journal, record: Record, read_ahead: ReadAhead) -> None:
    """Writes all that is to come into the record; the folder itself is not touched."""
    coming = {move.resource: number for number, move in enumerate(journal.moves) if move.after is not None}
    for folder in plan.new_folders:
        _write(coming[folder], A_FOLDER, b"", record)
    total_bytes = 0
    with closing(read_ahead([step for step in plan.steps if step.resource in coming and step.entry])) as steps:
        for step, content in steps:
            total_bytes += len(content)
            check_total(total_bytes, plan.limits)
            number = coming[step.resource]
            _write(number, journal.moves[number].after or A_FOLDER, content, record)


def _write(number: int, entry: Entry, content: bytes, record: Record) -> None:
    name = b"%d" % number
    if entry == A_FOLDER:
        folders.make_folder(name, folder_fd=record.new_fd)
    elif entry.mode == SYMLINK:
        folders.write_link(name, content, folder_fd=record.new_fd)
    else:
        folders.write_file(name, content, executable=entry.mode == EXECUTABLE, folder_fd=record.new_fd)


def _make(plan: Plan, journal: Journal, records: Records, record: Record) -> None:
    """Makes all moves, or none: where one cannot be made, those before it are taken back."""
    with closing(Mover(records, record, journal)) as mover:
        try:
            record.write_journal(journal)
            for number in range(len(journal.moves)):
                mover.make(number)
            record.finish()
        except ChangedError as error:
            _take_back(plan, records, record, mover)
            raise TargetError(f"Nothing was restored into {plan.target}: {error}{_told(mover.kept)}") from error
        except BaseException:
            _take_back(plan, records, record, mover)
            raise


def _take_back(plan: Plan, records: Records, record: Record, mover: Mover) -> None:
    try:
        mover.take_back_all()
        folders.flush(records.root_fd)
        records.forget(record.number)
    except OSError as error:
        raise RestoreError(
            f"The restore into {plan.target} was cut off, and not all could be put back: {reason(error)}. What is "
            f"missing is kept in {OWN}; `enchanted restore --undo` goes on where this stopped."
        ) from error


def _told(kept: dict[str, str]) -> str:
    """Where things are that were kept, as one more sentence; empty where there are none."""
    places = listed([f"{was} as {now}" for was, now in kept.items()])
    return f" What others had put there meanwhile is kept: {places}." if kept else ""
