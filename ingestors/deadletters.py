"""Messages and events that can never be landed: kept in a stream of their own, with the reason and their bytes."""

from __future__ import annotations

from nats.js import JetStreamContext

from nervous_system import bus, subjects
from nervous_system.events import MESSAGE_LIMIT_BYTES
from nervous_system.landing import Refusal
from nervous_system.streams import StreamIdentity

# A reason may quote what an agent wrote, at any length; reason and bytes together must be a message that the log takes.
REASON_LIMIT_CHARACTERS = 500

CODE_HEADER = "Enchanted-Reason-Code"
REASON_HEADER = "Enchanted-Reason"
SIZE_HEADER = "Enchanted-Size-Bytes"
STREAM_HEADER = "Enchanted-Stream"
SEQUENCE_HEADER = "Enchanted-Sequence"
INDEX_HEADER = "Enchanted-Index"
SUBJECT_HEADER = "Enchanted-Subject"


async def bury(context: JetStreamContext, sink: str, partition: int, stream: StreamIdentity, refusal: Refusal) -> None:
    """Publishes a refusal durably, once: every sink refuses the same, and the message id says so.

    Bytes above MESSAGE_LIMIT_BYTES are cut off; the header Enchanted-Size-Bytes says how many there were, and the
    log has them all at the sequence named.

    Raises:
        UnavailableError: the dead-letter stream does not acknowledge.
    """
    message_id = f"{stream}/{refusal.sequence}/{refusal.index}/{refusal.code}"
    headers = {
        CODE_HEADER: refusal.code,
        # A header is one line.
        REASON_HEADER: " ".join(refusal.reason[:REASON_LIMIT_CHARACTERS].split()),
        SIZE_HEADER: str(len(refusal.data)),
        STREAM_HEADER: str(stream),
        SEQUENCE_HEADER: str(refusal.sequence),
        INDEX_HEADER: str(refusal.index),
    }
    if refusal.subject:
        headers[SUBJECT_HEADER] = refusal.subject
    await bus.publish(
        context, subjects.dead_letter(sink, partition), refusal.data[:MESSAGE_LIMIT_BYTES], message_id, headers
    )
