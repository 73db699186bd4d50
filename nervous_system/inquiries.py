"""What a tenant's producers may ask of the log: where it ends, whether it has their messages, how far the ledger is.

Credentials of one tenant alone do not reach JetStream's API, which answers about every tenant's messages. They reach
``desk.{tenant}.{question}``, where the ledger's ingestors answer (``ingestors/desk.py``), in JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import nats.errors
from nats.aio.client import Client

from nervous_system.errors import UnavailableError
from nervous_system.streams import StreamIdentity

A = TypeVar("A", bound="Answer")

ANSWER_WITHIN_S = 5.0
LOG, MESSAGE, LANDED = "log", "message", "landed"
# The queue group in which the answering processes share the questions.
GROUP = "desk"
ANY_TENANT = "*"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as JSON; ``error`` says why there is none."""

    error: str = ""

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls: type[A], data: bytes) -> A:
        return cls(**json.loads(data))


@dataclass(frozen=True, slots=True)
class LogEnd(Answer):
    """The log: the stream's name, when it was made in microseconds since 1970, its last sequence."""

    stream: str = ""
    created_us: int = 0
    last_sequence: int = 0

    @property
    def identity(self) -> StreamIdentity:
        return StreamIdentity(self.stream, self.created_us)


@dataclass(frozen=True, slots=True)
class FoundMessage(Answer):
    """The message at a sequence: its id and partition. Of another tenant's, only that it is there: both are empty."""

    is_there: bool = False
    message_id: str = ""
    partition: int = -1


@dataclass(frozen=True, slots=True)
class LandedMark(Answer):
    """Up to which sequence the ledger has a partition; 0 where no worker reads it."""

    sequence: int = 0


class Inquiry:
    """Asks on behalf of one tenant. Every method raises UnavailableError where nobody answers."""

    def __init__(self, client: Client, tenant: str) -> None:
        self._client = client
        self._tenant = tenant

    async def log(self) -> LogEnd:
        return await self._ask(LOG, LogEnd)

    async def message(self, sequence: int) -> FoundMessage:
        return await self._ask(MESSAGE, FoundMessage, sequence=sequence)

    async def landed(self, partition: int) -> int:
        return (await self._ask(LANDED, LandedMark, partition=partition)).sequence

    async def _ask(self, question: str, kind: type[A], **about: Any) -> A:
        try:
            reply = await self._client.request(
                subject(self._tenant, question), json.dumps(about).encode(), timeout=ANSWER_WITHIN_S
            )
        except (TimeoutError, nats.errors.NoRespondersError) as error:
            # Who may not ask is not told so: to him nobody answers.
            raise UnavailableError(
                f"Nobody at the hub answers for tenant {self._tenant}: the ledger's ingestor does not run, or these "
                "credentials are not this tenant's (ENCHANTED_NATS_TENANT)."
            ) from error
        answer = kind.decode(reply.data)
        if answer.error:
            raise UnavailableError(f"The hub does not answer: {answer.error}.")
        return answer


def subject(tenant: str, question: str) -> str:
    """Where a question of the tenant's is asked."""
    return f"desk.{tenant}.{question}"
