"""Filling an empty ledger from the archive: the mark that keeps all others from landing meanwhile.

Events fold in the order of their versions, so nothing newer may land before what the archive has. The mark is read in
every landing's own transaction; only the rebuild's landings pass it.

A ledger that is filled anew gives new versions. So that none that somebody wrote down can come to mean another event,
its versionstamps begin at the number of microseconds since 1970: no ledger before it can have got there, since each
began below, at 0 or at the time of its own rebuild, and takes less than a million commits a second; by the clock or by
the last time in the archive, whichever is later, for the clock may have fallen back since. (To raise the
incarnation instead would put a project's past behind its forks, which name theirs in their events.)
"""

from __future__ import annotations

from nervous_system.errors import EnchantedError, SettingsError
from nervous_system.landing import Cursor
from nervous_system.ledger import keys, tuples
from nervous_system.ledger.gate import Gate, GateError, Shut, gate_key, read_mark
from nervous_system.ledger.records import decode_cursor
from nervous_system.ledger.transaction import Engine, Transaction
from nervous_system.streams import StreamIdentity

Standing = dict[tuple[str, StreamIdentity, int], Cursor]
"""Where sinks stand, by sink, stream and partition."""

_BEGUN = bytes((Shut.REBUILDING,))
_AN_HOUR_US = 3_600_000_000


class NotEmptyError(EnchantedError):
    """A store that is to be rebuilt holds events, and no rebuild of it was begun."""


def is_marked(engine: Engine, system_prefix: bytes) -> bool:
    """Whether a rebuild was begun and is not finished."""
    return Gate(engine, system_prefix).state() == (Shut.REBUILDING, "")


def is_empty(engine: Engine, system_prefix: bytes) -> bool:
    """Whether nobody has landed anything, and no rebuild was begun."""
    wanted = (gate_key(system_prefix), _cursors(system_prefix))

    def work(transaction: Transaction) -> bool:
        return transaction.get(wanted[0]) is None and not transaction.get_range(*wanted[1], limit=1)

    return engine.run(work)


def _cursors(system_prefix: bytes) -> tuple[bytes, bytes]:
    # Whoever lands moves a cursor with it, in the same transaction.
    return keys.within(tuples.pack(("cursor",), system_prefix))


def cursors(engine: Engine, system_prefix: bytes) -> Standing:
    """Where every sink stands that has landed anything."""
    rows = engine.run(lambda transaction: transaction.get_range(*_cursors(system_prefix)))
    return dict(_standing(key.removeprefix(system_prefix), value) for key, value in rows)


def _standing(key: bytes, value: bytes) -> tuple[tuple[str, StreamIdentity, int], Cursor]:
    _, sink, stream, partition = tuples.unpack(key)
    return (str(sink), StreamIdentity.parse(str(stream)), int(str(partition))), Cursor(*decode_cursor(value))


def mark(engine: Engine, system_prefix: bytes, found_good: Standing, least: int) -> None:
    """Begins a rebuild, or goes on with one.

    Args:
        engine, system_prefix: of the ledger.
        found_good: where its sinks stood when what it holds was found to be the archive's beginning; empty where that
            was not looked for.
        least: where the versionstamps of a ledger begin that is rebuilt: microseconds since 1970.

    Raises:
        NotEmptyError: somebody has landed in this ledger, and no rebuild was begun.
        GateError: it was moved away, or is being moved here.
        SettingsError: the cluster's versions must be raised first.
    """
    gate, cursors = gate_key(system_prefix), _cursors(system_prefix)

    def work(transaction: Transaction) -> None:
        found = transaction.get(gate)
        if found is not None:
            if read_mark(found)[0] is not Shut.REBUILDING:
                raise GateError(found)
            return
        rows = transaction.get_range(*cursors)
        if dict(_standing(key.removeprefix(system_prefix), value) for key, value in rows) != found_good:
            raise NotEmptyError(
                "The ledger is not empty, and no rebuild of it was begun: stop the ingestors, move it away (its "
                "file, or its directory in the cluster), and run this again. `enchanted verify --archive` tells "
                "whether it holds what the archive does."
            )
        transaction.set(gate, _BEGUN)

    if not is_marked(engine, system_prefix):
        raise_versions(engine, least)
    engine.run(work)


def unmark(engine: Engine, system_prefix: bytes) -> None:
    """Ends a rebuild: all may land again."""
    Gate(engine, system_prefix).open()


def raise_versions(engine: Engine, least: int) -> None:
    """Has the engine give versionstamps of ``least`` and above from now on; raises SettingsError where it cannot."""
    if engine.run(lambda transaction: transaction.read_version()) >= least:
        return
    from nervous_system.ledger.embedded import EmbeddedEngine

    if not isinstance(engine, EmbeddedEngine):
        raise SettingsError(
            "This cluster's versions begin where an earlier ledger's may have been, so that a version that somebody "
            f'wrote down could come to mean another event: run `fdbcli --exec "advanceversion {least + _AN_HOUR_US}"` '
            "once, and this again within the hour."
        )
    engine.raise_version(least)
