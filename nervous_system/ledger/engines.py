"""The one place where the ledger's engine is chosen."""

from __future__ import annotations

from pathlib import Path

from nervous_system.errors import SettingsError
from nervous_system.ledger.tls import TLS
from nervous_system.ledger.transaction import Engine

EMBEDDED = "embedded://"
FOUNDATIONDB = "fdb:"


def open_engine(address: str, *, create: bool = True, tls: TLS | None = None) -> Engine:
    """The engine at ``address``.

    Args:
        address: ``embedded:///folder/ledger.sqlite``; ``fdb:///folder/fdb.cluster``; or ``fdb:`` for FoundationDB's
            default cluster file.
        create: whether an embedded ledger that is not there is made; who only reads makes none.
        tls: for FoundationDB.

    Raises:
        SettingsError: the address is neither, or what it names cannot be used.
        UnavailableError: what it names does not answer.
    """
    if address.startswith(EMBEDDED + "/"):
        from nervous_system.ledger.embedded import EmbeddedEngine

        path = Path(address.removeprefix(EMBEDDED))
        if not create and not path.exists():
            raise SettingsError(
                f"There is no ledger at {path}: start the stack with `enchanted up`, or correct the path."
            )
        return EmbeddedEngine(path)
    if address == FOUNDATIONDB or address.startswith(FOUNDATIONDB + "///"):
        from nervous_system.ledger.foundationdb import FoundationDBEngine

        return FoundationDBEngine(address.removeprefix(FOUNDATIONDB).removeprefix("//") or None, tls)
    raise SettingsError(
        f"{address!r} is not a ledger's address: write embedded:///folder/ledger.sqlite, fdb:///folder/fdb.cluster, "
        "or fdb: for FoundationDB's default cluster file."
    )
