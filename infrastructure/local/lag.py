"""How far each sink is behind the stream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import nats
from nats.errors import Error as NatsError
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError

from nervous_system.settings import Settings

TIMEOUT_S = 3.0


def sink_lags(settings: Settings, sinks: Iterable[str]) -> dict[str, int]:
    """Messages of the stream, by sink, that it has not acknowledged; empty where that cannot be told now."""
    try:
        consumers = asyncio.run(asyncio.wait_for(_consumers(settings), TIMEOUT_S))
    except (OSError, TimeoutError, NatsError):
        return {}
    durable = {sink: [info for info in consumers if _belongs(info, sink)] for sink in sinks}
    return {sink: sum(map(_lag, infos)) for sink, infos in durable.items() if infos}


def _belongs(info: ConsumerInfo, sink: str) -> bool:
    prefix, _, partition = (info.config.durable_name or "").rpartition("-p")
    return prefix == sink and partition.isdigit()


def _lag(info: ConsumerInfo) -> int:
    return (info.num_pending or 0) + (info.num_ack_pending or 0)


async def _consumers(settings: Settings) -> list[ConsumerInfo]:
    client = await nats.connect(
        settings.nats_url,
        token=settings.nats_token or None,
        connect_timeout=2,
        allow_reconnect=False,
        error_cb=_ignore,
    )
    try:
        found: list[ConsumerInfo] = []
        while page := await client.jetstream().consumers_info(settings.stream, offset=len(found)):
            found += page
        return found
    except NotFoundError:
        return []
    finally:
        await client.close()


async def _ignore(_: Exception) -> None:
    """What goes wrong is raised as well; nats-py would also print it."""
