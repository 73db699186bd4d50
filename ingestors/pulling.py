"""Messages of a durable consumer, pulled.

Not by nats-py's own ``fetch``, which takes every message with a header ``Status`` for the server's: whoever may publish
could stop a partition for ever with one. The server's own words come without a reply subject; stored messages have one.
"""

from __future__ import annotations

import asyncio
import json

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from nervous_system.errors import UnavailableError

REQUEST_MESSAGES = 64
REQUEST_WAIT_S = 5.0
HEARTBEAT_S = 1.0
# Longer without even a heartbeat, and the server has forgotten the request.
SILENCE_LIMIT_S = 2.5
# What a request may bring must fit, else the client drops it: this many messages of the largest payload.
BUFFER_BYTES = 1 << 30

_HEARTBEAT = "100"
_GIVEN_HEADER = "Nats-Last-Consumer"
_REQUEST_ENDED = ("404", "408")
_LIMIT_REACHED = "Message Size Exceeds MaxBytes"
# Said after a request's last message, when the next one may be on its way already.
_ALL_GIVEN = "Batch Completed"
_NANOSECONDS = 1_000_000_000


class Pull:
    """One reader of a consumer; made by ``open``, ended by ``close``."""

    def __init__(self, client: Client, subscription: Subscription, inbox: str, consumer: str, max_bytes: int) -> None:
        self._client = client
        self._subscription = subscription
        self._inbox = inbox
        self._consumer = consumer
        self._max_bytes = max_bytes
        self._expected = self._asked = 0
        self._is_next_too_large = False
        self._received = 0
        self._heard_s = 0.0

    @classmethod
    async def open(cls, client: Client, stream: str, consumer: str, max_bytes: int) -> Pull:
        """Begins to read the consumer ``consumer`` of ``stream``, which has given nothing to anybody yet.

        Args:
            client: the connection.
            stream: its name.
            consumer: its name.
            max_bytes: how much may be on its way at once; a single message may be larger.
        """
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox, pending_bytes_limit=BUFFER_BYTES)
        return cls(client, subscription, inbox, f"{stream}.{consumer}", max_bytes)

    async def close(self) -> None:
        """Stops reading."""
        await self._subscription.unsubscribe()

    async def fetch(self, patience_s: float) -> list[Msg]:
        """The next messages, as soon as there is one; none where none comes within ``patience_s``.

        Raises:
            UnavailableError: the consumer is gone, or the server has fallen silent.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + patience_s
        found: list[Msg] = []
        while not found and (left_s := deadline_s - loop.time()) > 0:
            if not self._expected:
                await self._request()
            try:
                self._take(await self._subscription.next_msg(timeout=min(left_s, SILENCE_LIMIT_S)), found)
            except TimeoutError as error:
                if loop.time() - self._heard_s > SILENCE_LIMIT_S:
                    raise UnavailableError(f"NATS is silent about consumer {self._consumer}.") from error
        while found and self._subscription.pending_msgs and len(found) < REQUEST_MESSAGES:
            self._take(await self._subscription.next_msg(), found)
        return found

    async def _request(self) -> None:
        # A message above the limit, which the server would refuse for ever, is asked for by itself.
        size = {"batch": 1} if self._is_next_too_large else {"batch": REQUEST_MESSAGES, "max_bytes": self._max_bytes}
        wanted = {
            **size,
            "expires": int(REQUEST_WAIT_S * _NANOSECONDS),
            "idle_heartbeat": int(HEARTBEAT_S * _NANOSECONDS),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._consumer}"
        await self._client.publish(subject, json.dumps(wanted).encode(), reply=self._inbox)
        self._expected = self._asked = size["batch"]
        self._is_next_too_large = False
        self._heard_s = asyncio.get_running_loop().time()

    def _take(self, message: Msg, found: list[Msg]) -> None:
        self._heard_s = asyncio.get_running_loop().time()
        if message.reply:
            self._expected -= 1
            self._received += 1
            found.append(message)
            return
        headers = message.headers or {}
        status, description = headers.get("Status", ""), headers.get("Description", "")
        if status in _REQUEST_ENDED:
            self._expected = 0
        elif description == _LIMIT_REACHED:
            self._is_next_too_large = self._expected == self._asked
            self._expected = 0
        elif status == _HEARTBEAT:
            self._compare(int(headers.get(_GIVEN_HEADER, 0)))
        elif description != _ALL_GIVEN:
            raise UnavailableError(f"NATS ends consumer {self._consumer}: {status} {description}.")

    def _compare(self, given: int) -> None:
        """Raises where the server has given more than came: a connection was cut meanwhile, or another worker reads."""
        if given > self._received:
            raise UnavailableError(
                f"NATS has given {given} messages of consumer {self._consumer}, {self._received} came."
            )
