"""Messages and events that can never be landed: kept in a stream of their own, with the reason and their bytes."""

from __future__ import annotations

from nats.js import JetStreamContext

from nervous_system import bus, subjects
from nervous_system.bus import StreamIdentity
from nervous_system.landing import Refusal


async def bury(context: JetStreamContext, sink: str, partition: int, stream: StreamIdentity, refusal: Refusal) -> None:
    """Publishes a refusal durably, once: every sink refuses the same, and the message id says so.

    Raises:
        UnavailableError: the dead-letter stream does not acknowledge.
    """
    message_id = f"{stream}/{refusal.sequence}/{refusal.index}/{refusal.code}"
    headers = {
        "Enchanted-Reason-Code": refusal.code,
        # A header is one line.
        "Enchanted-Reason": " ".join(refusal.reason.split()),
        "Enchanted-Stream": str(stream),
        "Enchanted-Sequence": str(refusal.sequence),
        "Enchanted-Index": str(refusal.index),
    }
    await bus.publish(context, subjects.dead_letter(sink, partition), refusal.data, message_id, headers)
