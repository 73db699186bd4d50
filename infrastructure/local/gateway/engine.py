"""chDB: the engine on its data folder, and the connections that queries run on.

chDB allows any number of connections to the one folder a process holds, from any thread; a query leaves Python's lock
while it runs, and queries on different connections run side by side, readers beside writers. Settings, the current
database and temporary tables belong to a connection, so each query gets a new one (half a millisecond) and leaks
nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import chdb

from infrastructure.local.gateway.errors import GatewayError, QueryError, from_engine
from infrastructure.local.gateway.requests import Table, disk_error
from infrastructure.local.gateway.statements import Statement, read, with_input

_CONFIG = Path(__file__).with_name("config.xml")
_STATUS_FILE = "status"
_SPOOL_FOLDER = "gateway-spool"
_APPEND_BYTES = 1_000_000
_FREE_MIN_BYTES = 16_000_000
# What clickhouse-local turns on and a server does not.
SERVER_SETTINGS = {"implicit_select": "0", "allow_introspection_functions": "0"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a statement did, in rows and bytes."""

    data: bytes = b""
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0


class Connection:
    """One connection: its settings, database and temporary tables. Used by one thread at a time; raises QueryError."""

    def __init__(self, path: str, spool_dir: Path) -> None:
        self._spool_dir = spool_dir
        with _translated():
            self._connection = chdb.connect(path)

    def run(
        self, text: bytes, format_name: str = "TabSeparated", parameters: Mapping[str, str] | None = None
    ) -> Outcome:
        """Runs one statement, its answer whole in memory."""
        with _translated():
            result = self._connection.query(_text(text), format_name, params=dict(parameters or {}))
            return Outcome(
                data=result.bytes() or b"",
                read_rows=result.storage_rows_read(),
                read_bytes=result.storage_bytes_read(),
                written_rows=result.rows_written(),
                written_bytes=result.bytes_written(),
                result_rows=result.rows_read(),
            )

    def stream(self, text: bytes, format_name: str, parameters: Mapping[str, str], write_fd: int) -> Outcome:
        """Runs a SELECT and writes each block into ``write_fd`` as it comes, in a format that has no head or tail.

        An empty answer writes nothing, as a server's in Native.
        """
        rows = read_rows = read_bytes = 0
        with _translated(), self._connection.send_query(_text(text), format_name, params=dict(parameters)) as chunks:
            for chunk in chunks:
                _write(write_fd, chunk.bytes())
                rows += chunk.rows_read()
                read_rows, read_bytes = chunk.storage_rows_read(), chunk.storage_bytes_read()
        return Outcome(read_rows=read_rows, read_bytes=read_bytes, result_rows=rows)

    def insert(self, statement: Statement, chunks: Iterable[bytes]) -> Outcome:
        """Runs an INSERT on the bytes in ``chunks``, through a file; nothing is kept where it raises, up to the
        engine's block size (``min_insert_block_size_rows``), after which blocks land one by one.

        chDB's ``send_insert`` would spare the file, but reports success where the disk is full.
        """
        try:
            with tempfile.TemporaryFile(dir=self._spool_dir) as data:
                data.writelines(chunks)
                data.flush()
                data.seek(0)
                return self.run(with_input(statement, f"/dev/fd/{data.fileno()}"))
        except OSError as error:
            raise disk_error(error) from error

    def set(self, settings: Mapping[str, str]) -> None:
        if settings:
            pairs = ", ".join(f"{_setting_name(name)} = {quote(value)}" for name, value in settings.items())
            self.run(f"SET {pairs}".encode("utf-8", "surrogateescape"))

    def set_parameters(self, parameters: Mapping[str, str]) -> None:
        """Gives ``{name:Type}`` its value, for statements that take no parameters of their own."""
        self.set({f"param_{name}": value for name, value in parameters.items()})

    def use(self, database: str) -> None:
        self.run(f"USE {quote_name(database)}".encode())

    def create_table(self, table: Table) -> None:
        """A temporary table that holds external data."""
        name = quote_name(table.name)
        self.run(f"CREATE TEMPORARY TABLE {name} ({table.structure})".encode())
        self.insert(read(f"INSERT INTO {name} FORMAT {table.format}\n".encode()), chunks_of(table.data))

    def drop_table(self, name: str) -> None:
        """Drops a temporary table, if it was made and may be dropped; it ends with the connection at the latest."""
        with contextlib.suppress(QueryError):
            self.run(f"DROP TEMPORARY TABLE IF EXISTS {quote_name(name)}".encode())

    @contextlib.contextmanager
    def restored(self, names: Collection[str], *, keeps_database: bool) -> Iterator[None]:
        """Puts settings and database back as they were, for a connection that outlives the query."""
        wanted = ", ".join(["''", *map(quote, names)])
        known = self._names(f"SELECT name, value FROM system.settings WHERE changed AND name IN ({wanted})")
        database = self._names("SELECT '', currentDatabase()")[""]
        try:
            yield
        finally:
            for name in names:
                value = quote(known[name]) if name in known else "DEFAULT"
                with contextlib.suppress(QueryError):
                    self.run(f"SET {_setting_name(name)} = {value}".encode())
            if not keeps_database:
                self.use(database)

    def _names(self, query: str) -> dict[str, str]:
        rows = self.run(query.encode(), "TabSeparatedRaw").data.decode().splitlines()
        return {name: value for name, _, value in (row.partition("\t") for row in rows)}

    def close(self) -> None:
        self._connection.close()


