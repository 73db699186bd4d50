"""Answers producers whose credentials are of one tenant alone: see ``nervous_system/inquiries.py``.

The tenant is the one in the subject, which the server lets only its own credentials use.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import api
from nats.js.errors import NotFoundError

from nervous_system import bus, inquiries, subjects
from nervous_system.errors import ContractError
from nervous_system.inquiries import Answer, FoundMessage, LandedMark, LogEnd
from nervous_system.settings import Settings
from nervous_system.subjects import StoredSubject

logger = logging.getLogger(__name__)

# Whose mark says how far the ledger is.
SINK = "ledger"
MAX_SEQUENCE = 2**64 - 1

Question = Callable[[str, dict[str, Any]], Awaitable[Answer]]


class Desk:
    """Answers on one connection until that is closed."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._context = client.jetstream()
        self._stream = settings.stream
        self._partitions = settings.partitions

    async def open(self) -> None:
        """Begins to answer, in turn with the others that do."""
        questions: dict[str, Question] = {
            inquiries.LOG: self._log,
            inquiries.MESSAGE: self._message,
            inquiries.LANDED: self._landed,
        }
        for name, question in questions.items():
            await self._client.subscribe(
                inquiries.subject(inquiries.ANY_TENANT, name), queue=inquiries.GROUP, cb=self._answering(question)
            )

    def _answering(self, question: Question) -> Callable[[Msg], Awaitable[None]]:
        async def answer(message: Msg) -> None:
            if message.reply:
                await message.respond((await self._answer(question, message)).encode())

        return answer

    async def _answer(self, question: Question, message: Msg) -> Answer:
        try:
            return await question(message.subject.split(".")[1], json.loads(message.data))
        except (KeyError, TypeError, ValueError, RecursionError):
            return Answer("the question cannot be read")
        except (TimeoutError, nats.errors.Error) as error:
            # Not its words, which may be about others.
            logger.info("desk: %s: %s", message.subject, error or type(error).__name__)
            return Answer("the log does not answer")

    async def _log(self, _tenant: str, _about: dict[str, Any]) -> Answer:
        info = await self._context.stream_info(self._stream)
        made = bus.identity(info)
        return LogEnd(stream=made.name, created_us=made.created_us, last_sequence=info.state.last_seq)

    async def _message(self, tenant: str, about: dict[str, Any]) -> Answer:
        try:
            found = await self._context.get_msg(self._stream, seq=_number(about, "sequence", 1))
        except NotFoundError:
            return FoundMessage()
        try:
            stored = StoredSubject.parse(str(found.subject))
        except ContractError:
            return FoundMessage(is_there=True)
        if stored.project.tenant != tenant:
            return FoundMessage(is_there=True)
        message_id = (found.headers or {}).get(api.Header.MSG_ID.value, "")
        return FoundMessage(is_there=True, message_id=message_id, partition=stored.partition)

    async def _landed(self, _tenant: str, about: dict[str, Any]) -> Answer:
        partition = _number(about, "partition", 0)
        if partition >= self._partitions:
            return LandedMark()
        try:
            info = await self._context.consumer_info(self._stream, subjects.consumer(SINK, partition))
        except NotFoundError:
            return LandedMark()
        return LandedMark(sequence=info.ack_floor.stream_seq if info.ack_floor else 0)


def _number(about: dict[str, Any], name: str, least: int) -> int:
    """A whole number of a question; raises as what cannot be read does where it is none that the log can have."""
    found = about[name]
    if type(found) is not int or not least <= found <= MAX_SEQUENCE:
        raise ValueError(f"{name} is no number from {least} to {MAX_SEQUENCE}")
    return found
