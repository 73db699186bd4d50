"""The recorder for asyncio: every method a coroutine, none of which holds up the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self

from nervous_system.errors import EnchantedError
from nervous_system.recorder import Recorder
from nervous_system.recording.recorded import Recorded
from nervous_system.settings import Settings

P = ParamSpec("P")

# Contents from this size on are hashed and compared in a thread.
_HEAVY_BYTES = 32 * 1024


def _coroutine(
    method: Callable[Concatenate[Recorder, P], Recorded],
) -> Callable[Concatenate[AsyncRecorder, P], Awaitable[Recorded]]:
    async def awaited(self: AsyncRecorder, /, *args: P.args, **kwargs: P.kwargs) -> Recorded:
        return await self.call(method, args, dict(kwargs))

    awaited.__doc__ = method.__doc__
    return awaited


class AsyncRecorder:
    """As Recorder, which see, with coroutines: ``with await recorder.decision("…"):`` around what follows from it.

    A call takes microseconds; where memory is full, or durability is asked for, the task waits and others go on. The
    order is that in which the calls began, except among tasks that record contents of more than 32 KiB at once.
    """

    def __init__(
        self,
        project: str = "",
        *,
        agent: str = "",
        role: str = "",
        session: str = "",
        user: str = "",
        settings: Settings | None = None,
    ) -> None:
        self._recorder = Recorder(project, agent=agent, role=role, session=session, user=user, settings=settings)

    decision = _coroutine(Recorder.decision)
    file_changed = _coroutine(Recorder.file_changed)
    message = _coroutine(Recorder.message)
    tool_call = _coroutine(Recorder.tool_call)
    signal = _coroutine(Recorder.signal)
    checkpoint = _coroutine(Recorder.checkpoint)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.flush()
        finally:
            await self.close()

    async def flush(self) -> None:
        """Returns once everything recorded so far is on disk."""
        loop = asyncio.get_running_loop()
        kept: asyncio.Future[None] = loop.create_future()
        self._recorder.taker.call_when_kept(lambda error: _settle_soon(loop, kept, error))
        await kept

    async def close(self) -> None:
        """Ends; what was not flushed is written."""
        await asyncio.to_thread(self._recorder.close)

    async def call(self, method: Callable[..., Recorded], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recorded:
        """Calls a method of Recorder without holding up the loop."""
        durable = kwargs.pop("durable", False)
        if any(isinstance(each, bytes) and len(each) >= _HEAVY_BYTES for each in (*args, *kwargs.values())):
            recorded = await asyncio.to_thread(method, self._recorder, *args, **kwargs)
        else:
            if not self._recorder.taker.has_room:
                await asyncio.to_thread(self._recorder.taker.await_room)
            recorded = method(self._recorder, *args, **kwargs)
        if durable:
            await self.flush()
        return recorded


def _settle_soon(loop: asyncio.AbstractEventLoop, kept: asyncio.Future[None], error: EnchantedError | None) -> None:
    # A loop that was closed meanwhile has nobody who waits.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, kept, error)


def _settle(kept: asyncio.Future[None], error: EnchantedError | None) -> None:
    # Whoever waited may have been cancelled meanwhile.
    if kept.done():
        return
    if error is None:
        kept.set_result(None)
    else:
        kept.set_exception(error)
