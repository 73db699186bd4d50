"""A way to a server that a test can spoil: TCP on loopback, each piece of data shown to the test on its way."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Link:
    """One client's connection, and the one to the server that goes with it."""

    client: socket.socket
    server: socket.socket

    def cut(self) -> None:
        shut(self.client)
        shut(self.server)


Passage = Callable[[Link, bytes], None]


def to_server(link: Link, data: bytes) -> None:
    link.server.sendall(data)


def to_client(link: Link, data: bytes) -> None:
    link.client.sendall(data)


def shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


class Wire:
    """Listens for clients of ``url`` while its ``with`` block runs; ``url`` of its own leads through it.

    Args:
        url: the server's.
        request: is given what a client sends, and passes it on.
        reply: is given what the server sends, and passes it on.
        port: where it listens; any that is free where 0.
        tls: what it shows to clients that speak TLS; none where None, and the server is spoken to without.
    """

    def __init__(
        self,
        url: str,
        request: Passage = to_server,
        reply: Passage = to_client,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 4222)
        self._request, self._reply = request, reply
        self._links: list[Link] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        if tls is not None:
            # The handshake waits for the connection's own thread, so that a failed one does not end the listening.
            self._listener = tls.wrap_socket(self._listener, server_side=True, do_handshake_on_connect=False)
        self.port: int = self._listener.getsockname()[1]
        self.url = urlunsplit(parts._replace(netloc=f"127.0.0.1:{self.port}"))

    def __enter__(self) -> Wire:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shut(self._listener)
        self._listener.close()
        for link in self._links:
            link.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    link = Link(client, socket.create_connection(self._server))
                except OSError:
                    client.close()
                    continue
                self._links.append(link)
                for source, passage in ((client, self._request), (link.server, self._reply)):
                    threading.Thread(target=_pass_on, args=(link, source, passage), daemon=True).start()


def _pass_on(link: Link, source: socket.socket, passage: Passage) -> None:
    with suppress(OSError):
        while data := source.recv(PIECE_BYTES):
            passage(link, data)
    # Whoever is left has nobody to talk to, unless the test keeps the server's end.
    shut(link.client)