class Engine:
    """The engine on a data folder.

    Args:
        data: the folder, made where it is missing. Raises GatewayError where it cannot be held.
    """

    def __init__(self, data: Path) -> None:
        self._data = data.resolve()
        self.spool_dir = self._data / _SPOOL_FOLDER
        _prepare(self._data, self.spool_dir)
        self._path = f"{self._data}?config-file={_CONFIG}"
        try:
            self._keeper = Connection(self._path, self.spool_dir)
        except QueryError as error:
            raise GatewayError(f"The engine does not start on {self._data}: {error}") from error
        facts = self._keeper.run(b"SELECT version(), timezone(), hostName()").data.decode().rstrip("\n").split("\t")
        self.version, self.timezone, self.host = facts

    def connect(self) -> Connection:
        return Connection(self._path, self.spool_dir)

    def cancel(self, query_id: str) -> None:
        """Asks the engine to stop the query that carries ``query_id`` as its log_comment."""
        connection = self.connect()
        try:
            where = f"Settings['log_comment'] = {quote(query_id)}"
            connection.run(f"KILL QUERY WHERE {where} ASYNC".encode())
        finally:
            connection.close()

    def check(self) -> None:
        """Returns where a query can be run; raises QueryError otherwise."""
        connection = self.connect()
        try:
            connection.run(b"SELECT 1")
        finally:
            connection.close()

    def close(self) -> None:
        self._keeper.close()


def _prepare(data: Path, spool_dir: Path) -> None:
    if "?" in str(data):
        raise GatewayError(f"The data folder {data} has a question mark in its name: choose another one.")
    try:
        spool_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GatewayError(f"The data folder {data} cannot be made: {error.strerror}. Choose another one.") from error
    if shutil.disk_usage(data).free < _FREE_MIN_BYTES:
        raise GatewayError(
            f"The disk of {data} is full: free at least {_FREE_MIN_BYTES // 1_000_000} MB and start again."
        )
    _check_unlocked(data)


def _check_unlocked(data: Path) -> None:
    """chDB would say only that it cannot start, so its lock is tried first."""
    try:
        with (data / _STATUS_FILE).open("rb") as status:
            fcntl.flock(status, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return
    except BlockingIOError as error:
        raise GatewayError(
            f"The data folder {data} is held by another process: stop that gateway, or choose another folder."
        ) from error
    except OSError as error:
        raise GatewayError(f"The data folder {data} cannot be read: {error.strerror}.") from error


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (chdb.ChdbError, RuntimeError) as error:
        raise from_engine(str(error)) from error


def _text(text: bytes) -> Any:
    """chDB's annotations say str; its binding takes bytes as they are, which a query may hold beyond UTF-8."""
    return text


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def chunks_of(data: IO[bytes]) -> Iterator[bytes]:
    while chunk := data.read(_APPEND_BYTES):
        yield chunk


def quote(value: str) -> str:
    """A string as an SQL literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_name(name: str) -> str:
    """A name as an SQL identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _setting_name(name: str) -> str:
    if not name.replace("_", "").replace(".", "").isalnum() or not name.isascii():
        raise QueryError(115, "UNKNOWN_SETTING", f"Unknown setting '{name}'.")
    return name
