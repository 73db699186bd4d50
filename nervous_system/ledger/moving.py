"""Moving a whole ledger to another engine: from one machine's file to a cluster, or from disk to disk.

Rows are compared and copied as they are, so that every version that somebody wrote down goes on meaning its event, and
every sink's cursor goes along. The copy is made by passes: each reads both sides and writes what differs, so that one
that was cut off is simply run again. The first pass runs beside those who land; then the source's gate is shut, and the
pass that finds nothing left to write is the proof. Each project's incarnation is one higher at the target, where
versionstamps may be lower than the source's were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nervous_system.errors import EnchantedError, SettingsError
from nervous_system.ledger import tuples
from nervous_system.ledger.gate import Gate, Shut, gate_key
from nervous_system.ledger.ledger import ROOT, SYSTEM
from nervous_system.ledger.transaction import Engine, Transaction
from nervous_system.ledger.versions import MAX_INCARNATION

PAGE_ROWS = 1_000
WRITE_BYTES = 500_000
# What lands beside the first pass is little; what the worker of snapshots writes beside the next, less.
MAX_PASSES = 6

# Both relative to their directory's prefix.
_GATE = gate_key(b"")
_INCARNATION = tuples.pack(("incarnation",))
_FIRST, _LAST = b"\x00", b"\xff"

Rows = dict[bytes, bytes]
Path = tuple[str, ...]


@dataclass(slots=True)
class Tally:
    """What a move did.

    Args:
        passes: how often both sides were compared.
        rows: of the source, as the last pass found it.
        size_bytes: their keys and values.
        written: rows written to the target or taken from it, in all passes.
    """

    passes: int = 0
    rows: int = 0
    size_bytes: int = 0
    written: int = 0


@dataclass(frozen=True, slots=True)
class Side:
    """A ledger's engine, and the address by which people know it."""

    engine: Engine
    address: str

    def rows(self, prefix: bytes, begin: bytes, end: bytes, limit: int = 0) -> Rows:
        """Pairs with ``begin`` <= key < ``end``, all relative to the prefix."""
        pairs = self.engine.run(
            lambda transaction: transaction.get_range(prefix + begin, prefix + end, limit=limit, snapshot=True)
        )
        return {key[len(prefix) :]: value for key, value in pairs}


