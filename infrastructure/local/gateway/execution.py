"""One query, from its text to the engine: runs in a thread of its own, its rows leaving through a pipe."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from infrastructure.local.gateway.engine import SERVER_SETTINGS, Connection, Engine, Outcome, chunks_of
from infrastructure.local.gateway.errors import QueryError
from infrastructure.local.gateway.formats import DEFAULT_FORMAT
from infrastructure.local.gateway.requests import Request, is_true
from infrastructure.local.gateway.sessions import Session
from infrastructure.local.gateway.statements import HEAD_MAX_BYTES, Kind, Statement, read, with_output

_TEXT_MAX_BYTES = 64_000_000


@dataclass(slots=True)
class Query:
    """A query that is about to run.

    Args:
        head: the first bytes of the text; of an INSERT, its data goes on in ``rest``.
    """

    asked: Request
    statement: Statement
    head: bytes
    rest: IO[bytes] | None

    @property
    def format(self) -> str:
        """The format of the answer."""
        return self.statement.format or self.asked.default_format or DEFAULT_FORMAT

    def data(self) -> Iterator[bytes]:
        """What an INSERT brings."""
        if first := self.head[self.statement.data_offset :]:
            yield first
        if self.rest is not None:
            yield from chunks_of(self.rest)


def read_query(asked: Request) -> Query:
    """Reads the text: the URL's query, then the body, as a server joins them. Raises QueryError."""
    head = asked.query
    if asked.body is not None:
        head += (b"\n" if head else b"") + asked.body.read(HEAD_MAX_BYTES)
    statement = read(head)
    if statement.kind is not Kind.INSERT and asked.body is not None and (more := asked.body.read(_TEXT_MAX_BYTES)):
        if len(more) == _TEXT_MAX_BYTES:
            raise QueryError(307, "QUERY_IS_TOO_LARGE", f"The query is longer than {_TEXT_MAX_BYTES} bytes")
        head += more
        statement = read(head)
    return Query(asked, statement, head, asked.body)


def execute(engine: Engine, session: Session, query: Query, write_fd: int) -> tuple[Outcome, float]:
    """Runs ``query``; a SELECT's rows go into the pipe ``write_fd``, which is closed at the end.

    Returns what it did, and for how many seconds. Raises QueryError.
    """
    start_s = time.monotonic()
    try:
        with _connected(engine, session, query) as connection:
            return _run(connection, query, write_fd), time.monotonic() - start_s
    finally:
        os.close(write_fd)


@contextlib.contextmanager
def _connected(engine: Engine, session: Session, query: Query) -> Iterator[Connection]:
    """The session's connection where it has one, put back as it was; else a new one."""
    asked, statement = query.asked, query.statement
    stays = session.connection is not None or bool(asked.session_id and statement.makes_state)
    connection = session.connection or engine.connect()
    try:
        with contextlib.ExitStack() as stack:
            if stays:
                _keep_readable(query)
                names = [*asked.settings, "log_comment"]
                stack.enter_context(connection.restored(names, keeps_database=statement.is_use))
            for table in asked.tables:
                stack.callback(connection.drop_table, table.name)
            _prepare(connection, asked)
            yield connection
        if stays:
            session.connection = connection
    finally:
        if connection is not session.connection:
            connection.close()


def _keep_readable(query: Query) -> None:
    """Holds a session's query to ``readonly`` here: the engine would never let the session out of it again."""
    readonly = query.asked.settings.pop("readonly", "0")
    changes = query.statement.kind in (Kind.INSERT, Kind.COMMAND) and not query.statement.makes_state
    if is_true(readonly) and changes:
        raise QueryError(164, "READONLY", "Cannot execute query in readonly mode.")


def _prepare(connection: Connection, asked: Request) -> None:
    if asked.database:
        connection.use(asked.database)
    # What makes a query read-only would also forbid the tables that it brings.
    first = {name: value for name, value in asked.settings.items() if name != "readonly"}
    # The comment is how a query that is left is found again, to be stopped.
    connection.set({**SERVER_SETTINGS, **first, "log_comment": asked.query_id})
    for table in asked.tables:
        connection.create_table(table)
    connection.set({name: value for name, value in asked.settings.items() if name == "readonly"})


def _run(connection: Connection, query: Query, write_fd: int) -> Outcome:
    statement, parameters = query.statement, query.asked.parameters
    if statement.kind is Kind.INSERT:
        connection.set_parameters(parameters)
        return connection.insert(statement, query.data())
    if statement.kind is Kind.SELECT and query.format == "Native" and not statement.has_totals:
        return connection.stream(statement.text, query.format, parameters, write_fd)
    if statement.kind is Kind.SELECT:
        try:
            return connection.run(with_output(statement, f"/dev/fd/{write_fd}"), query.format, parameters)
        except QueryError as error:
            # Below are the engine's own words about the text as it was sent, not as it was changed.
            if error.name != "SYNTAX_ERROR":
                raise
    return connection.run(statement.text, query.format, parameters)
