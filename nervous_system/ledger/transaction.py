"""The narrow interface on which all of the ledger is written; two engines provide it.

Its meaning is FoundationDB's (API version 730), whose words are used: a transaction reads a snapshot taken at its first
read, sees its own writes, and commits only where nothing that it read has changed since.
Source: https://apple.github.io/foundationdb/api-python.html.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from nervous_system.errors import EnchantedError

T = TypeVar("T")

KeyValue = tuple[bytes, bytes]
KeyRange = tuple[bytes, bytes]

KEY_LIMIT_BYTES = 10_000
VALUE_LIMIT_BYTES = 100_000
TRANSACTION_LIMIT_BYTES = 10_000_000
TRANSACTION_LIMIT_S = 5.0
RUN_LIMIT_S = 60.0
VERSIONSTAMP_BYTES = 10


class LedgerError(EnchantedError):
    """A refusal of the ledger's engine.

    Args:
        code: FoundationDB's error code, such as 1020 for a conflict.
        text: FoundationDB's words for it.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"The ledger refused: {text} (FoundationDB error {code}).")
        self.code = code
        self.text = text


class VersionstampFuture(Protocol):
    """The versionstamp of a transaction that is about to commit."""

    def wait(self) -> bytes:
        """The 10 bytes, once the transaction has committed; raises LedgerError 2021 where it wrote nothing.

        Not to be called before ``commit`` has returned.
        """
        ...


class Watch(Protocol):
    """A notice that a key's value has changed since the transaction that asked."""

    def wait(self, timeout_s: float) -> bool:
        """Blocks until the key changes (True), or ``timeout_s`` seconds have passed or it is cancelled (False).

        Not to be called before ``commit`` has returned. True may also come of a value that has changed back.
        """
        ...

    def cancel(self) -> None:
        """Gives the watch up, frees what it holds and wakes who waits."""
        ...


class Transaction(Protocol):
    """One attempt at a transaction. Used by one thread at a time.

    What a write refuses, such as a key over ``KEY_LIMIT_BYTES``, is raised by the next read or by ``commit``.
    """

    def read_version(self) -> int:
        """The version of the snapshot, which is taken now where no read has taken it. Raises LedgerError."""
        ...

    def get(self, key: bytes, *, snapshot: bool = False) -> bytes | None:
        """The value at ``key``. A ``snapshot`` read causes no conflict. Raises LedgerError."""
        ...

    def get_many(self, keys: Sequence[bytes], *, snapshot: bool = False) -> list[bytes | None]:
        """The values at ``keys``, in their order, read side by side where the engine can. Raises LedgerError."""
        ...

    def get_range(
        self, begin: bytes, end: bytes, *, limit: int = 0, reverse: bool = False, snapshot: bool = False
    ) -> list[KeyValue]:
        """Pairs with ``begin`` <= key < ``end`` in key order, at most ``limit`` (0: all). Raises LedgerError."""
        ...

    def set(self, key: bytes, value: bytes) -> None: ...

    def clear(self, key: bytes) -> None: ...

    def clear_range(self, begin: bytes, end: bytes) -> None: ...

    def add(self, key: bytes, operand: bytes) -> None:
        """Atomic little-endian addition; causes no conflict."""
        ...

    def set_versionstamped_key(self, key: bytes, value: bytes) -> None:
        """``key`` ends in 4 bytes, little-endian: the offset at which the 10 bytes of versionstamp are put."""
        ...

    def set_versionstamped_value(self, key: bytes, value: bytes) -> None:
        """``value`` ends in 4 bytes, little-endian: the offset at which the 10 bytes of versionstamp are put."""
        ...

    def set_versionstamped_keys(self, pairs: Sequence[KeyValue]) -> None:
        """``set_versionstamped_key`` for many, in their order."""
        ...

    def set_versionstamped_values(self, pairs: Sequence[KeyValue]) -> None:
        """``set_versionstamped_value`` for many, in their order."""
        ...

    def add_read_conflict_range(self, begin: bytes, end: bytes) -> None: ...

    def get_versionstamp(self) -> VersionstampFuture:
        """To be asked before ``commit`` and waited for after it."""
        ...

    def watch(self, key: bytes) -> Watch:
        """Against the value that this transaction sees; reads the key, and counts once it has committed."""
        ...

    def commit(self) -> None:
        """Raises LedgerError: 1020 for a conflict, 1021 where the outcome is unknown."""
        ...

    def cancel(self) -> None: ...


class Engine(Protocol):
    """A store of ordered keys with serialisable transactions. Safe to use from several threads."""

    def begin(self) -> Transaction:
        """A new transaction, its read version not yet taken."""
        ...

    def run(self, work: Callable[[Transaction], T]) -> T:
        """Runs ``work`` and commits, again after errors that FoundationDB calls retryable (1020, 1021, 1007 …).

        After ``RUN_LIMIT_S`` seconds it gives up, and raises LedgerError or UnavailableError.
        ``work`` may run several times, and after 1021 its first run may have landed: make ids outside it.
        """
        ...

    def directory(self, path: tuple[str, ...], *, create: bool = True) -> bytes | None:
        """The key prefix of the directory at ``path``; None where it is absent and ``create`` is false."""
        ...

    def list_directories(self, path: tuple[str, ...]) -> list[str]:
        """The names below ``path``, sorted; empty where it is absent."""
        ...

    def reclaim(self) -> int:
        """Gives room that is free in its files back to the disk, beside others at work: bytes; 0 where that is not its
        affair."""
        ...

    def close(self) -> None: ...
