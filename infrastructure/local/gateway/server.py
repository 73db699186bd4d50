"""The HTTP side: answers as a ClickHouse server does, each query in a thread, so that none holds up the event loop.

Source: https://clickhouse.com/docs/interfaces/http and HTTPHandler.cpp of ClickHouse.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO

from aiohttp import web

from infrastructure.local.gateway.compression import Encoder, choose, encoder
from infrastructure.local.gateway.engine import Engine, Outcome
from infrastructure.local.gateway.errors import QueryError
from infrastructure.local.gateway.execution import Query, execute, read_query
from infrastructure.local.gateway.formats import content_type
from infrastructure.local.gateway.pipes import Pipe
from infrastructure.local.gateway.requests import (
    CHUNK_BYTES,
    SPOOL_MEMORY_BYTES,
    Credentials,
    Request,
    disk_error,
    read_request,
)
from infrastructure.local.gateway.sessions import Session, Sessions
from infrastructure.local.gateway.statements import Kind
from infrastructure.local.gateway.telemetry import CLIENT_CLOSED, METER, Meter, add_pages, watch
from nervous_system.telemetry.condition import Condition

_THREADS = 64
_HELD_MAX_BYTES = 1_000_000
_HELD_MAX_S = 0.5
_CANCEL_EVERY_S = 0.5
_CLOSE_TIMEOUT_S = 10.0

Execution = asyncio.Future[tuple[Outcome, float]]


class Gateway:
    """The HTTP application over one engine."""

    def __init__(self, engine: Engine, credentials: Credentials) -> None:
        self._engine = engine
        self._credentials = credentials
        self._sessions = Sessions()
        self._threads = ThreadPoolExecutor(_THREADS, "query")
        self._running: set[str] = set()
        self._abandoned: set[asyncio.Task[None]] = set()
        self._condition = Condition()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/ping", _ok)
        app.router.add_get("/replicas_status", self._replicas_status)
        app.router.add_route("*", "/", self._query)
        add_pages(app, self._condition)
        return app

    async def watch(self) -> None:
        """Looks after the engine, for the pages, until it is cancelled."""
        await watch(self._condition, self._check)

    async def _check(self) -> None:
        # Among the queries: where they leave no thread, the gateway is not ready either.
        await asyncio.get_running_loop().run_in_executor(self._threads, self._engine.check)

    async def close(self) -> None:
        """Waits, bounded, for queries whose clients have gone, then ends the threads."""
        if self._abandoned:
            await asyncio.wait(self._abandoned, timeout=_CLOSE_TIMEOUT_S)
        self._threads.shutdown(wait=not self._abandoned, cancel_futures=True)
        self._sessions.close()

    async def _replicas_status(self, request: web.Request) -> web.Response:
        try:
            self._credentials.check(request)
        except QueryError as error:
            return self._failure(error, "")
        return await _ok(request)

    async def _query(self, request: web.Request) -> web.StreamResponse:
        with Meter(request) as request[METER]:
            return await self._measured(request)

    async def _measured(self, request: web.Request) -> web.StreamResponse:
        meter: Meter = request[METER]
        asked: Request | None = None
        query_id = request.query.get("query_id", "")
        try:
            self._credentials.check(request)
            asked = await read_request(request, self._engine.spool_dir)
            query_id = asked.query_id
            query = read_query(asked)
            meter.read(query_id, query.statement.kind)
            with (
                self._sessions.entered(
                    asked.session_id,
                    asked.session_timeout_s,
                    must_exist=asked.session_check,
                    close=asked.close_session,
                ) as session,
                self._named(query_id),
            ):
                answer = await self._answer(request, query, session)
            meter.answered()
            return answer
        except QueryError as error:
            meter.failed(error)
            return self._failure(error, query_id)
        except ConnectionError:
            return web.Response(status=CLIENT_CLOSED)
        finally:
            if asked is not None:
                asked.close()

    @contextlib.contextmanager
    def _named(self, query_id: str) -> Iterator[None]:
        if query_id in self._running:
            text = f"Query with id = {query_id} is already running."
            raise QueryError(216, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING", text)
        self._running.add(query_id)
        try:
            yield
        finally:
            self._running.discard(query_id)

    async def _answer(self, request: web.Request, query: Query, session: Session) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        pipe = await Pipe.open()
        run: Execution = loop.run_in_executor(self._threads, execute, self._engine, session, query, pipe.write_fd)
        run.add_done_callback(_retrieve)
        try:
            return await self._stream(request, query, pipe, run)
        except BaseException:
            # The client has gone, or the gateway stops. A query that only reads is stopped; any other one ends.
            await self._leave(query, pipe, run)
            raise
        finally:
            pipe.close()

    async def _leave(self, query: Query, pipe: Pipe, run: Execution) -> None:
        if not run.done():
            task = asyncio.ensure_future(self._abandon(query, pipe, run))
            self._abandoned.add(task)
            task.add_done_callback(self._abandoned.discard)
            # What the query uses (its session, its spooled body) may only be closed once it has ended.
            await _uncancelled(task)

    async def _abandon(self, query: Query, pipe: Pipe, run: Execution) -> None:
        reads = query.statement.kind in (Kind.SELECT, Kind.ANSWER)
        drain = asyncio.ensure_future(pipe.drain())
        while not run.done():
            if reads:
                await asyncio.to_thread(self._engine.cancel, query.asked.query_id)
            await asyncio.wait([run], timeout=_CANCEL_EVERY_S)
        await drain

    async def _stream(self, request: web.Request, query: Query, pipe: Pipe, run: Execution) -> web.StreamResponse:
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_MEMORY_BYTES, dir=str(self._engine.spool_dir)) as held:
            try:
                complete = await pipe.hold(held, **_hold_limits(query.asked))
            except OSError as error:
                raise disk_error(error) from error
            outcome, elapsed_s = await run if complete else (Outcome(), 0.0)
            answer = _Answer(request, self._headers(query, outcome, elapsed_s), query)
            try:
                async for chunk in _chain(held, pipe, run):
                    await answer.write(chunk)
            except QueryError as error:
                request[METER].failed(error)
                return await answer.fail(error.render(self._engine.version))
            return await answer.finish()

    def _headers(self, query: Query, outcome: Outcome, elapsed_s: float) -> dict[str, str]:
        headers = self._common_headers(query.asked.query_id)
        headers["X-ClickHouse-Summary"] = summary(outcome, elapsed_s)
        if query.statement.kind in (Kind.SELECT, Kind.ANSWER):
            headers["X-ClickHouse-Format"] = query.format
            headers["Content-Type"] = content_type(query.format)
        else:
            headers["Content-Type"] = "text/plain; charset=UTF-8"
        return headers

    def _common_headers(self, query_id: str) -> dict[str, str]:
        return {
            "X-ClickHouse-Server-Display-Name": self._engine.host,
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Timezone": self._engine.timezone,
        }

    def _failure(self, error: QueryError, query_id: str) -> web.Response:
        headers = self._common_headers(query_id)
        headers["X-ClickHouse-Exception-Code"] = str(error.code)
        return web.Response(status=error.status, text=error.render(self._engine.version), headers=headers)


class _Answer:
    """An answer on its way: its head is sent with the first bytes, its end says whether the query went well."""

    def __init__(self, request: web.Request, headers: dict[str, str], query: Query) -> None:
        self._request = request
        self._tag = secrets.token_hex(8)
        self._encoding = choose(query.asked.accept_encoding, enabled=query.asked.compresses)
        if self._encoding:
            headers["Content-Encoding"] = self._encoding
        headers["X-ClickHouse-Exception-Tag"] = self._tag
        self._response = web.StreamResponse(headers=headers)
        self._encoder: Encoder = encoder(self._encoding)

    async def write(self, data: bytes) -> None:
        await self._send(await asyncio.to_thread(self._encoder.compress, data) if self._encoding else data)

    async def finish(self) -> web.StreamResponse:
        await self._send(self._encoder.flush())
        await self._response.write_eof()
        return self._response

    async def fail(self, text: str) -> web.StreamResponse:
        """Ends the answer as a server does where it fails after its head: the exception, then a cut connection."""
        message = text.rstrip("\n").encode()
        marks = (b"\r\n__exception__\r\n", self._tag.encode(), b"\r\n", message, b"\n")
        end = f"{len(message)} {self._tag}\r\n__exception__\r\n".encode()
        await self.write(b"".join(marks) + end)
        await self._send(self._encoder.flush())
        if self._request.transport is not None:
            self._request.transport.close()
        return self._response

    async def _send(self, data: bytes) -> None:
        if not self._response.prepared:
            await self._response.prepare(self._request)
        if data:
            await self._response.write(data)


def summary(outcome: Outcome, elapsed_s: float) -> str:
    """The JSON of X-ClickHouse-Summary: every number a string."""
    numbers = {
        "read_rows": outcome.read_rows,
        "read_bytes": outcome.read_bytes,
        "written_rows": outcome.written_rows,
        "written_bytes": outcome.written_bytes,
        "total_rows_to_read": "0",
        "result_rows": outcome.result_rows,
        "result_bytes": len(outcome.data),
        "elapsed_ns": round(elapsed_s * 1e9),
    }
    return json.dumps({name: str(number) for name, number in numbers.items()}, separators=(",", ":"))


def _hold_limits(asked: Request) -> dict[str, float | None]:
    if asked.wait_end_of_query:
        return {"max_bytes": None, "max_s": None}
    return {"max_bytes": _HELD_MAX_BYTES, "max_s": _HELD_MAX_S}


async def _chain(held: IO[bytes], pipe: Pipe, run: Execution) -> AsyncIterator[bytes]:
    """All of the answer: what was held back, what still comes, and what came at the end. Raises QueryError."""
    held.seek(0)
    while chunk := held.read(CHUNK_BYTES):
        yield chunk
    while chunk := await pipe.read():
        yield chunk
    outcome, _ = await run
    if outcome.data:
        yield outcome.data


async def _uncancelled(task: asyncio.Task[None]) -> None:
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            continue


def _retrieve(run: Execution) -> None:
    """A failure that nobody waits for any more is no news."""
    if not run.cancelled():
        run.exception()


async def _ok(_: web.Request) -> web.Response:
    return web.Response(text="Ok.\n")
