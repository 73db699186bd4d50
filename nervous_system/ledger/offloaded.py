"""Which files of the archive a ledger's events were replaced from, kept in that ledger itself.

So that one that is rebuilt, moved or put back from a copy says by itself what of it is still whole.
"""

from __future__ import annotations

from nervous_system.ledger import keys, tuples
from nervous_system.ledger.transaction import Engine

PAGE_ROWS = 1_000


class OffloadedFiles:
    """For each file and tenant, when its events are looked at again.

    Args:
        engine: of the ledger.
        system_prefix: of what belongs to no project.
    """

    def __init__(self, engine: Engine, system_prefix: bytes) -> None:
        self._engine = engine
        self._head = tuples.pack(("offloaded",), system_prefix)

    def all(self) -> dict[tuple[str, str], int]:
        """By the file's SHA-256 (hex) and tenant: microseconds since 1970; 0 for never."""
        found: dict[tuple[str, str], int] = {}
        begin, end = keys.within(self._head)
        while True:
            page = (begin, end)
            rows = self._engine.run(
                lambda transaction, page=page: transaction.get_range(*page, limit=PAGE_ROWS, snapshot=True)  # type: ignore[misc]
            )
            for key, value in rows:
                sha256, tenant = tuples.unpack(key, self._head)
                found[str(sha256), str(tenant)] = int.from_bytes(value, "big")
            if len(rows) < PAGE_ROWS:
                return found
            begin = keys.after(rows[-1][0])

    def forget(self, sha256: str, tenant: str) -> None:
        """The archive has that file no more."""
        key = tuples.pack((sha256, tenant), self._head)
        self._engine.run(lambda transaction: transaction.clear(key))

    def note(self, sha256: str, tenant: str, again_us: int) -> None:
        """A file's events of a tenant have been replaced, but for those that are to be looked at again."""
        key = tuples.pack((sha256, tenant), self._head)
        self._engine.run(lambda transaction: transaction.set(key, again_us.to_bytes(8, "big")))
