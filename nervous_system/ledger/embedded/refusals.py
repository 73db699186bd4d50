"""FoundationDB's errors, as its API reference numbers and words them, and what it refuses of a single operation."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from nervous_system.ledger.transaction import (
    KEY_LIMIT_BYTES,
    VALUE_LIMIT_BYTES,
    VERSIONSTAMP_BYTES,
    KeyValue,
    LedgerError,
)

USER_KEYS_END = b"\xff"
OFFSET_BYTES = 4
_OFFSET = struct.Struct("<i")

TOO_OLD = 1007
CONFLICT = 1020
UNKNOWN_RESULT = 1021
CANCELLED = 1025
UNREADABLE = 1036
INVALID_CALL = 2000
OUTSIDE_LEGAL_RANGE = 2004
INVERTED_RANGE = 2005
NOT_READY = 2015
USED_DURING_COMMIT = 2017
INVALID_VERSION = 2020
READ_ONLY = 2021
TOO_LARGE = 2101
KEY_TOO_LARGE = 2102
VALUE_TOO_LARGE = 2103

RETRYABLE = frozenset({TOO_OLD, CONFLICT, UNKNOWN_RESULT})

TEXTS = {
    TOO_OLD: "Transaction is too old to perform reads or be committed",
    CONFLICT: "Transaction not committed due to conflict with another transaction",
    UNKNOWN_RESULT: "Transaction may or may not have committed",
    CANCELLED: "Operation aborted because the transaction was cancelled",
    UNREADABLE: "Read or wrote an unreadable key",
    INVALID_CALL: "Invalid API call",
    OUTSIDE_LEGAL_RANGE: "Key outside legal range",
    INVERTED_RANGE: "Range begin key larger than end key",
    NOT_READY: "Future not ready",
    USED_DURING_COMMIT: "Operation issued while a commit was outstanding",
    INVALID_VERSION: "Transaction does not have a valid commit version",
    READ_ONLY: "Transaction is read-only and therefore does not have a commit version",
    TOO_LARGE: "Transaction exceeds byte limit",
    KEY_TOO_LARGE: "Key length exceeds limit",
    VALUE_TOO_LARGE: "Value length exceeds limit",
}


def refusal(code: int) -> LedgerError:
    """The error of that code, to be raised."""
    return LedgerError(code, TEXTS[code])


def check_read(begin: bytes, end: bytes | None = None) -> None:
    """Raises LedgerError 2004 for keys that only the system reads; ``end`` may be where these begin."""
    if begin > USER_KEYS_END or (end is None and begin == USER_KEYS_END) or (end is not None and end > USER_KEYS_END):
        raise refusal(OUTSIDE_LEGAL_RANGE)


def check_write(key: bytes, value: bytes = b"") -> None:
    """Raises LedgerError 2004, 2102 or 2103 for what cannot be written."""
    if key >= USER_KEYS_END:
        raise refusal(OUTSIDE_LEGAL_RANGE)
    if len(key) > KEY_LIMIT_BYTES:
        raise refusal(KEY_TOO_LARGE)
    if len(value) > VALUE_LIMIT_BYTES:
        raise refusal(VALUE_TOO_LARGE)


def check_writes(pairs: Iterable[KeyValue]) -> None:
    """``check_write`` for many."""
    for key, value in pairs:
        if key >= USER_KEYS_END or len(key) > KEY_LIMIT_BYTES or len(value) > VALUE_LIMIT_BYTES:
            check_write(key, value)


def check_range(begin: bytes, end: bytes) -> None:
    """Raises LedgerError 2005 or 2004 for a range that cannot be cleared or made to conflict."""
    if begin > end:
        raise refusal(INVERTED_RANGE)
    check_read(begin, end)


def offset_at_end(stamped: bytes) -> int:
    """The offset that the last 4 bytes give; raises LedgerError 2000 where ten bytes do not fit before them."""
    room = len(stamped) - OFFSET_BYTES - VERSIONSTAMP_BYTES
    if room < 0:
        raise refusal(INVALID_CALL)
    offset: int = _OFFSET.unpack_from(stamped, len(stamped) - OFFSET_BYTES)[0]
    if not 0 <= offset <= room:
        raise refusal(INVALID_CALL)
    return offset
