"""The batch that a worker gathers, and the one that it lands meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field

from nats.aio.msg import Msg

from nervous_system.landing import LandedMessage, Refusal


@dataclass(slots=True)
class Gathering:
    """A batch that grows."""

    after: int
    recorded_us: int
    began_s: float = 0.0
    size_bytes: int = 0
    events: int = 0
    messages: list[LandedMessage] = field(default_factory=list)
    published_us: list[int] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    last_message: Msg | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing came yet."""
        return self.last_message is None

    def following(self) -> Gathering:
        """An empty one that goes on where this one ends."""
        return Gathering(self.messages[-1].sequence, self.recorded_us)


class Landing:
    """The one batch that is being landed while the next one is gathered."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing is being landed."""
        return self._task is None or self._task.done()

    def begin(self, work: Coroutine[None, None, None]) -> None:
        """Begins to land a batch; the one before must be over."""
        self._task = asyncio.create_task(work)

    def check(self) -> None:
        """Raises where the batch could not be landed."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def over(self) -> None:
        """Waits until the batch has landed; raises where it could not be."""
        if self._task is not None:
            await self._task

    async def abandon(self) -> None:
        """Waits for it no longer: the sink's cursor will tell what became of it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
