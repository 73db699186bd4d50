"""A ledger of its own for a test, and what a worker does to it: landing one message after another."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from nervous_system.contract import SwarmEvent
from nervous_system.landing import Cursor, LandedMessage
from nervous_system.ledger.append import Landed
from nervous_system.ledger.foundationdb import load_binding
from nervous_system.ledger.history import History
from nervous_system.ledger.ledger import Ledger
from nervous_system.ledger.transaction import Engine, KeyValue, LedgerError, Transaction
from nervous_system.projects import ProjectName
from tests import samples
from tests.contract.cold import ColdFile
from tests.samples import PROJECT, STREAM

T = TypeVar("T")

SINK = "ledger"
COMMIT_UNKNOWN_RESULT = 1021
RETRYABLE = (1007, 1020, COMMIT_UNKNOWN_RESULT)


@dataclass
class Hub:
    """A ledger, and the log of one partition that a worker lands in it."""

    ledger: Ledger
    root: str
    partition: int = 0
    sequence: int = 0
    archive: ColdFile | None = None

    def message(
        self, *events: SwarmEvent | bytes, project: ProjectName = PROJECT, recorded_us: int | None = None
    ) -> LandedMessage:
        """The log's next message."""
        self.sequence += 1
        return samples.message(self.sequence, events, project, recorded_us=recorded_us)

    def part(self, content: bytes, project: ProjectName = PROJECT) -> LandedMessage:
        """The log's next message, which carries one part of a large content."""
        self.sequence += 1
        return samples.part(self.sequence, content, project)

    def land(self, *messages: LandedMessage) -> Landed:
        """Lands messages as one batch."""
        first = messages[0].sequence
        if self.archive is not None:
            self.archive.take(messages)
        return self.ledger.land(SINK, samples.batch(*messages, after=first - 1, partition=self.partition))

    def put(self, *events: SwarmEvent | bytes, recorded_us: int | None = None) -> Landed:
        """Lands one message of these events."""
        return self.land(self.message(*events, recorded_us=recorded_us))

    def cursor(self) -> Cursor:
        """Where the ledger stands."""
        return self.ledger.cursor(SINK, STREAM, self.partition)

    def history(self, project: ProjectName = PROJECT) -> History:
        """What has landed of a project."""
        return self.ledger.history(project)

    def data(self, project: ProjectName = PROJECT) -> list[bytes]:
        """The bytes of all events of a project, in order."""
        return [each.data for each in self.history(project).events()]


@contextmanager
def opened_hub(engine: Engine, address: str, archive: ColdFile | None = None) -> Iterator[Hub]:
    """A hub whose ledger no other test shares; on a cluster it is removed afterwards.

    Args:
        engine: where the ledger is.
        address: of the same engine.
        archive: takes all that lands, and is read where the ledger has stubs.
    """
    root = f"enchanted-tests-{uuid.uuid4().hex}"
    cold = None if archive is None else lambda: archive
    yield Hub(Ledger(engine, root, cold), root, archive=archive)
    if address.startswith("fdb:"):
        fdb = load_binding()
        fdb.directory.remove_if_exists(fdb.open(address.removeprefix("fdb://")), (root,))


class WeighedTransaction:
    """A transaction that counts the bytes of the values that it reads."""

    def __init__(self, inner: Transaction) -> None:
        self._inner = inner
        self.read_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def get_many(self, keys: Sequence[bytes], **options: Any) -> list[bytes | None]:
        found = self._inner.get_many(keys, **options)
        self.read_bytes += sum(len(value) for value in found if value is not None)
        return found

    def get_range(self, begin: bytes, end: bytes, **options: Any) -> list[KeyValue]:
        found = self._inner.get_range(begin, end, **options)
        self.read_bytes += sum(len(value) for _, value in found)
        return found


class WeighedEngine:
    """An engine that says how many bytes of values each of its transactions has read.

    Args:
        inner: the engine beneath.
    """

    def __init__(self, inner: Engine) -> None:
        self._inner = inner
        self.read_bytes: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def run(self, work: Callable[[Transaction], T]) -> T:
        def weighed(transaction: Transaction) -> T:
            counting = WeighedTransaction(transaction)
            result = work(cast(Transaction, counting))
            self.read_bytes.append(counting.read_bytes)
            return result

        return self._inner.run(weighed)


class ForgetfulEngine:
    """An engine that once loses the answer to a commit, which has been made or not.

    Args:
        inner: the engine beneath.
        is_committed: what became of the commit whose answer is lost.
    """

    def __init__(self, inner: Engine, *, is_committed: bool) -> None:
        self._inner = inner
        self._is_committed = is_committed
        self.attempts = 0

    def begin(self) -> Transaction:
        return self._inner.begin()

    def run(self, work: Callable[[Transaction], T]) -> T:
        """As FoundationDB's binding does it: again after every error that is called retryable."""
        while True:
            transaction = self._inner.begin()
            try:
                result = work(transaction)
                self._commit(transaction)
            except LedgerError as error:
                if error.code not in RETRYABLE:
                    raise
            else:
                return result

    def directory(self, path: tuple[str, ...], *, create: bool = True) -> bytes | None:
        return self._inner.directory(path, create=create)

    def list_directories(self, path: tuple[str, ...]) -> list[str]:
        return self._inner.list_directories(path)

    def reclaim(self) -> int:
        return self._inner.reclaim()

    def close(self) -> None:
        self._inner.close()

    def _commit(self, transaction: Transaction) -> None:
        self.attempts += 1
        if self.attempts > 1:
            transaction.commit()
            return
        if self._is_committed:
            transaction.commit()
        else:
            transaction.cancel()
        raise LedgerError(COMMIT_UNKNOWN_RESULT, "Transaction may or may not have committed")
