"""Values that are too large for one key: the first chunk at the key, the others behind it."""

from __future__ import annotations

from collections.abc import Sequence

from nervous_system.ledger import keys, records
from nervous_system.ledger.transaction import Transaction


def read_whole(transaction: Transaction, wanted: Sequence[bytes]) -> list[bytes | None]:
    """The values that begin at the keys ``wanted``, in their order, each put together from its chunks."""
    stored = transaction.get_many(wanted, snapshot=True)
    return [first and first + _rest(transaction, key, first) for key, first in zip(wanted, stored, strict=True)]


def _rest(transaction: Transaction, key: bytes, first: bytes) -> bytes:
    if len(first) < records.CHUNK_BYTES:
        return b""
    return b"".join(value for _, value in transaction.get_range(*keys.within(key), snapshot=True))
