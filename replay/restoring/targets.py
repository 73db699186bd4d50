"""Which folders take a tree: new and empty ones, and ones in use, which are changed in place."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nervous_system.paths import is_git_part
from replay.restoring.failures import TargetError


def check_target(target: Path) -> Path:
    """The absolute form of a target that is new or an empty folder; raises TargetError where it is anything else."""
    with _refusing(target):
        place = _absolute(target)
        _check_place(place, target)
        if place.is_mount():
            raise TargetError(f"{target} is a mount point, which cannot be replaced: name a new folder inside it.")
        if _is_folder(place, target):
            if os.path.samestat(place.lstat(), Path().stat()):
                raise TargetError(f"{target} is the folder you are in, which a restore would replace: name a new one.")
            if not _is_empty(place):
                raise TargetError(f"{target} is not empty: name a new folder, or an empty one.")
        return place


def is_in_use(target: Path) -> bool:
    """Whether the target is a folder with something in it; raises TargetError where it is no folder at all."""
    with _refusing(target):
        place = _absolute(target)
        return _is_folder(place, target) and not _is_empty(place)


def check_folder(target: Path) -> Path:
    """The absolute form of a folder that is there; raises TargetError where it is anything else."""
    with _refusing(target):
        place = _absolute(target)
        _check_place(place, target)
        if not _is_folder(place, target):
            raise TargetError(f"There is no folder {target}.")
        return place


@contextmanager
def _refusing(target: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        # A NUL in the name is a ValueError, a circle of links among the parents a RuntimeError.
        why = error.strerror if isinstance(error, OSError) else error
        raise TargetError(f"{target} cannot be used: {why}. Name another folder.") from error


def _absolute(target: Path) -> Path:
    """The target itself may be a link, which is for ``_is_folder`` to see; links among its parents are followed."""
    if target.name in ("", ".."):
        return target.resolve()
    return target.parent.resolve() / target.name


def _check_place(place: Path, target: Path) -> None:
    if place == place.parent:
        raise TargetError(f"{target} is the root of the file system: name a new folder below it.")
    if any(is_git_part(part) for part in place.parts):
        raise TargetError(f"{target} lies in a Git folder, which is Git's own: name a new folder outside it.")


def _is_folder(place: Path, target: Path) -> bool:
    """False where nothing is there; raises TargetError where it is something else."""
    try:
        found = os.lstat(place)
    except FileNotFoundError:
        return False
    if stat.S_ISLNK(found.st_mode):
        raise TargetError(f"{target} is a symbolic link: name the folder itself, new or empty.")
    if not stat.S_ISDIR(found.st_mode):
        raise TargetError(f"{target} is not a folder: name a new folder, or an empty one.")
    return True


def _is_empty(place: Path) -> bool:
    with os.scandir(place) as inside:
        return next(inside, None) is None
