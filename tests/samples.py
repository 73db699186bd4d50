"""Events, messages and batches to test with: the same call makes the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from nervous_system.contract import Checkpoint, Operation, StateChange, SwarmEvent
from nervous_system.events import content_hash, set_occurred, uuid7
from nervous_system.inspection import inspect
from nervous_system.landing import Batch, LandedEvent, LandedMessage
from nervous_system.projects import ProjectName
from nervous_system.streams import StreamIdentity

PROJECT = ProjectName("acme", "shop")
STREAM = StreamIdentity("SWARM", 1_763_000_000_000_000)
FILE_MODE = 0o100644
BEGAN_US = 1_700_000_000_000_000


def event_id(number: int) -> str:
    """The id of sample event ``number``."""
    return uuid7(1_700_000_000_000, hashlib.sha256(str(number).encode()).digest())


def event(number: int, project: ProjectName = PROJECT, *, occurred_us: int | None = None, **fields: Any) -> SwarmEvent:
    """Sample event ``number``, ``number`` seconds after BEGAN_US; a checkpoint where no payload is given."""
    made = SwarmEvent(
        event_id=event_id(number), tenant_id=project.tenant, project_id=project.project, agent_id="ada", **fields
    )
    set_occurred(made, BEGAN_US + number * 1_000_000 if occurred_us is None else occurred_us)
    if made.WhichOneof("payload") is None:
        made.checkpoint.CopyFrom(Checkpoint(name=f"c{number}"))
    return made


def write(resource: str, content: bytes, previous: bytes | None = None, **fields: Any) -> StateChange:
    """A change that leaves ``content``, which it carries whole."""
    return StateChange(
        target_resource=resource,
        operation=fields.pop("operation", Operation.OPERATION_MODIFY),
        mode=FILE_MODE,
        content=content,
        new_state_hash=content_hash(content),
        previous_state_hash="" if previous is None else content_hash(previous),
        **fields,
    )


def patch(resource: str, before: bytes, after: bytes, diff: str) -> StateChange:
    """A change that claims that ``diff`` leads from ``before`` to ``after``."""
    return StateChange(
        target_resource=resource,
        operation=Operation.OPERATION_MODIFY,
        mode=FILE_MODE,
        diff_patch=diff,
        previous_state_hash=content_hash(before),
        new_state_hash=content_hash(after),
    )


def in_parts(resource: str, *parts: bytes) -> StateChange:
    """A change that leaves a content which came in ``parts`` ahead of it."""
    content = b"".join(parts)
    return StateChange(
        target_resource=resource,
        operation=Operation.OPERATION_CREATE,
        mode=FILE_MODE,
        new_state_hash=content_hash(content),
        blob_hash=content_hash(content),
        blob_parts=[hashlib.sha256(each).digest() for each in parts],
    )


def delete(resource: str, previous: bytes | None = None) -> StateChange:
    """A change that leaves nothing."""
    return StateChange(
        target_resource=resource,
        operation=Operation.OPERATION_DELETE,
        previous_state_hash="" if previous is None else content_hash(previous),
    )


def message(
    sequence: int,
    events: Iterable[SwarmEvent | bytes],
    project: ProjectName = PROJECT,
    *,
    recorded_us: int | None = None,
) -> LandedMessage:
    """A message of these events, all of which must be fit to be kept; recorded ``sequence`` seconds after BEGAN_US."""
    data = [each if isinstance(each, bytes) else each.SerializeToString() for each in events]
    return LandedMessage(
        sequence=sequence,
        recorded_us=BEGAN_US + sequence * 1_000_000 if recorded_us is None else recorded_us,
        project=project,
        events=tuple(LandedEvent(each, inspect(each, project), index) for index, each in enumerate(data)),
        part=None,
        size_bytes=sum(map(len, data)),
    )


def part(sequence: int, content: bytes, project: ProjectName = PROJECT) -> LandedMessage:
    """A message that carries one part of a large content."""
    return LandedMessage(sequence, BEGAN_US + sequence * 1_000_000, project, (), content, len(content))


def batch(*messages: LandedMessage, after: int = 0, partition: int = 0) -> Batch:
    """A batch of these messages."""
    return Batch(STREAM, partition, after, messages)
