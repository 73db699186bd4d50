"""How processes of one sink share the log's partitions by themselves: each says that it lives, and hears the others.

Nothing is kept and nobody leads. Processes that hear each other come to the same shares; while they do not, as when one
has just begun, a partition is landed by two of them, which does no harm, or by none, and waits in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncGenerator, Collection, Sequence

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

SUBJECT = "enchanted.ingestors.{sink}"
BEAT_S = 0.5
# A process that was not heard for this long is gone.
LOST_AFTER_S = 4.0
# Who begins first listens, so that it does not take what others land.
LISTEN_S = 1.5
_LEAVING = b"-"


def share(partitions: int, members: Collection[str], own: str) -> list[int]:
    """The partitions of one of ``members``: each is somebody's, and nobody has two more than another. Pure."""
    return list(range(sorted(members).index(own), partitions, len(members)))


class Roster:
    """Who else lands in a sink, by what they say on the log's core subjects.

    Args:
        client: connected to the log.
        sink: the sink's name.
        own: this process's name, unlike any other's.
    """

    def __init__(self, client: Client, sink: str, own: str = "") -> None:
        self.own = own or f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._client = client
        self._subject = SUBJECT.format(sink=sink)
        self._heard_s: dict[str, float] = {}

    def members(self) -> set[str]:
        """This process, and those that were heard lately; all others are forgotten."""
        now_s = asyncio.get_running_loop().time()
        self._heard_s = {name: heard_s for name, heard_s in self._heard_s.items() if now_s - heard_s < LOST_AFTER_S}
        return {self.own, *self._heard_s}

    async def shares(self, partitions: int) -> AsyncGenerator[Sequence[int], None]:
        """This process's partitions, and again whenever they are others; until it is closed."""
        subscription = await self._client.subscribe(self._subject, cb=self._hear)
        taken: list[int] | None = None
        try:
            listened_s = 0.0
            while True:
                await self._say(b"")
                await asyncio.sleep(BEAT_S)
                listened_s += BEAT_S
                current = share(partitions, self.members(), self.own)
                if current != taken and listened_s >= LISTEN_S:
                    taken = current
                    yield current
        finally:
            await self._say(_LEAVING)
            with contextlib.suppress(NatsError, TimeoutError):
                await self._client.flush(timeout=1)
                await subscription.unsubscribe()

    async def _hear(self, message: Msg) -> None:
        name = message.data.decode(errors="replace")
        if name.startswith("-"):
            self._heard_s.pop(name[1:], None)
        else:
            self._heard_s[name] = asyncio.get_running_loop().time()

    async def _say(self, mark: bytes) -> None:
        # While the log is away nobody hears, and nobody lands either.
        with contextlib.suppress(NatsError, OSError):
            await self._client.publish(self._subject, mark + self.own.encode())
