"""``publish``: events that the log has acknowledged, on disk, a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from nats.js import JetStreamContext, api

from infrastructure.local.stack import running_stack
from nervous_system import bus
from nervous_system.publisher import Publisher
from nervous_system.settings import Settings
from tests.benchmarks.material import PROJECT, events
from tests.benchmarks.report import Contender, compare

EVENTS = 150_000
SINGLE_EVENTS = 3_000
IN_FLIGHT = 256
BASELINE_SUBJECT = "baseline"

Send = Callable[[JetStreamContext, list[bytes]], Awaitable[None]]


def run(folder: Path) -> None:
    """On a nats-server of its own, which writes through before it acknowledges; connecting is part of each run."""
    data = events(EVENTS)
    single = data[:SINGLE_EVENTS]
    with running_stack(folder / "home", ["nats"]) as settings:
        compare(
            "publish: durable publishing to one nats-server, sync_interval: always",
            "events",
            [
                Contender("Publisher", EVENTS, lambda: partial(_publisher, settings, data)),
                Contender(
                    f"nats-py, one event a message, {IN_FLIGHT} on their way",
                    SINGLE_EVENTS,
                    lambda: partial(_nats_py, settings, single, _together),
                ),
            ],
            Contender(
                "nats-py, one event a message, each awaited",
                SINGLE_EVENTS,
                lambda: partial(_nats_py, settings, single, _one_by_one),
            ),
        )


def _publisher(settings: Settings, data: list[bytes]) -> None:
    publisher = Publisher(settings, PROJECT)
    for event in data:
        publisher.put(event)
    publisher.flush()
    publisher.close()


def _nats_py(settings: Settings, data: list[bytes], send: Send) -> None:
    """The same events by the client library alone, into a stream without partitions or message ids."""

    async def work() -> None:
        client = await bus.connect(settings)
        context = client.jetstream()
        await context.add_stream(name="BASELINE", subjects=[BASELINE_SUBJECT], storage=api.StorageType.FILE)
        await send(context, data)
        await client.close()

    asyncio.run(work())


async def _one_by_one(context: JetStreamContext, data: list[bytes]) -> None:
    for event in data:
        await context.publish(BASELINE_SUBJECT, event)


async def _together(context: JetStreamContext, data: list[bytes]) -> None:
    for start in range(0, len(data), IN_FLIGHT):
        share = data[start : start + IN_FLIGHT]
        await asyncio.gather(*(context.publish(BASELINE_SUBJECT, event) for event in share))
