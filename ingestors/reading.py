"""From messages of the log to landed messages: cut, inspected, stamped with the recorded time. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from nervous_system import subjects
from nervous_system.errors import ContractError
from nervous_system.events import BATCH_LIMIT_EVENTS, MESSAGE_LIMIT_BYTES, cut_batch
from nervous_system.inspection import EventRefusedError, Inspector
from nervous_system.landing import LandedEvent, LandedMessage, Refusal
from nervous_system.projects import ProjectName
from nervous_system.subjects import StoredSubject


@dataclass(frozen=True, slots=True)
class LogMessage:
    """A message as the log delivers it.

    Args:
        subject: as the stream keeps it.
        sequence: in the stream.
        logged_us: when the log took it, microseconds since 1970.
        headers: of the message.
        data: its payload.
    """

    subject: str
    sequence: int
    logged_us: int
    headers: dict[str, str]
    data: bytes


def read(message: LogMessage, recorded_us: int) -> tuple[LandedMessage, list[Refusal]]:
    """What of a message may be landed, and what is refused; the message itself always counts for the cursor.

    Args:
        message: from the log.
        recorded_us: the highest recorded time of the messages before it in its partition, below which it may not fall.
    """
    landed = LandedMessage(
        sequence=message.sequence,
        recorded_us=max(recorded_us, message.logged_us),
        project=None,
        events=(),
        part=None,
        size_bytes=len(message.data),
    )
    try:
        subject = StoredSubject.parse(message.subject)
        if len(message.data) > MESSAGE_LIMIT_BYTES:
            raise EventRefusedError(
                "too_large", f"The message has {len(message.data):,} bytes: {MESSAGE_LIMIT_BYTES:,} are allowed."
            )
        if subject.kind == subjects.BLOBS:
            _check_part(message)
            return replace(landed, project=subject.project, part=message.data), []
        if subject.kind != subjects.EVENTS:
            raise EventRefusedError("unknown_kind", f"{message.subject} carries no kind of message that is known.")
        events, refusals = _events(message, subject.project)
        return replace(landed, project=subject.project, events=events), refusals
    except EventRefusedError as error:
        return landed, [_refusal(message, error.code, error)]
    except ContractError as error:
        return landed, [_refusal(message, "undecodable", error)]


def _events(message: LogMessage, project: ProjectName) -> tuple[tuple[LandedEvent, ...], list[Refusal]]:
    events, refusals = [], []
    batch = cut_batch(message.data)
    if len(batch) > BATCH_LIMIT_EVENTS:
        # More than a store takes in one step, and a message is never landed in two.
        raise EventRefusedError(
            "too_many_events", f"The message holds {len(batch)} events: {BATCH_LIMIT_EVENTS} are allowed."
        )
    inspector = Inspector(message.data, batch, project)
    for index, data in enumerate(batch):
        try:
            events.append(LandedEvent(data, inspector.inspect(index), index))
        except EventRefusedError as error:
            refusals.append(Refusal(error.code, str(error), data, message.sequence, index, message.subject))
    return tuple(events), refusals


def _refusal(message: LogMessage, code: str, error: ContractError) -> Refusal:
    """Of a whole message."""
    return Refusal(code, str(error), message.data, message.sequence, subject=message.subject)


def _check_part(message: LogMessage) -> None:
    promised = message.headers.get(subjects.PART_HASH_HEADER, "")
    if hashlib.sha256(message.data).hexdigest() != promised:
        raise EventRefusedError("bad_hash", f"A part of a content does not have the hash {promised!r} that it names.")
