"""What the gateway tells of itself: its pages, the numbers of its queries, a log line for each that fails.

No label and no line has words of a query, which may quote data.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import Counter, Gauge, Histogram

from infrastructure.local.gateway.errors import QueryError
from infrastructure.local.gateway.statements import Kind
from nervous_system.telemetry import logs
from nervous_system.telemetry.condition import Condition
from nervous_system.telemetry.pages import expose, page

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
PAGES = ("/metrics", "/healthz", "/readyz")
CLIENT_CLOSED = 499  # nobody reads it
METER = "meter"
"""By this name a request carries its meter."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_UNREAD = "none"

QUERIES = Counter(
    "enchanted_gateway_queries", "Queries ended, by kind (none: it could not be read) and outcome", ("kind", "outcome")
)
SECONDS = Histogram(
    "enchanted_gateway_query_seconds", "How long queries took, their transfer included", ("kind",), buckets=_SECONDS
)
RUNNING = Gauge("enchanted_gateway_queries_running", "Queries that run, or whose data is on its way")


class Meter:
    """Measures one query, for the length of a ``with`` block; its outcome is ``left`` where none was given.

    Args:
        request: what asks.
    """

    def __init__(self, request: web.Request) -> None:
        self._query_id = ""
        self._trace_id = logs.parent_trace_id(request.headers.get("traceparent", ""))
        self._kind = _UNREAD
        self._outcome = "left"

    def __enter__(self) -> Meter:
        self._began_s = time.monotonic()
        RUNNING.inc()
        return self

    def __exit__(self, *_: object) -> None:
        RUNNING.dec()
        QUERIES.labels(self._kind, self._outcome).inc()
        SECONDS.labels(self._kind).observe(time.monotonic() - self._began_s)

    def read(self, query_id: str, kind: Kind) -> None:
        """The query has been read."""
        self._query_id, self._kind = query_id, kind.name.lower()

    def answered(self) -> None:
        """The answer is sent, whole."""
        if self._outcome == "left":
            self._outcome = "ok"

    def failed(self, error: QueryError) -> None:
        """The query failed, or was refused."""
        self._outcome = "failed" if error.status >= 500 else "refused"
        facts = {"query_id": self._query_id, "reason_code": error.name, "trace_id": self._trace_id}
        logger.info(
            "%s query %s: code %d, %s",
            self._kind,
            self._outcome,
            error.code,
            error.name,
            extra={name: fact for name, fact in facts.items() if fact},
        )


def add_pages(app: web.Application, condition: Condition) -> None:
    """Answers PAGES, without credentials, as any service of ours does."""
    expose(condition)

    async def answer(request: web.Request) -> web.Response:
        found = page(request.path, condition)
        return web.Response(status=found.status, body=found.body, headers={"Content-Type": found.kind})

    for path in PAGES:
        app.router.add_get(path, answer)


async def watch(condition: Condition, check: Callable[[], Awaitable[None]]) -> None:
    """Tells ``condition`` every few seconds whether ``check`` returns, until it is cancelled."""
    asked: asyncio.Future[None] | None = None
    while True:
        condition.beat()
        asked = asked or asyncio.ensure_future(check())
        await asyncio.wait({asked}, timeout=LOOK_EVERY_S)
        if not asked.done():
            condition.settle("the engine does not answer in time")
            continue
        error, asked = asked.exception(), None
        if error is not None:
            logger.warning("the engine fails: %s", error)
        condition.settle(*(("the engine fails",) if error else ()))
        await asyncio.sleep(LOOK_EVERY_S)
