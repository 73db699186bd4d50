"""The pages /metrics, /healthz and /readyz of a service.

One that has no HTTP server of its own answers them from a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

from prometheus_client import REGISTRY, Gauge, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from nervous_system.errors import SettingsError
from nervous_system.telemetry.condition import Condition

READY = Gauge("enchanted_ready", "1 while the service is ready, as /readyz says, else 0")

_PLAIN = "text/plain; charset=utf-8"
_SLOW_CLIENT_S = 10.0


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered: an HTTP status, the body, its ``Content-Type``."""

    status: HTTPStatus
    body: bytes
    kind: str = _PLAIN


def page(path: str, condition: Condition) -> Page:
    """The page at a path, such as ``/readyz``; 404 for one that there is not."""
    match path:
        case "/metrics":
            return Page(HTTPStatus.OK, generate_latest(), CONTENT_TYPE_PLAIN_0_0_4)
        case "/healthz":
            return _told(condition.alive, "alive", "the loop stands still")
        case "/readyz":
            reasons = condition.reasons
            return _told(not reasons, "ready", "; ".join(reasons))
        case _:
            return Page(HTTPStatus.NOT_FOUND, b"not found\n")


def expose(condition: Condition) -> None:
    """Has this process's /metrics tell the condition, and no series that only say when the process began."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    READY.set_function(lambda: not condition.reasons)


class Pages:
    """Listens while its ``with`` block runs.

    Args:
        address: ``host:port``; nothing listens where it is empty.
        condition: what the pages tell.

    Raises:
        SettingsError: the address is no address, or cannot be listened at.
    """

    def __init__(self, address: str, condition: Condition) -> None:
        self._server = _listen(address, condition) if address else None

    def __enter__(self) -> Pages:
        if self._server:
            threading.Thread(target=self._server.serve_forever, name="pages", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()


@contextmanager
def collected(address: str, collector: Collector, condition: Condition) -> Iterator[None]:
    """Pages with a collector's numbers for the length of a ``with`` block; raises SettingsError as Pages does."""
    REGISTRY.register(collector)
    try:
        with Pages(address, condition):
            yield
    finally:
        REGISTRY.unregister(collector)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], condition: Condition) -> None:
        self.condition = condition
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SLOW_CLIENT_S

    def do_GET(self) -> None:
        """Answers a page; 404 for any other path."""
        answer = page(urlsplit(self.path).path, self.server.condition)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_HEAD = do_GET

    def version_string(self) -> str:
        """Says nothing of the interpreter."""
        return "enchanted"

    def log_message(self, format: str, *args: object) -> None:
        """A page that is asked every few seconds is no news."""


def _told(good: bool, word: str, reasons: str) -> Page:
    status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
    return Page(status, f"{word if good else reasons}\n".encode())


def _listen(address: str, condition: Condition) -> _Server:
    expose(condition)
    try:
        parts = urlsplit(f"//{address}")
        return _Server((parts.hostname or "127.0.0.1", int(parts.port or "")), condition)
    except ValueError as error:
        raise SettingsError(f"ENCHANTED_METRICS_ADDRESS={address} is not host:port, such as 127.0.0.1:9464.") from error
    except OSError as error:
        raise SettingsError(
            f"ENCHANTED_METRICS_ADDRESS={address} cannot be listened at ({error.strerror}): name another port, or "
            "leave it empty for no pages."
        ) from error
