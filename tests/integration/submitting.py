"""Events to submit, and what the log has of a project."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from nervous_system import bus, subjects
from nervous_system.authoring import Author
from nervous_system.contract import AgentRole, SwarmEvent, SystemSignal
from nervous_system.events import cut_batch
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings

T = TypeVar("T")
_numbers = itertools.count(1)


def new_project() -> ProjectName:
    return ProjectName("submission", f"p{next(_numbers)}-{random.randrange(10**12)}")


def made(project: ProjectName, count: int = 1, size_bytes: int = 1) -> tuple[bytes, ...]:
    """Events of one author."""
    author = Author(project, "ada", AgentRole.ROLE_CODER, "s", "")
    events = (SwarmEvent(system_signal=SystemSignal(detail="x" * size_bytes)) for _ in range(count))
    return tuple(author.event(event).SerializeToString() for event in events)


def on_log(settings: Settings, work: Callable[[JetStreamContext], Coroutine[Any, Any, T]]) -> T:
    async def run() -> T:
        client = await bus.connect(settings)
        try:
            return await work(client.jetstream())
        finally:
            await client.close()

    return asyncio.run(run())


def stored(settings: Settings, project: ProjectName, kind: str = subjects.EVENTS) -> list[api.RawStreamMsg]:
    """The project's messages in the log."""

    async def read(context: JetStreamContext) -> list[api.RawStreamMsg]:
        found: list[api.RawStreamMsg] = []
        filtered = subjects.anywhere(project, kind)
        while True:
            sequence = (found[-1].seq or 0) + 1 if found else 1
            try:
                found.append(await context.get_msg(settings.stream, seq=sequence, subject=filtered, next=True))
            except NotFoundError:
                return found

    return on_log(settings, read)


def events_of(settings: Settings, project: ProjectName) -> tuple[bytes, ...]:
    return tuple(event for message in stored(settings, project) for event in cut_batch(message.data or b""))
