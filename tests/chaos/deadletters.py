"""What the dead-letter stream has: hashes of the bytes refused."""

from __future__ import annotations

import asyncio

import nats

from nervous_system.settings import Settings
from tests.chaos.journal import name_of

STREAM = "SWARM_DEAD"


def buried(settings: Settings) -> frozenset[str]:
    """The names of all that was refused."""
    return asyncio.run(_buried(settings))


async def _buried(settings: Settings) -> frozenset[str]:
    client = await nats.connect(settings.nats_url, token=settings.nats_token)
    try:
        context = client.jetstream()
        state = (await context.stream_info(STREAM)).state
        messages = [await context.get_msg(STREAM, seq=at) for at in range(state.first_seq, state.last_seq + 1)]
        return frozenset(name_of(message.data or b"") for message in messages)
    finally:
        await client.close()
