"""A file that is there whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from nervous_system.errors import EnchantedError


class FileTargetError(EnchantedError):
    """A file cannot be written where it is wanted."""


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of ``path`` once the block ends well; else nothing is left of it.

    Raises:
        FileTargetError: something else than a file stands there.
        OSError: the disk refuses.
    """
    place = path.resolve()
    mode = _mode(place, path)
    draft = place.with_name(f".{os.fsdecode(os.fsencode(place.name)[:200])}.enchanted-{token_hex(8)}")
    try:
        with draft.open("xb") as file:
            yield file
            file.flush()
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        draft.replace(place)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    folder_fd = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder_fd)
    finally:
        os.close(folder_fd)


def _mode(place: Path, path: Path) -> int | None:
    """The mode of the file that is replaced; None where there is none."""
    try:
        found = place.stat()
    except FileNotFoundError:
        if place.parent.is_dir():
            return None
        raise FileTargetError(f"There is no folder {place.parent} for {path.name!r}: make it first.") from None
    if not stat.S_ISREG(found.st_mode):
        raise FileTargetError(f"{path} is not a file: name a file.")
    return stat.S_IMODE(found.st_mode)