class Move:
    """One ledger's move.

    Args:
        source: where it is.
        target: where it goes: nothing has landed there, or a move from the same source was begun.
        root: the top directory.
    """

    def __init__(self, source: Side, target: Side, root: str = ROOT) -> None:
        self._source = source
        self._target = target
        self._root = root
        self.tally = Tally()

    def run(self, report: Callable[[Tally], None] = lambda _: None) -> Tally:
        """Copies everything, proves it, and opens the target; the source stays shut, and says where the ledger is.

        Raises:
            SettingsError: the source has no ledger, or the target has another one.
            EnchantedError: something goes on writing to the source.
            LedgerError, UnavailableError: an engine does not answer; run it again.
        """
        left, entered = self._gates()
        if left.state() == (Shut.MOVED_AWAY, self._target.address) and entered.state() is None and entered.has_landed():
            return self.tally
        self._check_source(left.state())
        self._begin(entered)
        self._pass(report)
        left.shut(Shut.MOVED_AWAY, self._target.address)
        while self._pass(report):
            if self.tally.passes >= MAX_PASSES:
                raise EnchantedError(
                    "Something goes on writing to the ledger that is being moved: stop the worker of snapshots and the "
                    "janitor, and run this again. Nothing is lost; ingestors wait."
                )
        entered.open()
        return self.tally

    def abandon(self) -> None:
        """Opens the source again; raises SettingsError where the move came to its end, or was never begun."""
        left, entered = self._gates()
        if entered.state() != (Shut.MOVING_HERE, self._source.address):
            raise SettingsError(
                f"No move from {self._source.address} to {self._target.address} is under way: there is nothing to give "
                "up."
            )
        left.open()

    def _check_source(self, shut: tuple[Shut, str] | None) -> None:
        """Raises SettingsError where the source is not whole, or is at home elsewhere: there would be two ledgers."""
        if shut not in (None, (Shut.MOVED_AWAY, self._target.address)):
            raise SettingsError(
                f"The ledger at {self._source.address} cannot be moved to {self._target.address}: it is being rebuilt "
                "or moved, or was moved elsewhere. Let that finish first, or move the ledger from where it is now."
            )

    def _gates(self) -> tuple[Gate, Gate]:
        system = self._source.engine.directory((self._root, SYSTEM), create=False)
        if system is None:
            raise SettingsError(f"There is no ledger at {self._source.address}: name the one that is to be moved.")
        return Gate(self._source.engine, system), Gate(self._target.engine, self._made((self._root, SYSTEM)))

    def _begin(self, entered: Gate) -> None:
        if entered.state() == (Shut.MOVING_HERE, self._source.address):
            return
        if entered.state() is not None or entered.has_landed():
            raise SettingsError(
                f"The ledger at {self._target.address} is in use: move into one in which nothing has landed."
            )
        entered.shut(Shut.MOVING_HERE, self._source.address)

    def _pass(self, report: Callable[[Tally], None]) -> int:
        """Makes the target equal to the source; returns how many rows differed."""
        tally, before = self.tally, self.tally.written
        tally.passes, tally.rows, tally.size_bytes = tally.passes + 1, 0, 0
        for path in self._directories():
            prefix, made = self._source.engine.directory(path, create=False), self._made(path)
            assert prefix is not None, "it was just listed"
            for begin, end, rows in self._pages(prefix):
                tally.rows += len(rows)
                tally.size_bytes += sum(len(key) + len(value) for key, value in rows.items())
                self._write(made, differences(_expected(path, rows, begin, end), self._there(path, made, begin, end)))
                report(tally)
        return tally.written - before

    def _pages(self, prefix: bytes) -> Iterator[tuple[bytes, bytes, Rows]]:
        """The source's rows, page by page, each with the stretch of keys that it covers."""
        begin, end = _FIRST, _FIRST
        while end != _LAST:
            rows = self._source.rows(prefix, begin, _LAST, PAGE_ROWS)
            end = max(rows) + b"\x00" if len(rows) == PAGE_ROWS else _LAST
            yield begin, end, rows
            begin = end

    def _there(self, path: Path, prefix: bytes, begin: bytes, end: bytes) -> Rows:
        rows = self._target.rows(prefix, begin, end)
        if path == (self._root, SYSTEM):
            rows.pop(_GATE, None)
        return rows

    def _write(self, prefix: bytes, changes: dict[bytes, bytes | None]) -> None:
        for share in shares(changes, WRITE_BYTES):

            def work(transaction: Transaction, share: dict[bytes, bytes | None] = share) -> None:
                for key, value in share.items():
                    if value is None:
                        transaction.clear(prefix + key)
                    else:
                        transaction.set(prefix + key, value)

            self._target.engine.run(work)
            self.tally.written += len(share)

    def _directories(self) -> Iterator[Path]:
        engine = self._source.engine
        yield (self._root, SYSTEM)
        for tenant in engine.list_directories((self._root,)):
            if tenant != SYSTEM:
                yield (self._root, tenant)
                yield from ((self._root, tenant, name) for name in engine.list_directories((self._root, tenant)))

    def _made(self, path: Path) -> bytes:
        prefix = self._target.engine.directory(path)
        assert prefix is not None, "it is made where it is missing"
        return prefix


def differences(wanted: Rows, there: Rows) -> dict[bytes, bytes | None]:
    """What makes ``there`` equal to ``wanted``: values to set, and None for keys to clear."""
    changes: dict[bytes, bytes | None] = {key: value for key, value in wanted.items() if there.get(key) != value}
    return changes | dict.fromkeys(there.keys() - wanted.keys())


def shares(changes: dict[bytes, bytes | None], max_bytes: int) -> Iterator[dict[bytes, bytes | None]]:
    """The same in parts of about ``max_bytes``, each with at least one change."""
    share: dict[bytes, bytes | None] = {}
    size_bytes = 0
    for key, value in changes.items():
        share[key] = value
        size_bytes += len(key) + len(value or b"")
        if size_bytes >= max_bytes:
            yield share
            share, size_bytes = {}, 0
    if share:
        yield share


def _expected(path: Path, rows: Rows, begin: bytes, end: bytes) -> Rows:
    """What the target is to have where the source has ``rows``."""
    if path[1:] == (SYSTEM,):
        return {key: value for key, value in rows.items() if key != _GATE}
    if len(path) == 3 and begin <= _INCARNATION < end:
        raised = int.from_bytes(rows.get(_INCARNATION, b"\x01"), "big") + 1
        if raised > MAX_INCARNATION:
            raise EnchantedError(f"Project {'/'.join(path[1:])} has been moved too often: it cannot be again.")
        return rows | {_INCARNATION: raised.to_bytes(1, "big")}
    return rows
