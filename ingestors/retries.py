"""What to do after a failure. Pure: it decides, the pump acts."""

from __future__ import annotations

from enum import Enum

from nervous_system.errors import SettingsError
from nervous_system.ledger.transaction import LedgerError

# FoundationDB's codes for a transaction with too many bytes, and for one that took longer than its 5 seconds.
_TOO_MUCH_CODES = (2101, 1007)
# Words of ClickHouse's and of S3's that no other failure has.
_TOO_MUCH_WORDS = ("MEMORY_LIMIT_EXCEEDED", "EntityTooLarge")


class Action(Enum):
    """What to do about a failure."""

    AGAIN = "again"
    """The same again after a wait, for ever: a server is away, a disk is full, another worker was faster."""
    SMALLER = "smaller"
    """Again after a wait, in batches of half the size: the store found this one too much."""
    GIVE_UP = "give up"
    """End and say so: a person must change a setting."""


def decide(error: Exception) -> Action:
    """What to do about ``error``, which a step of the pump raised.

    What can never be landed is no failure: the sink refuses it (``Sink.land``) and it is buried. All that is not known
    is tried again, for giving up would lose what waiting may save.
    """
    if isinstance(error, SettingsError):
        return Action.GIVE_UP
    is_too_much = isinstance(error, LedgerError) and error.code in _TOO_MUCH_CODES
    if is_too_much or isinstance(error, MemoryError) or any(word in str(error) for word in _TOO_MUCH_WORDS):
        return Action.SMALLER
    return Action.AGAIN
