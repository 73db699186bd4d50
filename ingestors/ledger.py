"""The sink for the ledger: FoundationDB or the embedded engine, whichever the address names."""

from __future__ import annotations

from collections.abc import Sequence

from ingestors.sink import Limits
from nervous_system.landing import Batch, Cursor, Refusal
from nervous_system.ledger.ledger import TRANSACTION_BYTES, TRANSACTION_EVENTS, Ledger, RefusedError
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity


class LedgerSink:
    """Lands batches in the ledger, events and cursor in the same transaction.

    Args:
        settings: give the address.
        rebuilding: what lands comes from the archive, and passes the mark that keeps all others out meanwhile.
    """

    name = "ledger"
    may_begin_late = False

    def __init__(self, settings: Settings, *, rebuilding: bool = False) -> None:
        # A batch is a transaction, so that it lands whole or not at all.
        self.limits = Limits(
            min(settings.batch_max_events, TRANSACTION_EVENTS),
            min(settings.batch_max_bytes, TRANSACTION_BYTES),
            settings.batch_max_age_s,
        )
        self._settings = settings
        self._rebuilding = rebuilding
        self._ledger: Ledger | None = None

    def open(self) -> None:
        """Opens the engine."""
        self._ledger = self._ledger or Ledger.open(self._settings)

    def cursor(self, stream: StreamIdentity, partition: int) -> Cursor:
        """How far the ledger has landed a partition of the stream."""
        return self.ledger.cursor(self.name, stream, partition)

    def land(self, batch: Batch) -> Sequence[Refusal]:
        """Lands the batch, or refuses events whose id is there with other bytes, and lands nothing."""
        try:
            self.ledger.land(self.name, batch, whole=True, rebuilding=self._rebuilding)
        except RefusedError as error:
            return error.refusals
        return ()

    def check(self) -> None:
        """Raises LedgerError or UnavailableError where the engine does not read."""
        # Any one key; that there is no such stream is no matter.
        self.ledger.cursor(self.name, StreamIdentity("", 0), 0)

    def close(self) -> None:
        """Closes the engine."""
        if self._ledger is not None:
            self._ledger.close()

    @property
    def ledger(self) -> Ledger:
        """What it lands in, once it is open."""
        assert self._ledger is not None, "open() comes first"
        return self._ledger
