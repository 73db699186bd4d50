"""What keeps a tree from being restored, in sentences."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from nervous_system.errors import EnchantedError

SHOWN = 3

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


class TargetError(EnchantedError):
    """The folder to restore into cannot take a tree."""


class DriftError(TargetError):
    """What stands in the folder was never recorded, or has changed since: it is not replaced unless that is wanted."""


class RestoreError(EnchantedError):
    """A tree could not be written; nothing of it is left at the target."""


def reason(error: OSError) -> str:
    """What an error of the file system means for a restore, and what to do, without the full stop."""
    return _REASONS.get(error.errno or 0, f"{error.strerror}. Try again, or name a folder elsewhere")


def listed(resources: Sequence[str]) -> str:
    """The first few paths, and how many more there are."""
    shown = ", ".join(map(repr, resources[:SHOWN]))
    return f"{shown} and {len(resources) - SHOWN:,} more" if len(resources) > SHOWN else shown
