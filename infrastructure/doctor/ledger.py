"""The ledger: whether it opens in a form that this version reads, takes writes, and keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from infrastructure.doctor.disks import room_at
from infrastructure.doctor.findings import Finding, Patient, failure, ok, warning
from nervous_system.ledger.engines import EMBEDDED
from nervous_system.ledger.gate import GateError, Shut
from nervous_system.ledger.ledger import Ledger

CHECK = "ledger"
# Before it, WAL mode with several writers can corrupt: https://sqlite.org/wal.html#walresetbug
LEAST_SQLITE = (3, 51, 3)


def look(patient: Patient) -> Iterator[Finding]:
    """All about the ledger; raises EnchantedError where it cannot be opened."""
    address = patient.settings.ledger
    if not address:
        yield warning(CHECK, "None is set, so nothing can be restored from here: set ENCHANTED_LEDGER for that.")
        return
    embedded = address.startswith(EMBEDDED)
    if embedded:
        yield _sqlite()
        yield room_at(f"{CHECK}: disk", Path(address.removeprefix(EMBEDDED)))
    ledger = Ledger.open(patient.settings, create=False)
    try:
        projects = len(ledger.projects())
        yield from _gate(ledger)
    finally:
        ledger.close()
    yield ok(f"{CHECK}: connection", f"{address} opens, in a form that this version reads; projects: {projects:,}.")
    if embedded:
        yield from _file(Path(address.removeprefix(EMBEDDED)))


def _gate(ledger: Ledger) -> Iterator[Finding]:
    try:
        ledger.check_gate()
    except GateError as error:
        # A rebuild or a move here comes to its end by itself; what was moved away stays so.
        yield (failure if error.kind is Shut.MOVED_AWAY else warning)(f"{CHECK}: gate", str(error))


def _sqlite() -> Finding:
    import apsw

    version = apsw.sqlite_lib_version()
    numbers = tuple(int(part) for part in version.split("."))
    if numbers < LEAST_SQLITE:
        return failure(f"{CHECK}: version", f"SQLite {version} can damage a ledger: pip install --upgrade apsw.")
    return ok(f"{CHECK}: version", f"SQLite {version}.")


def _file(path: Path) -> Iterator[Finding]:
    import apsw

    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        mode = connection.execute("PRAGMA journal_mode").get
        if mode == "wal":
            # Our own connections set it to FULL; nobody else's write.
            yield ok(f"{CHECK}: fsync", "A commit is on disk when it is answered (WAL, synchronous FULL).")
        else:
            yield failure(
                f"{CHECK}: fsync",
                f"Its journal mode is {mode}, and must be WAL: sqlite3 {path} 'PRAGMA journal_mode=WAL'.",
            )
        connection.set_busy_timeout(2_000)
        connection.execute("BEGIN IMMEDIATE; ROLLBACK")
        yield ok(f"{CHECK}: write", "May write; nothing was.")
    except apsw.BusyError:
        yield warning(f"{CHECK}: write", "Another process has been writing for 2 s: see what keeps it.")
    except apsw.Error as error:
        yield failure(f"{CHECK}: write", f"{path} cannot be written ({error}): see its permissions and its disk.")
    finally:
        connection.close()
