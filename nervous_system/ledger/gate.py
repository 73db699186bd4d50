"""The gate of a ledger: a mark, read in every landing's own transaction, that keeps others from landing meanwhile."""

from __future__ import annotations

from enum import IntEnum

from nervous_system.errors import EnchantedError
from nervous_system.ledger import keys, tuples
from nervous_system.ledger.transaction import Engine


class Shut(IntEnum):
    """Why the gate is shut: the first byte of the mark; an address follows where it says where to or from."""

    REBUILDING = 1
    MOVING_HERE = 2
    MOVED_AWAY = 3


_SENTENCES = {
    Shut.REBUILDING: (
        "The ledger is being rebuilt from the archive, and nothing else lands before that is finished: let "
        "`enchanted rebuild ledger --from-archive` run, or run it again. Ingestors wait by themselves."
    ),
    Shut.MOVING_HERE: (
        "A ledger is being moved here from {address}, and nothing lands before that is finished: let `enchanted ledger "
        "move` run, or run it again. Ingestors wait by themselves."
    ),
    Shut.MOVED_AWAY: (
        "This ledger was moved to {address}: set ENCHANTED_LEDGER to it, and start again. Nothing is lost; the log "
        "keeps what comes."
    ),
}


class GateError(EnchantedError):
    """The gate is shut: nothing lands."""

    def __init__(self, mark: bytes) -> None:
        self.kind, address = read_mark(mark)
        super().__init__(_SENTENCES[self.kind].format(address=address))


class Gate:
    """One ledger's gate.

    Args:
        engine: of the ledger.
        system_prefix: of what belongs to no project.
    """

    def __init__(self, engine: Engine, system_prefix: bytes) -> None:
        self._engine = engine
        self._prefix = system_prefix
        self.key = gate_key(system_prefix)

    def state(self) -> tuple[Shut, str] | None:
        """Why it is shut, and the address that goes with it; None where it is open."""
        mark = self._engine.run(lambda transaction: transaction.get(self.key))
        return None if mark is None else read_mark(mark)

    def check(self) -> None:
        """Raises GateError where it is shut."""
        mark = self._engine.run(lambda transaction: transaction.get(self.key))
        if mark is not None:
            raise GateError(mark)

    def shut(self, kind: Shut, address: str = "") -> None:
        """No landing commits from now on."""
        self._engine.run(lambda transaction: transaction.set(self.key, bytes((kind,)) + address.encode()))

    def open(self) -> None:
        """Lets all land again."""
        self._engine.run(lambda transaction: transaction.clear(self.key))

    def has_landed(self) -> bool:
        """Whether anybody ever landed here: whoever does moves a cursor with it, in the same transaction."""
        cursors = keys.within(tuples.pack(("cursor",), self._prefix))
        return bool(self._engine.run(lambda transaction: transaction.get_range(*cursors, limit=1)))


def gate_key(system_prefix: bytes) -> bytes:
    """Where the mark is; there is none while the gate is open."""
    return tuples.pack(("rebuilding",), system_prefix)


def read_mark(mark: bytes) -> tuple[Shut, str]:
    """What a mark says."""
    return Shut(mark[0]), mark[1:].decode()
