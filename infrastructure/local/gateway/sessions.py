"""HTTP sessions: a connection kept between the queries that carry the same ``session_id``.

A session gets its own connection with the first statement that leaves something behind: SET, USE or a temporary
table. Until then its queries run like any other.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from infrastructure.local.gateway.engine import Connection
from infrastructure.local.gateway.errors import QueryError


@dataclass(slots=True)
class Session:
    """One session. ``connection`` is there once the session has state; ``expires_s`` counts by the injected clock."""

    connection: Connection | None = None
    busy: bool = False
    expires_s: float = 0.0


class Sessions:
    """The sessions of a gateway. Used on the event loop only.

    Args:
        clock: gives seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: dict[str, Session] = {}

    @contextlib.contextmanager
    def entered(self, session_id: str, timeout_s: float, *, must_exist: bool, close: bool) -> Iterator[Session]:
        """The session called ``session_id``, held for one query; the empty id gives a session of its own.

        Raises QueryError where another query holds it, or where it is to exist and does not.
        """
        self.expire()
        if not session_id:
            yield Session()
            return
        if must_exist and session_id not in self._sessions:
            raise QueryError(372, "SESSION_NOT_FOUND", f"Session {session_id} not found")
        session = self._sessions.setdefault(session_id, Session())
        if session.busy:
            raise QueryError(373, "SESSION_IS_LOCKED", f"Session {session_id} is locked by a concurrent client")
        session.busy = True
        try:
            yield session
        finally:
            session.busy = False
            session.expires_s = self._clock() + (0 if close else timeout_s)

    def expire(self) -> None:
        """Closes the sessions whose time is over."""
        now = self._clock()
        over = [name for name, session in self._sessions.items() if not session.busy and session.expires_s <= now]
        for name in over:
            _close(self._sessions.pop(name))

    def close(self) -> None:
        for session in self._sessions.values():
            _close(session)
        self._sessions.clear()


def _close(session: Session) -> None:
    if session.connection is not None:
        session.connection.close()
