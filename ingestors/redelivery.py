"""Dead letters tried again: what this version's rules accept is published once more, in a message of its own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ingestors.buried import DeadLetter, DeadLetters
from ingestors.reading import LogMessage, read
from nervous_system import bus, subjects
from nervous_system.errors import NotFoundError
from nervous_system.events import encode_batch
from nervous_system.subjects import StoredSubject

# What the ledger says of an id, it will always say.
FINAL_CODE = "same_id_other_bytes"
FINAL_REASON = (
    "The project has another event under this id, and the first stays: record what is in it anew, under an id of its "
    "own, or drop it."
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one dead letter.

    Args:
        letter: that was tried.
        sequence: where the log has it now; None where it stays.
        reason: why it stays.
    """

    letter: DeadLetter
    sequence: int | None = None
    reason: str = ""


async def redeliver(letters: DeadLetters, letter: DeadLetter) -> Outcome:
    """Publishes what was refused, where it may now be kept, and takes it out of the dead letters.

    An event goes in a batch of its own, behind all that its project has; a message as it was, so that of its events
    those which are still refused are buried anew. Done twice, as after a kill, it is once in the log, and beyond the
    log's memory for message ids once in the stores.

    Raises:
        UnavailableError: the hub does not acknowledge.
    """
    if letter.code == FINAL_CODE:
        return Outcome(letter, reason=FINAL_REASON)
    try:
        message = await _message(letters, letter)
    except NotFoundError as error:
        return Outcome(letter, reason=str(error))
    landed, refusals = read(message, 0)
    if not landed.events and landed.part is None:
        return Outcome(letter, reason=refusals[0].reason)
    subject = StoredSubject.parse(message.subject)
    acknowledgement = await bus.publish(
        letters.context,
        subjects.published(subject.project, subject.kind),
        message.data,
        _message_id(letter, message.data),
        {name: value for name, value in message.headers.items() if name == subjects.PART_HASH_HEADER},
    )
    await letters.remove(letter)
    return Outcome(letter, acknowledgement.seq)


async def _message(letters: DeadLetters, letter: DeadLetter) -> LogMessage:
    """What was refused as a message of the log: an event alone in its batch."""
    if not letter.subject:
        raise NotFoundError("It is not known what it came on: the log no longer has its message.")
    data = await letters.data(letter)
    if not letter.is_message:
        return LogMessage(letter.subject, letter.sequence, 0, {}, encode_batch([data]))
    original = await letters.original(letter)
    return LogMessage(letter.subject, letter.sequence, 0, original.headers if original else {}, data)


def _message_id(letter: DeadLetter, data: bytes) -> str:
    # With the bytes' hash in it nobody can use it up who does not have them.
    place = f"{letter.stream}/{letter.sequence}/{letter.index}"
    return f"dlq/{place}/{hashlib.sha256(data).hexdigest()}"
