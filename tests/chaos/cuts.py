"""Connections that break at random instants, in the middle of what is being said."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import suppress

from tests.integration.wire import Link, Wire

PAUSE_S = (0.7, 5.0)


class FrayedWire(Wire):
    """A way to a server on which, every few seconds, a connection is cut after a part of what it was to carry.

    Args:
        url: the server's.
        seed: fixes the pauses.
    """

    def __init__(self, url: str, seed: str) -> None:
        super().__init__(url, self._to_server, self._to_client)
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._next_s = float("inf")
        self.cuts = 0

    def __enter__(self) -> FrayedWire:
        super().__enter__()
        return self

    def fray(self) -> None:
        """Begins to cut."""
        self._next_s = time.monotonic() + self._chance.uniform(*PAUSE_S)

    def mend(self) -> None:
        """Cuts no more."""
        with self._lock:
            self._next_s = float("inf")

    def _to_server(self, link: Link, data: bytes) -> None:
        self._pass(link, link.server, data)

    def _to_client(self, link: Link, data: bytes) -> None:
        self._pass(link, link.client, data)

    def _pass(self, link: Link, end: socket.socket, data: bytes) -> None:
        if not self._is_due():
            end.sendall(data)
            return
        with suppress(OSError):
            end.sendall(data[: self._chance.randrange(len(data) + 1)])
        link.cut()

    def _is_due(self) -> bool:
        with self._lock:
            if time.monotonic() < self._next_s:
                return False
            self._next_s = time.monotonic() + self._chance.uniform(*PAUSE_S)
            self.cuts += 1
            return True
